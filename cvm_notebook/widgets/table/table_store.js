// The rows of a table, as Python tells them: a snapshot, then patches, counted so that a gap shows.
//
//   Python -> view   snapshot {n, revision, token, columns, more, ks, ids, cols: {name: [cell]}}
//                    patch    {n, revision, set: {name: [[k], [cell]]}, add: {ks, ids, cols}, del: [k]}
//                    found    {text, ks | error}     pulse {ages, health}     and what Acts says
//                    opened {view, id, of, card}
//   view -> Python   hello (also after a gap), ack {n}, alive, bye; act, open, select, columns, follow
//   trait            query: what is searched for, the same in every view of every window
//
// One store a model: its views show the same rows, the same search, the same selection.

function tableStore(model) {
  const views = new Set();
  const store = {
    rows: new Map(), order: [], byId: new Map(), columns: [], more: [], n: -1, revision: 0, token: null, at: 0,
    totals: { running: 0, rate: "0" }, health: { state: "idle", text: "" }, ages: { common: 0, own: {} }, agesAt: 0,
    selected: new Set(), pick: null, followed: new Set(), query: "", found: null, sort: null, reading: false, readOnly: false,
    live: null, views, tell, send, act, search, select, showColumns,
  };
  const alive = liveness((live) => tell({ live }));
  store.live = () => alive.live;

  function tell(what) { for (const view of views) view(what); }
  function send(message) { tellKernel(model, { ...message, token: store.token, n: message.n ?? store.n }); }

  function take(names, ks, ids, cols) {
    ks.forEach((k, i) => {
      const row = { k, id: ids[i] };
      for (const name of names) row[name] = cols[name][i];
      store.rows.set(k, row);
      store.byId.set(row.id, k);
    });
  }
  function snapshot(message) {
    const mine = [...store.selected].map((k) => store.rows.get(k)?.id);
    store.rows = new Map(); store.byId = new Map();
    take(Object.keys(message.cols), message.ks, message.ids, message.cols);
    store.order = message.ks;
    for (const name of ["n", "revision", "token", "columns", "more", "at", "reading"]) store[name] = message[name];
    store.readOnly = message.read_only;
    store.selected = new Set(store.pick ? mine.map((id) => store.byId.get(id)).filter(Boolean) : message.selected);
    store.followed = new Set(message.followed);
    store.agesAt = performance.now();
    store.found = null;
  }
  function patch(message) {
    if (message.n !== store.n + 1) { if (message.n !== store.n) send({ kind: "hello" }); return null; }
    store.n = message.n;
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
  function receive(message) {
    alive.heard();
    if (message.health) store.health = message.health;
    if (message.ages) { store.ages = message.ages; store.agesAt = performance.now(); }
    if (message.totals) store.totals = message.totals;
    if (message.revision !== undefined) store.revision = message.revision;
    const what = { kind: message.kind, message };
    if (message.kind === "snapshot") { snapshot(message); what.shape = true; what.columns = true; }
    else if (message.kind === "patch") { const done = patch(message); if (!done) return; Object.assign(what, done); }
    else if (message.kind === "pulse" && message.n !== store.n) send({ kind: "hello" });
    else if (message.kind === "selected") selected(message);
    else if (message.kind === "followed") store.followed = new Set(message.ks);
    const found = message.kind === "found" ? message : message.found;
    if (found && found.text === store.query.trim()) { store.found = found; what.shape = true; }
    if (message.kind === "snapshot" || message.kind === "patch") send({ kind: "ack" });
    if (message.kind === "snapshot" && store.pick) tellSelection();
    tell(what);
  }
  function act(verb, ks) { send({ kind: "act", verb, ks, click: clickId(), revision: store.revision }); }
  let asked = 0;
  function search(text) {
    store.query = text; store.found = null;
    clearTimeout(asked);
    asked = setTimeout(() => { asked = 0; model.set("query", store.query); model.save_changes(); }, 150);
    tell({ shape: true });
  }
  /** What is searched for was changed elsewhere: in another window, or in Python. */
  function searched() {
    const text = model.get("query") ?? "";
    if (asked || text === store.query) return; // what is being typed here is newer
    store.query = text; store.found = null;
    tell({ shape: true });
  }
  let told = 0;
  const tellSelection = () => send({ kind: "select", ks: [...store.selected], pick: store.pick });
  function select(ks) {
    store.selected = new Set(ks);
    store.pick = clickId();
    clearTimeout(told);
    told = setTimeout(tellSelection, 60);
    tell({ selection: true });
  }
  /** What Python says is selected, unless it was said before Python heard what is picked here. */
  function selected(message) {
    if (store.pick && message.pick !== store.pick) return;
    store.pick = null;
    store.selected = new Set(message.ks);
  }
  function showColumns(names) { send({ kind: "columns", names }); }

  const { shown, hidden, stop } = audience(views, alive, send);
  return {
    store, shown, hidden,
    begin() {
      model.on("msg:custom", receive);
      model.on("change:query", searched);
      store.query = model.get("query") ?? "";
      const boot = model.get("_boot");
      if (boot?.byteLength) {
        // Drawn at once; it is live when the kernel is heard: this may be a saved notebook.
        const message = JSON.parse(new TextDecoder().decode(boot));
        store.health = message.health; store.ages = message.ages; store.totals = message.totals; store.revision = message.revision;
        snapshot(message);
      }
    },
    end() { model.off("msg:custom", receive); model.off("change:query", searched); clearTimeout(asked); stop(); },
  };
}

/** Words without signs or keywords are looked for here, at once; the rest only Python understands. */
const LANGUAGE = /[=<>()!'"]|\b(and|or|not|like|ilike|in|is|order|limit)\b/i;

/** The rows to be shown, in their order. */
function chosenRows(store) {
  const { found, rows } = store, query = store.query.trim();
  let ks = store.order;
  if (found?.ks) ks = found.ks.filter((k) => rows.has(k));
  else if (query && !LANGUAGE.test(query)) {
    const words = query.toLowerCase().split(/\s+/);
    const names = ["id", ...store.columns.map((column) => column.name)];
    ks = ks.filter((k) => {
      const row = rows.get(k);
      const text = names.map((name) => row[name] ?? "").join("\n").toLowerCase();
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
  const numeric = kind === "number" || kind === "usd" || kind === "when";
  const sign = down ? -1 : 1;
  const value = name === "age_s" ? (row) => rowAge(store, row.k) : numeric ? (row) => (row[name] === null ? null : Number(row[name])) : (row) => row[name] && naturally(String(row[name]));
  const compare = numeric || name === "age_s" ? (a, b) => a - b : (a, b) => collator.compare(a, b);
  const keyed = ks.map((k) => [value(store.rows.get(k)), k]);
  const missing = (v) => v === null || v === undefined || v === "";
  keyed.sort(([a], [b]) => (missing(a) ? (missing(b) ? 0 : 1) : missing(b) ? -1 : sign * compare(a, b)));
  return keyed.map(([, k]) => k);
}

/** How old a row is, in seconds, now. */
function rowAge(store, k) {
  const then = store.ages.own[k] ?? store.ages.common;
  return then + (performance.now() - store.agesAt) / 1000;
}
