// The grid: only the rows in sight are in the page. Keyboard and mouse as in any grid.
const ROW_PX = 30, SPARE = 6, TICK_PX = 34;

function tableGrid(store, { onOpen, say }) {
  const uid = `cvm-${clickId()}`;
  // shown: rows by their numbers, and groups by their keys; ks: the rows alone, those of folded groups, too
  const state = { shown: [], ks: [], groups: new Map(), active: 0, anchor: 0, stale: true, flash: new Set(), frame: 0 };
  const all = h("input", { type: "checkbox", "aria-label": "Select all that are shown", tabIndex: -1 });
  const head = h("div", { className: "cvm-row cvm-head", role: "row", "aria-rowindex": 1 });
  const space = h("div", { className: "cvm-space", role: "rowgroup" });
  const none = h("div", { className: "cvm-none cvm-dim" });
  const grid = h("div", {
    className: "cvm-cvms", role: "grid", tabIndex: 0, "aria-multiselectable": "true",
    "aria-label": "CVMs. Arrows move, space selects, control and A selects all, enter shows one",
  }, h("div", { role: "rowgroup", className: "cvm-headgroup" }, head), space);
  const el = h("div", { className: "cvm-cvms-frame" }, grid, none);
  const pool = [], groupPool = [];
  const isGroup = (item) => typeof item === "string";

  function columns() {
    const template = `${TICK_PX}px ` + store.columns.map((c) => `minmax(${c.width}px, ${c.name === "name" || c.kind === "link" ? 2 : 1}fr)`).join(" ");
    grid.style.setProperty("--cvm-columns", template);
    grid.style.setProperty("--cvm-width", `${TICK_PX + store.columns.reduce((sum, c) => sum + c.width, 0)}px`);
    grid.setAttribute("aria-colcount", store.columns.length + 1);
    head.replaceChildren(h("div", { className: "cvm-cell cvm-pick", role: "columnheader", "aria-label": "Selected" }, all), ...store.columns.map((c) => {
      const button = h("button", { type: "button", className: "cvm-sort", tabIndex: -1, title: `Sort by ${c.label}`, onclick: () => sortBy(c.name) }, c.label);
      return h("div", { className: `cvm-cell cvm-kind-${c.kind}`, role: "columnheader", "data-name": c.name }, button);
    }));
    pool.splice(0).forEach((row) => row.el.remove());
  }
  function sortBy(name) {
    const was = store.sort;
    store.sort = was?.name !== name ? { name, down: false } : was.down ? null : { name, down: true };
    say(store.sort ? `Sorted by ${name}, ${store.sort.down ? "descending" : "ascending"}` : "In the fleet's own order");
    store.notify({ shape: true });
  }
  function makeRow() {
    const tick = h("input", { type: "checkbox", tabIndex: -1 });
    const cells = store.columns.map((c, i) => h("div", { className: `cvm-cell cvm-kind-${c.kind}`, role: "gridcell", "aria-colindex": i + 2 }));
    const row = h("div", { className: "cvm-row", role: "row" }, h("div", { className: "cvm-cell cvm-pick", role: "gridcell", "aria-colindex": 1 }, tick), ...cells);
    const made = { el: row, tick, cells, k: null, drawn: [] };
    row.addEventListener("mousedown", (event) => { if (event.shiftKey) event.preventDefault(); });
    row.addEventListener("click", (event) => clicked(made, event));
    row.addEventListener("dblclick", (event) => { if (event.target !== tick) onOpen(made.k); });
    space.append(row);
    pool.push(made);
    return made;
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
    row.el.style.transform = `translateY(${at * ROW_PX}px)`;
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
    space.style.blockSize = `${state.shown.length * ROW_PX}px`;
    grid.setAttribute("aria-rowcount", state.shown.length + 1);
    for (const cell of head.querySelectorAll("[data-name]")) {
      const sort = store.sort?.name === cell.dataset.name ? (store.sort.down ? "descending" : "ascending") : "none";
      cell.setAttribute("aria-sort", sort);
    }
    none.hidden = state.shown.length > 0;
    none.textContent = store.health?.state === "needs a key" ? "Sign in to see your CVMs." : store.reading ? "Reading the fleet…" : store.rows.size ? "No CVM fits the filter." : "There is no CVM yet.";
  }
  function paint() {
    const first = Math.max(0, Math.floor((grid.scrollTop - ROW_PX) / ROW_PX) - SPARE);
    const count = Math.max(0, Math.min(state.shown.length - first, Math.ceil(grid.clientHeight / ROW_PX) + 2 * SPARE));
    let rows = 0, groups = 0;
    state.shown.slice(first, first + count).forEach((item, i) => {
      if (isGroup(item)) drawGroup(groupPool[groups++] ?? makeGroup(), first + i);
      else drawRow(pool[rows++] ?? makeRow(), first + i);
    });
    for (const row of [...pool.slice(rows), ...groupPool.slice(groups)]) { row.el.hidden = true; row.el.removeAttribute("id"); row.k = row.key = null; }
    state.flash.clear();
    const marked = picked().length;
    all.checked = marked > 0 && marked === state.ks.length;
    all.indeterminate = marked > 0 && !all.checked;
    const now = state.shown[state.active], active = now === undefined ? null : [...pool, ...groupPool].find((row) => (row.k ?? row.key) === now);
    if (active) grid.setAttribute("aria-activedescendant", active.el.id); else grid.removeAttribute("aria-activedescendant");
  }
  function drawRow(row, at) {
    const k = state.shown[at], data = store.rows.get(k), other = row.k !== k;
    row.k = k; row.el.hidden = false; row.el.id = `${uid}-${k}`;
    row.el.style.transform = `translateY(${at * ROW_PX}px)`;
    row.el.setAttribute("aria-rowindex", at + 2);
    if (store.isGrouped()) row.el.setAttribute("aria-level", 2); else row.el.removeAttribute("aria-level");
    const picked = store.selected.has(k);
    row.el.setAttribute("aria-selected", picked); row.tick.checked = picked;
    if (other) row.tick.setAttribute("aria-label", `Select ${data.name || data.id}`);
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
    const value = column.kind === "age" ? ageWords(rowAge(store, data.k)) : data[column.name];
    const key = column.kind === "status" ? `${value}|${data.raw}|${data.note}|${data.op}` : value;
    if (row.drawn[i] === key) return;
    row.drawn[i] = key;
    if (column.kind === "status") return drawStatus(cell, data);
    if (column.kind === "trust") return drawTrust(cell, value);
    if (column.kind === "link") return value ? cell.replaceChildren(safeLink(value, value.replace(/^https:\/\//, ""))) : cell.replaceChildren();
    const text = column.kind === "when" && value !== null ? new Date(value).toLocaleString() : String(value ?? "");
    cell.textContent = column.name === "name" && !text ? data.id : text;
    cell.title = text.length > 12 ? text : "";
  }
  function drawStatus(cell, data) {
    const status = data.status ?? "unknown", note = data.op ?? data.note;
    cell.replaceChildren(
      statusGlyph(cell, status),
      h("span", {}, data.raw ?? status.replace("_", " ")),
      note ? h("span", { className: data.op ? "cvm-op" : "cvm-note" }, ` ${note}`) : "",
    );
    cell.title = note ? `${data.raw ?? status}: ${note}` : "";
  }
  function drawTrust(cell, word) {
    cell.dataset.trust = word ?? "";
    cell.replaceChildren(...(word ? [h("span", { className: "cvm-shape", "aria-hidden": "true" }, TRUST_MARKS[word] ?? "?"), h("span", {}, word)] : []));
  }

  // --- keyboard and mouse ---
  /** What is selected and can be seen: only on these an action acts. */
  function picked() { return state.ks.filter((k) => store.selected.has(k)); }
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
    const top = state.active * ROW_PX, high = grid.clientHeight - ROW_PX;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + ROW_PX > grid.scrollTop + high) grid.scrollTop = top + ROW_PX - high;
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
    const page = Math.max(1, Math.floor(grid.clientHeight / ROW_PX) - 2);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    const k = state.shown[state.active];
    if (step !== undefined) moved(step === Infinity ? state.shown.length : step === -Infinity ? -state.shown.length : step, event);
    else if (event.key === " " && k !== undefined) { state.anchor = state.active; toggle(k); }
    else if (chooses) store.select(state.ks);
    else if (!event.shiftKey && !isShortcut(event) && treeKey(event.key, k)) queue();
    else if (event.key === "Escape") store.select([]);
    else if (isPlain(event, "Enter") && k !== undefined) onOpen(k);
    else return;
    event.preventDefault();
  });
  all.addEventListener("change", () => {
    const mine = new Set(state.ks);
    const others = [...store.selected].filter((k) => !mine.has(k)); // what the filter hides stays as it is
    store.select(all.checked ? [...others, ...state.ks] : others);
  });
  grid.addEventListener("scroll", () => queue(), { passive: true });
  const watch = new ResizeObserver(() => queue());
  watch.observe(grid);

  function queue(stale = false) {
    state.stale ||= stale;
    state.frame ||= requestAnimationFrame(() => {
      state.frame = 0;
      if (state.stale) recompute();
      state.stale = false;
      paint();
    });
  }
  return {
    el, grid, state, columns, queue, toggle, picked,
    flash(ks) { for (const k of ks) state.flash.add(k); },
    end() { watch.disconnect(); cancelAnimationFrame(state.frame); },
  };
}
