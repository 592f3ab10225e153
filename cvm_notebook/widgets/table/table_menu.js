// Menus of the table: of a row, and of what is shown; with what they copy and save.

/** A menu in the page's top layer, so that nothing clips it. `open(at, items)`: items are [label, act, hint, disabled], or null for a line. */
function popupMenu(label) {
  const el = h("div", { className: "cvm-menu", role: "menu", "aria-label": label, popover: "auto", tabIndex: -1 });
  let before = null;
  const entries = () => [...el.querySelectorAll("[role=menuitem]:not(:disabled)")];
  el.addEventListener("keydown", (event) => {
    const all = entries(), at = all.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined) all[(to + all.length) % all.length]?.focus();
    else if (event.key === "Tab") el.hidePopover();
    else return;
    event.preventDefault();
  });
  el.addEventListener("toggle", (event) => { if (event.newState === "closed" && before?.isConnected && (el.contains(document.activeElement) || document.activeElement === document.body)) before.focus(); });
  return {
    el,
    open(at, items) {
      before = document.activeElement;
      el.replaceChildren(...items.map((item) => (item === null ? h("hr", {}) : h("button", {
        type: "button", role: "menuitem", className: item[2] === "danger" ? "cvm-danger" : "", disabled: Boolean(item[3]), onclick: () => { el.hidePopover(); item[1](); },
      }, item[0], item[2] && item[2] !== "danger" ? h("kbd", {}, item[2]) : ""))));
      el.showPopover();
      const { width, height } = el.getBoundingClientRect();
      el.style.left = `${Math.max(4, Math.min(at.x, innerWidth - width - 4))}px`;
      el.style.top = `${at.y + height > innerHeight ? Math.max(4, at.y - height) : at.y}px`;
      entries()[0]?.focus();
    },
    enable(label, on) { for (const item of el.querySelectorAll("[role=menuitem]")) if (item.firstChild?.textContent === label) item.disabled = !on; },
  };
}

/** Text as Python writes it. */
const pythonText = (text) => JSON.stringify(text).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** Rows by their numbers, without those that have gone since a menu was opened. */
const known = (store, ks) => ks.map((k) => store.rows.get(k)).filter(Boolean);

/** Python that comes to what is selected, or else to what is shown. */
function asPython(store, picked) {
  const names = known(store, picked).map((row) => row.name || row.id);
  if (names.length === 1) return `fleet[${pythonText(names[0])}]`;
  if (names.length) return `fleet.where(name=[${names.map(pythonText).join(", ")}])`;
  const query = store.query.trim();
  return query ? `fleet.search(${pythonText(query)})` : "fleet.frame()";
}

/** What a CSV of rows lacks, in words: a large fleet is measured while it is in sight, and its costs come in turn. */
function lacksOf(store, ks) {
  const rows = known(store, ks), kinds = new Set(store.columns.map((column) => column.kind));
  const unmeasured = kinds.has("share") ? rows.filter((row) => row.status === "running" && !row.spark).length : 0;
  const uncounted = kinds.has("spent") ? rows.filter((row) => row.month_usd === undefined).length : 0;
  return [
    unmeasured ? `CPU and memory of ${howMany(unmeasured, "running CVM")} that are not measured yet (to measure all, order by CPU)` : "",
    uncounted ? `the month of ${howMany(uncounted, "CVM")}, which is not worked out yet` : "",
  ].filter(Boolean).join("; ");
}

/** The rows as CSV, with the columns that are shown. */
function asCsv(store, ks) {
  // a spreadsheet takes what begins so for a formula, and names are chosen by others
  const harmless = (text) => (/^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text);
  const cell = (value) => `"${harmless(String(value ?? "")).replaceAll('"', '""')}"`;
  const value = (row, column) => (column.kind === "age" ? Math.round(rowAge(store, row.k)) : column.kind === "since" ? Math.floor(upFor(store, row[column.name]) ?? NaN) || "" : column.kind === "when" && row[column.name] !== null ? new Date(row[column.name]).toISOString() : row[column.name]);
  const columns = store.columns, lines = known(store, ks).map((row) => [row.id, ...columns.map((column) => value(row, column))]);
  return [["id", ...columns.map((column) => column.name)], ...lines].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}
