// The table's model: rows by column, what is searched for, and what is selected, beside the protocol of every view.
//
//   Python -> view   snapshot {revision, columns, more, ks, ids, cols: {name: [cell]}, ...}
//                    patch    {revision, set: {name: [[k], [cell]]}, add: {ks, ids, cols}, del: [k]}
//                    found    {text, ks | error}     pulse {ages, health, credit}     and the answers to clicks
//                    endpoint {k, url}   opened {view, id, of, card}   facet {name, values}   views {names, view}   look {view, query, by}
//                    toasts {items}   and with the pulses: spending, and spent {ks, usd, observed} of some rows
//                    with the pulses, too: boots {ks, at}, since when rows in sight run, where that is sent anew
//   view -> Python   endpoint, act, undo, now, retry, dismiss, open, select, seen, column, columns, facet, view, follow
//   traits           query: what is searched for, and by: rows of each cvm, or under their app; the same in every view of
//                    every window

function tableStore(model) {
  const store = Object.assign(viewModel(model, { snapshot, patch, received }), {
    rows: new Map(), order: [], byId: new Map(), columns: [], more: [], revision: 0,
    totals: { rate: "0" }, ages: { common: 0, own: {} }, agesAt: 0,
    selected: new Set(), pick: null, followed: new Set(), query: model.get("query") ?? "", found: null, sort: null, widths: new Map(), credit: null, spending: null, views: ["Default"], view: "Default", turn: 0, toasts: [], reading: false, readOnly: false, local: false, console: null,
    by: model.get("by") ?? "cvm", hasApps: false, folded: new Set(), isGrouped: () => store.by === "app" && store.hasApps, group,
    act, search, select, see,
  });
  const { send, notify } = store;

  function take(names, ks, ids, cols) {
    ks.forEach((k, i) => {
      const row = { k, id: ids[i] };
      for (const name of names) row[name] = cols[name][i];
      store.rows.set(k, row);
      store.byId.set(row.id, k);
    });
  }
  function snapshot(message) {
    const selectedIds = [...store.selected].map((k) => store.rows.get(k)?.id), before = store.rows;
    store.rows = new Map(); store.byId = new Map();
    take(Object.keys(message.cols), message.ks, message.ids, message.cols);
    store.order = message.ks;
    for (const row of store.rows.values()) { const was = before.get(row.k); if (was?.id === row.id) { row.month_usd = was.month_usd; row.month_seen = was.month_seen; } }
    store.hasApps = "_app" in message.cols;
    for (const name of ["columns", "more"]) store[name] = message[name];
    store.readOnly = message.read_only; store.local = message.local; store.console = message.console;
    if (message.look && message.look.turn !== store.turn) lookAs(message.look);
    store.selected = new Set(store.pick ? selectedIds.map((id) => store.byId.get(id)).filter(Boolean) : message.selected);
    store.followed = new Set(message.followed);
    store.found = null;
    return { shape: true, columns: true };
  }
  /** Sort and lay out as a saved view does; what is changed by hand after that stays. */
  function lookAs({ turn, widths, sort }) {
    store.turn = turn; store.sort = sort;
    store.widths = new Map(Object.entries(widths));
  }
  /** What rows have cost this month: beside the rows, and some of them at a time. */
  function spent({ ks, usd, observed }, what) {
    ks.forEach((k, i) => { const row = store.rows.get(k); if (row) { row.month_usd = usd[i]; row.month_seen = observed[i]; } });
    if (store.sort?.name === "month_usd") what.shape = true;
  }
  function patch(message) {
    const changed = new Map();
    for (const [name, [ks, cells]] of Object.entries(message.set)) {
      ks.forEach((k, i) => {
        const row = store.rows.get(k);
        if (!row) return;
        row[name] = cells[i];
        if (!changed.has(k)) changed.set(k, new Set());
        changed.get(k).add(name);
      });
    }
    for (const k of message.del) {
      const row = store.rows.get(k);
      if (row) store.byId.delete(row.id);
      store.rows.delete(k); store.selected.delete(k); store.followed.delete(k);
    }
    if (message.del.length) store.order = store.order.filter((k) => store.rows.has(k));
    if (message.add) {
      take(Object.keys(message.add.cols), message.add.ks, message.add.ids, message.add.cols);
      store.order = [...message.add.ks, ...store.order];
    }
    return { changed, shape: message.del.length > 0 || Boolean(message.add) };
  }
  function received(message, what) {
    if (message.boots) message.boots.ks.forEach((k, i) => { const row = store.rows.get(k); if (row) row.uptime_s = message.boots.at[i]; });
    if (message.reading !== undefined) store.reading = message.reading;
    if (message.ages) { store.ages = message.ages; store.agesAt = performance.now(); }
    if (message.totals) store.totals = message.totals;
    if ("credit" in message) store.credit = message.credit;
    if (message.spending) store.spending = message.spending;
    if (message.spent) spent(message.spent, what);
    if (message.views) { store.views = message.views; store.view = message.view; }
    if (message.toasts) store.toasts = message.toasts;
    if (message.kind === "views") { store.views = message.names; store.view = message.view; }
    if (message.kind === "toasts") store.toasts = message.items;
    if (message.revision !== undefined) store.revision = message.revision;
    if (message.kind === "selected") selected(message);
    else if (message.kind === "followed") store.followed = new Set(message.ks);
    const found = message.kind === "found" ? message : message.found;
    if (found && found.text === store.query.trim()) { store.found = found; what.shape = true; }
    if (message.kind === "snapshot" && store.pick) sendSelection();
  }
  function act(verb, ks) { send({ kind: "act", verb, ks, click: clickId(), revision: store.revision }); }
  let asked = 0;
  /** Search when nothing more is typed for a moment; at once where it is not typed. */
  function search(text, typed = true) {
    store.query = text; store.found = null;
    clearTimeout(asked);
    const push = () => { asked = 0; model.set("query", store.query); model.save_changes(); };
    if (typed) asked = setTimeout(push, 150); else push();
    notify({ shape: true });
  }
  /** What is searched for was changed elsewhere: in another window, or in Python. */
  function searched() {
    const text = model.get("query") ?? "";
    if (asked || text === store.query) return; // what is being typed here is newer
    store.query = text; store.found = null;
    notify({ shape: true });
  }
  let selectionTimer = 0;
  const sendSelection = () => send({ kind: "select", ks: [...store.selected], pick: store.pick });
  function select(ks) {
    store.selected = new Set(ks);
    store.pick = clickId();
    clearTimeout(selectionTimer);
    selectionTimer = setTimeout(sendSelection, 60);
    notify({ selection: true });
  }
  /** What Python reports as selected, unless it was sent before Python had what is picked here. */
  function selected(message) {
    if (store.pick && message.pick !== store.pick) return;
    store.pick = null;
    store.selected = new Set(message.ks);
  }
  /** Tell which rows are in sight and what they are sorted by, as soon as that rests: both decide which CVMs are measured. */
  let seeing = 0, saw = "";
  function see(ks) {
    const sort = store.sort?.name ?? "", now = [sort, ...ks].join();
    if (now === saw) return;
    saw = now;
    clearTimeout(seeing);
    seeing = setTimeout(() => send({ kind: "seen", ks, sort }), 400);
  }
  function group(by) { model.set("by", by); model.save_changes(); }
  function grouped() { store.by = model.get("by") ?? "cvm"; notify({ shape: true }); }

  const changed = { "change:query": () => store.unpressed(searched), "change:by": () => store.unpressed(grouped) };
  for (const [name, then] of Object.entries(changed)) model.on(name, then);
  store.ended.push(() => { for (const [name, then] of Object.entries(changed)) model.off(name, then); clearTimeout(asked); clearTimeout(seeing); });
  return store;
}

