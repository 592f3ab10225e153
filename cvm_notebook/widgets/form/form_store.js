// What a form's views share: what the kernel says, and what is typed and not yet taken there.
//
//   Python -> view   form {n, token, fields, compose, errors, ...}: the sections that have changed   pulse {n}   notice {text}
//   view -> Python   hello (also after a gap), ack, alive, bye; set {values, edits}, path, reload, env, env_file,
//                    env_remove; provision, commit {as_provisioned}, again: each with a click of its own
//
// Each edit of a field has a number. What the kernel says of a field is older than what stands there until it
// says the number of the last edit: so nothing that was typed is ever overwritten by its own echo.

function formStore(model) {
  const views = new Set();
  const said = { n: -1, token: null, edits: {}, fields: { values: {}, switches: [] }, compose: "", errors: {} };
  const typed = {}, edits = {};
  let waiting = {}, timer = 0;
  const alive = liveness((live) => { if (live) pushTyped(); tell({ live }); });
  const tell = (what) => { for (const view of views) view(what); };
  const send = (message) => tellKernel(model, { ...message, token: said.token, n: said.n });

  function pushTyped() {
    clearTimeout(timer);
    if (!alive.live || !Object.keys(waiting).length) return;
    const values = waiting;
    waiting = {};
    send({ kind: "set", values, edits: Object.fromEntries(Object.keys(values).map((field) => [field, edits[field]])) });
  }
  function receive(message) {
    alive.heard();
    if (message.kind === "pulse") { if (message.n !== said.n) send({ kind: "hello" }); return; }
    if (message.kind !== "form") { tell({ notice: message.text }); return; }
    const gap = said.n >= 0 && message.n > said.n + 1 && !message.fields;
    for (const [name, part] of Object.entries(message)) said[name] = part;
    if (gap) { send({ kind: "hello" }); return; }
    send({ kind: "ack" });
    tell({ sections: Object.keys(message) });
  }
  const { shown, hidden, stop } = audience(views, alive, send, pushTyped);
  return {
    said, views, send, shown, hidden,
    live: () => alive.live,
    /** The value of a field as it is to be shown. */
    value(field) {
      const own = edits[field] ?? 0;
      if (own > (said.edits[field] ?? 0)) return typed[field];
      return field === "compose_file" ? said.compose : said.fields.values[field];
    },
    /** Take what was typed or chosen; it goes to the kernel in a moment, or when the kernel is there. */
    set(values, soon = false) {
      for (const [field, value] of Object.entries(values)) {
        edits[field] = Math.max(edits[field] ?? 0, said.edits[field] ?? 0) + 1;
        typed[field] = value;
        waiting[field] = value;
      }
      clearTimeout(timer);
      timer = setTimeout(pushTyped, soon ? 0 : 180);
    },
    act(kind, more = {}) { pushTyped(); send({ kind, click: clickId(), ...more }); },
    begin() {
      model.on("msg:custom", receive);
      const boot = model.get("_boot");
      // drawn at once; it is live when the kernel is heard: this may be a saved notebook
      if (boot?.byteLength) Object.assign(said, JSON.parse(new TextDecoder().decode(boot)));
    },
    end() { model.off("msg:custom", receive); stop(); },
  };
}
