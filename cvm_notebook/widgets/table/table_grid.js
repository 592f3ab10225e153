// The grid: only the rows in sight are in the page. Keyboard and mouse as in any grid.
const SPARE = 6, TICK_PX = 34, MENU_PX = 34;
/** Under this width a row has two lines. */
const NARROW_PX = 760, LINE_PX = 30, LINES_PX = 52, OLD_S = 180;

/** How a CVM is, in the words that filters know; the service's own where they are new. */
const statusWords = ({ status, raw }) => (status && status !== "unknown" ? status.replaceAll("_", " ") : raw ?? "unknown");

function tableGrid(store, { onOpen, onMenu, onKey, onClear, say }) {
  const uid = `cvm-${clickId()}`;
  // shown: rows by their numbers, and groups by their keys; ks: the rows alone, those of folded groups, too
  const state = { shown: [], ks: [], groups: new Map(), rowPx: LINE_PX, narrow: false, active: 0, anchor: 0, stale: true, flash: new Set(), frame: 0 };
  const all = h("input", { type: "checkbox", "aria-label": "Select all that are shown", tabIndex: -1 });
  const head = h("div", { className: "cvm-row cvm-head", role: "row", "aria-rowindex": 1 });
  const space = h("div", { className: "cvm-space", role: "rowgroup" });
  const none = h("div", { className: "cvm-none cvm-dim" });
  const grid = h("div", {
    className: "cvm-cvms", role: "grid", tabIndex: 0, "aria-multiselectable": "true",
    "aria-label": "CVMs. Arrows move, space selects, control and A selects all, enter shows one, question mark lists the keys",
  }, h("div", { role: "rowgroup", className: "cvm-headgroup" }, head), space);
  const el = h("div", { className: "cvm-cvms-frame" }, grid, none);
  const pool = [], groupPool = [];
  const isGroup = (item) => typeof item === "string";

  function columns() {
    layOut();
    grid.setAttribute("aria-colcount", store.columns.length + 2);
    head.replaceChildren(h("div", { className: "cvm-cell cvm-pick", role: "columnheader", "aria-label": "Selected" }, all), ...store.columns.map((c, at) => {
      const button = h("button", { type: "button", className: "cvm-sort", tabIndex: at ? -1 : 0, title: c.hint ? `${c.hint}. Click to sort` : `Sort by ${c.label}`, onclick: () => sortBy(c) }, c.label);
      const edge = h("span", { className: "cvm-edge", "aria-hidden": "true", title: "Drag to make it wider; double-click to undo that", onpointerdown: (event) => resize(event, c), ondblclick: () => { store.widths.delete(c.name); layOut(); } });
      return h("div", { className: `cvm-cell cvm-kind-${c.kind}`, role: "columnheader", "data-name": c.name }, button, edge);
    }), h("div", { className: "cvm-cell cvm-more", role: "columnheader", "aria-label": "Menu" }));
    pool.splice(0).forEach((row) => row.el.remove());
  }
  /** Give the columns their widths. */
  function layOut() {
    const width = (c) => store.widths.get(c.name) ?? c.width;
    const track = (c) => (store.widths.has(c.name) ? `${width(c)}px` : `minmax(${c.width}px, ${c.name === "name" || c.kind === "link" ? 2 : 1}fr)`);
    grid.style.setProperty("--cvm-columns", `${TICK_PX}px ${store.columns.map(track).join(" ")} ${MENU_PX}px`);
    grid.style.setProperty("--cvm-width", `${TICK_PX + MENU_PX + store.columns.reduce((sum, c) => sum + width(c), 0)}px`);
  }
  function resize(event, column) {
    event.preventDefault();
    const edge = event.currentTarget, from = event.clientX, was = edge.parentElement.getBoundingClientRect().width;
    const drag = (moved) => { store.widths.set(column.name, Math.round(Math.max(40, was + moved.clientX - from))); layOut(); };
    edge.setPointerCapture(event.pointerId);
    edge.addEventListener("pointermove", drag);
    edge.addEventListener("lostpointercapture", () => edge.removeEventListener("pointermove", drag), { once: true });
  }
  // one of the headings is in the tab order; arrows go on from it
  head.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], sorts = [...head.querySelectorAll(".cvm-sort")], at = sorts.indexOf(document.activeElement);
    if (!step || at < 0 || isShortcut(event)) return;
    const next = sorts[(at + step + sorts.length) % sorts.length];
    sorts[at].tabIndex = -1; next.tabIndex = 0; next.focus();
    event.preventDefault();
  });
  /** Sort one way, the other way, no more; numbers begin with the largest. */
  function sortBy({ name, kind, label }) {
    const was = store.sort, first = ["number", "usd", "when", "age", "span", "since", "share", "spent"].includes(kind);
    store.sort = was?.name !== name ? { name, down: first } : was.down !== first ? null : { name, down: !first };
    say(store.sort ? `Sorted by ${label}, ${store.sort.down ? "descending" : "ascending"}` : "In the fleet's own order");
    store.notify({ shape: true });
  }
  function makeRow() {
    const tick = h("input", { type: "checkbox", tabIndex: -1 }), more = h("button", { type: "button", className: "cvm-plain", tabIndex: -1, "aria-haspopup": "menu" }, "⋯");
    const cells = store.columns.map((c, i) => h("div", { className: `cvm-cell cvm-kind-${c.kind}`, role: "gridcell", "aria-colindex": i + 2 }));
    const row = h("div", { className: "cvm-row", role: "row" }, h("div", { className: "cvm-cell cvm-pick", role: "gridcell", "aria-colindex": 1 }, tick), ...cells,
      h("div", { className: "cvm-cell cvm-more", role: "gridcell", "aria-colindex": store.columns.length + 2 }, more));
    const made = { el: row, tick, cells, more, k: null, drawn: [] };
    more.addEventListener("click", (event) => { event.stopPropagation(); menuOf(made.k, more); });
    row.addEventListener("mousedown", (event) => { if (event.shiftKey) event.preventDefault(); });
    row.addEventListener("click", (event) => clicked(made, event));
    row.addEventListener("contextmenu", (event) => {
      if (event.shiftKey) return; // the browser's own, as in Jupyter
      event.preventDefault(); event.stopPropagation();
      state.active = state.anchor = state.shown.indexOf(made.k);
      queue();
      onMenu(made.k, { x: event.clientX, y: event.clientY });
    });
    row.addEventListener("dblclick", (event) => { if (event.target !== tick) onOpen(made.k); });
    space.append(row);
    pool.push(made);
    return made;
  }

  function menuOf(k, near) {
    const { left, bottom } = near.getBoundingClientRect();
    onMenu(k, { x: left, y: bottom });
  }
  function makeGroup() {
    const made = groupRow({
      onFold(key) { state.active = state.shown.indexOf(key); fold(key); },
      onTick(key) { state.anchor = state.active = state.shown.indexOf(key); toggle(key); },
    });
    space.append(made.el);
    groupPool.push(made);
    return made;
  }
  function fold(key, yes = !store.folded.has(key)) {
    if (store.folded.has(key) === yes) return;
    if (yes) store.folded.add(key); else store.folded.delete(key);
    say(`${state.groups.get(key)?.name ?? ""} ${yes ? "folded" : "unfolded"}`);
    queue(true);
  }
  function drawGroup(row, at) {
    const key = state.shown[at];
    row.draw(state.groups.get(key), { open: !store.folded.has(key), selected: store.selected, span: store.columns.length });
    row.el.hidden = false; row.el.id = `${uid}-${key}`;
    row.el.style.transform = `translateY(${at * state.rowPx}px)`;
    row.el.setAttribute("aria-rowindex", at + 2);
    row.el.classList.toggle("cvm-active", at === state.active);
  }

  // --- what is in sight ---
  function recompute() {
    const active = state.shown[state.active];
    state.ks = chosenRows(store);
    const { shown, groups } = store.isGrouped() ? groupedRows(store, state.ks) : { shown: state.ks, groups: new Map() };
    Object.assign(state, { shown, groups });
    grid.setAttribute("role", store.isGrouped() ? "treegrid" : "grid");
    const at = active === undefined ? -1 : state.shown.indexOf(active);
    state.active = at >= 0 ? at : Math.max(0, Math.min(state.active, state.shown.length - 1));
    space.style.blockSize = `${state.shown.length * state.rowPx}px`;
    grid.setAttribute("aria-rowcount", state.shown.length + 1);
    for (const cell of head.querySelectorAll("[data-name]")) {
      const sort = store.sort?.name === cell.dataset.name ? (store.sort.down ? "descending" : "ascending") : "none";
      cell.setAttribute("aria-sort", sort);
    }
    none.hidden = state.shown.length > 0;
    const filtered = store.rows.size > 0, why = [none.hidden, filtered, store.health.state, store.reading, store.local, store.readOnly].join();
    if (none.dataset.why === why) return;
    none.dataset.why = why;
    el.classList.toggle("cvm-empty", !filtered && !none.hidden);
    none.replaceChildren(store.health.state === "needs a key" ? "Sign in to see your CVMs." : store.reading ? "Reading the fleet…" : filtered ? "No matches. " : emptyFleet(store));
    if (filtered) none.append(h("button", { type: "button", onclick: () => { onClear(); grid.focus(); } }, "Clear filter"));
  }
  function paint() {
    const first = Math.max(0, Math.floor((grid.scrollTop - state.rowPx) / state.rowPx) - SPARE);
    const count = Math.max(0, Math.min(state.shown.length - first, Math.ceil(grid.clientHeight / state.rowPx) + 2 * SPARE));
    let rows = 0, groups = 0;
    state.shown.slice(first, first + count).forEach((item, i) => {
      if (isGroup(item)) drawGroup(groupPool[groups++] ?? makeGroup(), first + i);
      else drawRow(pool[rows++] ?? makeRow(), first + i);
    });
    for (const row of [...pool.slice(rows), ...groupPool.slice(groups)]) { row.el.hidden = true; row.el.removeAttribute("id"); row.k = row.key = null; }
    state.flash.clear();
    store.see(state.shown.slice(first, first + count).filter((item) => !isGroup(item)));
    const marked = picked().length;
    all.checked = marked > 0 && marked === state.ks.length;
    all.indeterminate = marked > 0 && !all.checked;
    const now = state.shown[state.active], active = now === undefined ? null : [...pool, ...groupPool].find((row) => (row.k ?? row.key) === now);
    if (active) grid.setAttribute("aria-activedescendant", active.el.id); else grid.removeAttribute("aria-activedescendant");
  }
  function drawRow(row, at) {
    const k = state.shown[at], data = store.rows.get(k), other = row.k !== k;
    row.k = k; row.el.hidden = false; row.el.id = `${uid}-${k}`;
    row.el.style.transform = `translateY(${at * state.rowPx}px)`;
    row.el.setAttribute("aria-rowindex", at + 2);
    if (store.isGrouped()) row.el.setAttribute("aria-level", 2); else row.el.removeAttribute("aria-level");
    const picked = store.selected.has(k);
    row.el.setAttribute("aria-selected", picked); row.tick.checked = picked;
    if (other) { row.tick.setAttribute("aria-label", `Select ${data.name || data.id}`); row.more.setAttribute("aria-label", `Menu of ${data.name || data.id}`); }
    row.el.classList.toggle("cvm-old", rowAge(store, k) > OLD_S);
    row.el.classList.toggle("cvm-active", at === state.active);
    row.el.classList.toggle("cvm-followed", store.followed.has(k));
    store.columns.forEach((column, i) => drawCell(row, i, column, data));
    if (other || state.flash.has(k)) {
      row.el.classList.remove("cvm-flash");
      if (state.flash.has(k)) { void row.el.offsetWidth; row.el.classList.add("cvm-flash"); }
    }
  }
  function drawCell(row, i, column, data) {
    const cell = row.cells[i];
    const value = column.kind === "age" ? ageWords(rowAge(store, data.k)) : column.kind === "since" ? ageWords(upFor(store, data[column.name]) ?? -1) : data[column.name];
    const key = column.kind === "spent" ? `${value}|${data.month_seen}` : column.kind === "share" ? `${value}|${data.spark}` : column.kind === "status" ? `${value}|${data.raw}|${data.note}|${data.op}` : value;
    if (row.drawn[i] === key) return;
    row.drawn[i] = key;
    if (column.kind === "status") return drawStatus(cell, data);
    if (column.kind === "trust") return drawTrust(cell, value);
    if (column.name === "name") return drawName(cell, data);
    if (column.kind === "link") return value ? cell.replaceChildren(safeLink(value, value.replace(/^https:\/\//, ""))) : cell.replaceChildren();
    if (column.kind === "share") return drawShare(cell, column, value, data.spark);
    if (column.kind === "spent") return drawSpent(cell, value, data.month_seen);
    if (column.kind === "span") { cell.textContent = value === null ? "" : ageWords(value); return; }
    const text = column.kind === "when" && value !== null ? momentText(value) : String(value ?? "");
    cell.textContent = text;
    cell.title = text.length > 12 ? text : "";
  }
  function drawName(cell, data) {
    const name = data.name || data.id;
    const link = h("span", { className: "cvm-open", title: `Open ${name}`, onclick: (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // these select
      event.stopPropagation();
      state.active = state.anchor = state.shown.indexOf(data.k);
      queue();
      onOpen(data.k);
    } }, name);
    cell.replaceChildren(link);
  }
  function drawStatus(cell, data) {
    const status = data.status ?? "unknown", note = data.op ?? data.note;
    cell.replaceChildren(
      statusGlyph(cell, status),
      h("span", {}, statusWords(data)),
      note ? h("span", { className: data.op ? "cvm-op" : "cvm-note" }, ` ${note}`) : "",
    );
    const raw = data.raw && data.raw !== statusWords(data) ? `the service says "${data.raw}"` : "";
    cell.title = [raw, note].filter(Boolean).join(": ");
  }
  /** A share in percent, of the CPU with how it was lately; where it is not known, why. */
  function drawShare(cell, column, value, spark) {
    if (value === null || value === undefined) {
      cell.replaceChildren(h("span", { className: "cvm-note" }, { private: "private", failed: "–" }[spark] ?? ""));
      cell.title = { private: "This CVM does not publish its system figures", failed: "Its figures could not be read" }[spark] ?? "";
      return;
    }
    const bars = column.name === "cpu" && spark ? h("span", { className: "cvm-spark", "aria-hidden": "true" }, spark) : "";
    cell.replaceChildren(bars, ` ${value} %`);
    cell.title = bars ? `${column.label} ${value} % now; the bars are the last 15 minutes` : "";
  }
  function drawSpent(cell, value, observed) {
    const known = value !== null && value !== undefined;
    cell.textContent = !known ? "" : value.includes(".") ? spentText(Number(value), observed) : `${observed ? "" : "≈ "}${Number(value).toLocaleString("en-US")}`;
    cell.title = !known ? "" : observed ? `${cell.textContent} USD since the first of the month (UTC)` : `${cell.textContent} USD since the first of the month (UTC), estimated: when nobody watched, it is taken to have been as it was next seen`;
  }
  function drawTrust(cell, word) {
    cell.dataset.trust = word ?? "";
    cell.replaceChildren(...(word ? [h("span", { className: "cvm-shape", "aria-hidden": "true" }, TRUST_MARKS[word] ?? "?"), h("span", {}, word)] : []));
  }

  // --- keyboard and mouse ---
  /** What is selected and can be seen: only on these an action acts. */
  function picked() { return ks().filter((k) => store.selected.has(k)); }
  const ksOf = (item) => (isGroup(item) ? state.groups.get(item)?.ks ?? [] : [item]);
  const range = (a, b) => state.shown.slice(Math.min(a, b), Math.max(a, b) + 1).flatMap((item) => (isGroup(item) && !store.folded.has(item) ? [] : ksOf(item)));
  /** Select a row, or all rows of a group; or no more. */
  function toggle(item) {
    const ks = ksOf(item), picked = new Set(store.selected), on = ks.every((k) => picked.has(k));
    for (const k of ks) if (on) picked.delete(k); else picked.add(k);
    store.select(picked);
  }
  /** Keys of a tree: fold, unfold, and go up to the group; false where the key is none of these. */
  function treeKey(key, item) {
    if (!store.isGrouped() || item === undefined) return false;
    if (isGroup(item)) { if (key === "ArrowRight") fold(item, false); else if (key === "ArrowLeft") fold(item, true); else if (key === "Enter") fold(item); else return false; return true; }
    if (key !== "ArrowLeft") return false;
    state.active = state.anchor = state.shown.indexOf([...state.groups.values()].find(({ ks }) => ks.includes(item)).key);
    reveal();
    queue();
    return true;
  }
  function clicked(row, event) {
    const at = state.shown.indexOf(row.k);
    if (at < 0) return;
    const ticked = event.target === row.tick;
    if (event.shiftKey) store.select(event.ctrlKey || event.metaKey ? [...store.selected, ...range(state.anchor, at)] : range(state.anchor, at));
    else if (ticked || event.ctrlKey || event.metaKey) { state.anchor = at; toggle(row.k); }
    else { state.anchor = at; store.select([row.k]); }
    state.active = at;
    queue();
  }
  function reveal() {
    const top = state.active * state.rowPx, high = grid.clientHeight - state.rowPx;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + state.rowPx > grid.scrollTop + high) grid.scrollTop = top + state.rowPx - high;
  }
  function moved(step, event) {
    const before = state.active;
    state.active = Math.max(0, Math.min(state.shown.length - 1, before + step));
    if (event.shiftKey) store.select(range(state.anchor, state.active)); else state.anchor = state.active;
    reveal();
    queue();
  }
  grid.addEventListener("keydown", (event) => {
    if (event.target !== grid) return;
    const chooses = event.key.toLowerCase() === "a" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey;
    if (isShortcut(event) && !chooses) return;
    const page = Math.max(1, Math.floor(grid.clientHeight / state.rowPx) - 2);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    const k = state.shown[state.active];
    if (step !== undefined) moved(step === Infinity ? state.shown.length : step === -Infinity ? -state.shown.length : step, event);
    else if (event.key === " " && k !== undefined) { state.anchor = state.active; toggle(k); }
    else if (chooses) store.select(ks());
    else if (!event.shiftKey && !isShortcut(event) && treeKey(event.key, k)) queue();
    else if (event.key === "Escape") store.select([]);
    else if (isPlain(event, "Enter") && k !== undefined) onOpen(k);
    else if (!letter(event, k)) return;
    event.preventDefault();
  });
  /** Keys that are letters, as in other lists of things that run; false where it is none of them. */
  function letter(event, k) {
    if (isShortcut(event)) return false;
    if (event.key === "j" || event.key === "k") moved(event.key === "j" ? 1 : -1, { shiftKey: false });
    else if (event.key === "?" || event.key === "/") onKey(event.key, k);
    else if (k === undefined || isGroup(k) || event.shiftKey) return false;
    else if (event.key === "x") { state.anchor = state.active; toggle(k); }
    else if (event.key === "m") menuOf(k, document.getElementById(`${uid}-${k}`)?.querySelector(".cvm-more") ?? grid);
    else if (event.key === "l" || event.key === "s") onKey(event.key, k);
    else return false;
    return true;
  }
  all.addEventListener("change", () => {
    const inTable = new Set(ks());
    const others = [...store.selected].filter((k) => !inTable.has(k)); // what the filter hides stays as it is
    store.select(all.checked ? [...others, ...ks()] : others);
  });
  grid.addEventListener("scroll", () => queue(), { passive: true });
  /** Rows have two lines where the grid is narrow. */
  function fit() {
    const narrow = grid.clientWidth > 0 && grid.clientWidth < NARROW_PX;
    if (narrow === state.narrow) return queue();
    state.narrow = narrow;
    state.rowPx = narrow ? LINES_PX : LINE_PX;
    el.classList.toggle("cvm-narrow", narrow);
    queue(true);
  }
  const watch = new ResizeObserver(fit);
  watch.observe(grid);

  function queue(stale = false) {
    state.stale ||= stale;
    state.frame ||= requestAnimationFrame(() => {
      state.frame = 0;
      settle();
      paint();
    });
  }
  /** Rows may have gone since the last frame: whoever needs them before the next one has them chosen at once. */
  function settle() {
    if (state.stale) recompute();
    state.stale = false;
  }
  /** The rows that the filter leaves, in their order; each of them is in the store. */
  function ks() { settle(); return state.ks; }
  return {
    el, grid, columns, queue, toggle, picked, ks,
    flash(ks) { for (const k of ks) state.flash.add(k); },
    end() { watch.disconnect(); cancelAnimationFrame(state.frame); },
  };
}