/** Words without signs or keywords are looked for here, at once; the rest only Python understands. */
const LANGUAGE = /[=<>()!'"*]|\b(and|or|not|like|ilike|in|is|order|limit)\b/i;

/** The rows to be shown, in their order. */
function chosenRows(store) {
  const { found, rows } = store, query = store.query.trim();
  let ks = store.order;
  if (found?.ks) ks = found.ks.filter((k) => rows.has(k));
  else if (query && !LANGUAGE.test(query)) {
    const words = query.toLowerCase().split(/\s+/);
    const names = ["id", "raw", "note", ...store.columns.map((column) => column.name)];
    ks = ks.filter((k) => {
      const row = rows.get(k);
      const text = [...names.map((name) => row[name] ?? ""), row.spark === "private" ? "private" : ""].join("\n").toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }
  return store.sort ? sorted(store, ks) : ks;
}

// Digits are padded because Chromium's numeric collator has no fast path for plain text.
const collator = new Intl.Collator();
const naturally = (text) => text.replace(/\d+/g, (digits) => digits.padStart(16, "0"));

/** Sorted by one column; what a row does not say comes last, either way. */
function sorted(store, ks) {
  const { name, down } = store.sort;
  const kind = store.columns.find((column) => column.name === name)?.kind;
  const numeric = ["number", "usd", "when", "span", "since", "share", "spent"].includes(kind);
  const sign = down ? -1 : 1;
  const value = name === "age_s" ? (row) => rowAge(store, row.k) : kind === "since" ? (row) => upFor(store, row[name]) : numeric ? (row) => (row[name] === null || row[name] === undefined ? null : Number(row[name])) : (row) => row[name] && naturally(String(row[name]));
  const compare = numeric || name === "age_s" ? (a, b) => a - b : (a, b) => collator.compare(a, b);
  const keyed = ks.map((k) => [value(store.rows.get(k)), k]);
  const missing = (v) => v === null || v === undefined || v === "";
  keyed.sort(([a], [b]) => (missing(a) ? (missing(b) ? 0 : 1) : missing(b) ? -1 : sign * compare(a, b)));
  return keyed.map(([, k]) => k);
}

/** How long something is up, in seconds, by when it began on the kernel's clock; it stands still where the kernel is gone. */
function upFor(store, began) {
  if (began === null || began === undefined) return null;
  return Math.max(0, (store.now() - began) / 1000);
}

/** How old a row is, in seconds, now. */
function rowAge(store, k) {
  const then = store.ages.own[k] ?? store.ages.common;
  return then + (performance.now() - store.agesAt) / 1000;
}
