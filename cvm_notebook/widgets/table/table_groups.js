// The view by app: a row for each app above its CVMs, made here of the rows that a view has.
//
// Beside the columns each row tells then _app, _hash (how its compose hash begins) and _usd (what it is charged an hour).

const NO_APP = "no app";

/** Group rows, each in the place of its first: the items that are shown (a group's key, or a row), and what is known of each group. */
function groupedRows(store, ks) {
  const groups = new Map();
  for (const k of ks) {
    const row = store.rows.get(k), key = `app:${row._app ?? ""}`;
    if (!groups.has(key)) groups.set(key, { key, app: row._app ?? NO_APP, name: row.name || row.id, ks: [], running: 0, failed: 0, usd: 0, hashes: new Map() });
    const group = groups.get(key);
    group.ks.push(k);
    if (row.name && row.name.length < group.name.length) group.name = row.name; // web, and not web-2
    group.running += row.status === "running";
    group.failed += row.status === "failed";
    group.usd += Number(row._usd ?? 0);
    if (row._hash) group.hashes.set(row._hash, (group.hashes.get(row._hash) ?? 0) + 1);
  }
  const shown = [...groups.values()].flatMap((group) => (store.folded.has(group.key) ? [group.key] : [group.key, ...group.ks]));
  return { shown, groups };
}

/** Whether what has changed is something that groups show. */
const regroups = (changed) => [...changed.values()].some((names) => ["name", "status", "_app", "_hash", "_usd"].some((name) => names.has(name)));

const usdWords = (sum) => sum.toLocaleString("en-US", { maximumFractionDigits: 9 });

/** A row of the grid for an app; `draw(group, {...})` when another is in its place, or it has changed. */
function groupRow({ onFold, onTick }) {
  const tick = h("input", { type: "checkbox", tabIndex: -1 });
  const twisty = h("span", { className: "cvm-twisty", "aria-hidden": "true" }), name = h("strong", {}), facts = h("span", { className: "cvm-group-facts" }), drift = h("span", { className: "cvm-drifted" });
  const cell = h("div", { className: "cvm-cell cvm-group-cell", role: "gridcell", "aria-colindex": 2 }, twisty, name, facts, drift);
  const el = h("div", { className: "cvm-row cvm-group", role: "row", "aria-level": 1 }, h("div", { className: "cvm-cell cvm-pick", role: "gridcell", "aria-colindex": 1 }, tick), cell);
  const row = { el, key: null, ks: [] };
  el.addEventListener("click", (event) => (event.target === tick ? onTick(row.key) : onFold(row.key)));
  row.draw = (group, { open, selected, span }) => {
    row.key = group.key; row.ks = group.ks;
    const marked = group.ks.filter((k) => selected.has(k)).length, versions = group.hashes.size;
    tick.checked = marked === group.ks.length;
    tick.indeterminate = marked > 0 && !tick.checked;
    tick.setAttribute("aria-label", `Select the CVMs of ${group.name}`);
    el.setAttribute("aria-selected", tick.checked);
    el.setAttribute("aria-expanded", open);
    cell.setAttribute("aria-colspan", span);
    twisty.textContent = open ? "▾" : "▸";
    name.textContent = group.name;
    const n = group.ks.length, some = marked && !tick.checked ? ` · ${marked} selected` : "";
    facts.textContent = ` ${howMany(n, "CVM")} · ${group.running} running${group.failed ? ` · ${group.failed} failed` : ""} · ${usdWords(group.usd)} USD/h${some}`;
    drift.textContent = versions > 1 ? ` ⚠ ${versions} versions` : "";
    cell.title = `app ${group.app}${versions > 1 ? `: ${[...group.hashes].map(([hash, count]) => `${count} run ${hash}…`).join(", ")}` : ""}`;
  };
  return row;
}
