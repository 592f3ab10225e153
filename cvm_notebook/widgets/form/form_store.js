// The form's model: what is typed and not yet taken by the kernel, beside what the kernel has.
//
//   Python -> view   the sections of the state
//   view -> Python   set {values, edits}, path, reload, env, env_file, env_remove; provision,
//                    commit {as_provisioned}, again: each with a click of its own
//
// Each edit of a field has a number. What the kernel has of a field is older than what stands there until it
// has the number of the last edit: so nothing that was typed is ever overwritten by its own echo.

function formStore(model) {
  const store = viewModel(model, {
    initial: { edits: {}, fields: { values: {}, switches: [] }, compose: "", errors: {} },
    received() { if (!timer) pushTyped(); }, // what was typed while the kernel did not answer
    leaving: () => pushTyped(),
  });
  const typed = {}, edits = {};
  let waiting = {}, timer = 0;

  function pushTyped() {
    clearTimeout(timer);
    timer = 0;
    if (!store.live() || !store.token || !Object.keys(waiting).length) return;
    const values = waiting;
    waiting = {};
    store.send({ kind: "set", values, edits: Object.fromEntries(Object.keys(values).map((field) => [field, edits[field]])) });
  }
  return Object.assign(store, {
    /** The value of a field as it is to be shown. */
    value(field) {
      const own = edits[field] ?? 0;
      if (own > (store.state.edits[field] ?? 0)) return typed[field];
      return field === "compose_file" ? store.state.compose : store.state.fields.values[field];
    },
    /** Take what was typed or chosen; it goes to the kernel in a moment, or when the kernel is there. */
    set(values, soon = false) {
      for (const [field, value] of Object.entries(values)) {
        edits[field] = Math.max(edits[field] ?? 0, store.state.edits[field] ?? 0) + 1;
        typed[field] = value;
        waiting[field] = value;
      }
      clearTimeout(timer);
      timer = setTimeout(pushTyped, soon ? 0 : 180);
    },
    act(kind, more = {}) { pushTyped(); store.send({ kind, click: clickId(), ...more }); },
  });
}
