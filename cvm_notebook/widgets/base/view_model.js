// The model behind the views of one widget; the other half of LiveView (view.py). Joined after common.js.
//
//   Python -> view   snapshot {n, token, set}   patch {n, set}   pulse {n}: each with what changes with the time alone,
//                    of which {at} is the kernel's clock
//                    notice {text, fault}, part {of, message | open}, and what the widget has to say of its own
//   view -> Python   hello (also after a gap), ack, alive, bye, part {of, message | do}, and what the widget asks for:
//                    each with {n, token}
//
// One store a model: its views show the same. A view gets {message, before} of each message, and {live} when the
// kernel's messages come again, or no more.

// The messages of the state: what else comes may be the answer to another view.
const CONTINUES = new Set(["snapshot", "patch", "pulse"]);
const LONGEST_PRESS_MS = 3000;

/**
 * Make the store of a model. A widget whose state is not sections, or that keeps more beside it, gives its own ways:
 * `snapshot(message)` and `patch(message)` take what is new, and return what the views get beside the message;
 * `received(message, what)` sees every message before them; `leaving()` is called before the last of them is gone.
 */
function viewModel(model, { initial = null, ...own } = {}) {
  const views = new Set(), parts = new Set(), held = [];
  const press = pointerPress(() => { for (const then of held.splice(0)) then(); });
  const alive = liveness((live) => notify({ live }));
  const take = {
    snapshot(message) { store.state = message.set; },
    patch(message) { store.state = { ...store.state, ...message.set }; },
    ...own,
  };
  const store = { n: -1, token: null, state: initial, health: { state: "paused", text: "" }, healthAt: 0, at: null, atHere: 0, live: () => alive.live, now, notify, send, unpressed, ended: [] };

  function notify(what) { for (const view of views) view(what); }
  function send(message) {
    try { model.send({ ...message, token: store.token, n: message.n ?? store.n }); } catch { /* "Cannot send": there is no kernel, which the view shows already */ }
  }
  /** What the kernel's clock shows, in ms: this machine's may be another, and be wrong. It stands still where the kernel is gone. */
  function now() { return store.at === null ? Date.now() : store.at + (alive.live ? performance.now() - store.atHere : 0); }
  /** How up to date a fleet is comes with what changes with the time alone; its seconds count from now. */
  function received(message, what) {
    if (message.health) { store.health = message.health; store.healthAt = performance.now(); }
    if (message.at) { store.at = message.at; store.atHere = performance.now(); }
    take.received?.(message, what);
  }
  function begin(message) {
    store.n = message.n; store.token = message.token;
    return take.snapshot(message);
  }
  /** Whether a message shows that others were lost: then what is here is old, also while the kernel answers somebody else. */
  const gap = ({ kind, n }) => (kind === "patch" ? n !== store.n && n !== store.n + 1 : kind === "pulse" && n !== store.n);
  /** Take what changes the rows or the buttons: once the pointer is released, where it is pressed. */
  function unpressed(then) { if (press.down) held.push(then); else then(); }
  function receive(message, buffers) { unpressed(() => taken(message, buffers)); }
  function taken(message, buffers) {
    if (!message || typeof message.kind !== "string") return;
    if (gap(message)) { send({ kind: "hello" }); return; }
    if (CONTINUES.has(message.kind)) alive.touch();
    if (message.kind === "part") { for (const part of [...parts]) part(message, buffers); return; }
    const { kind, n } = message, what = { message, buffers, before: store.state };
    if (kind === "snapshot") Object.assign(what, begin(message));
    else if (kind === "patch") {
      if (n === store.n) return;
      store.n = n;
      Object.assign(what, take.patch(message));
    }
    received(message, what);
    if (kind === "snapshot" || kind === "patch") send({ kind: "ack" });
    notify(what);
  }
  // Jupyter says that the kernel is gone, or there again: whoever is there answers at once.
  function asked() { alive.lost(); send({ kind: "hello" }); }
  // The first view says hello; while there is one, Python gets a sign of life; the last says bye.
  let beat = 0;
  function stop() { clearInterval(beat); beat = 0; alive.stop(); }
  function shown(view) {
    views.add(view);
    alive.start();
    send({ kind: "hello" });
    beat ||= setInterval(() => send({ kind: "alive" }), 10000);
  }
  function hidden(view) {
    views.delete(view);
    if (views.size) return;
    take.leaving?.();
    stop();
    send({ kind: "bye" });
  }
  store.begin = () => {
    model.on("msg:custom", receive);
    model.on("comm_live_update", asked);
    const boot = model.get("_boot");
    if (!boot?.byteLength) return;
    // Drawn at once; it is live when the kernel has sent something: this may be a saved notebook.
    try {
      const message = JSON.parse(new TextDecoder().decode(boot));
      begin(message);
      received(message, {});
    } catch { /* not a snapshot */ }
  };
  store.part = (listener) => { parts.add(listener); return () => parts.delete(listener); };
  store.end = () => { model.off("msg:custom", receive); model.off("comm_live_update", asked); press.stop(); stop(); for (const end of store.ended) end(); };
  store.mount = (el, root, onUpdate, ended = () => {}) => {
    keepKeys(root);
    el.replaceChildren(root);
    shown(onUpdate);
    const uncover = coverSnapshot(root);
    return () => { ended(); uncover(); hidden(onUpdate); };
  };
  return store;
}

/**
 * Whether the pointer is pressed on a view, of whatever widget: what was pressed must be there, be the same, and not move
 * when the pointer is released, or the click is lost or goes to another row. `over` is called after the click, or when it
 * takes too long.
 */
function pointerPress(over) {
  let down = false, timer = 0;
  const end = () => { clearTimeout(timer); down = false; over(); };
  const release = () => { if (down) { clearTimeout(timer); timer = setTimeout(end); } };
  function begin(event) {
    if (!event.composedPath().some((one) => one.classList?.contains("cvm"))) return;
    down = true;
    clearTimeout(timer);
    timer = setTimeout(end, LONGEST_PRESS_MS);
  }
  const listeners = Object.entries({ pointerdown: begin, pointerup: release, pointercancel: release });
  for (const [name, then] of listeners) window.addEventListener(name, then, true);
  return {
    get down() { return down; },
    stop() { clearTimeout(timer); for (const [name, then] of listeners) window.removeEventListener(name, then, true); },
  };
}

/**
 * Hide the snapshot that was displayed before a view, as long as that is drawn: it is for a notebook that is opened
 * without a kernel, where there is no view. Returns what shows it again.
 */
function coverSnapshot(root) {
  let frame = 0, covered = null;
  function look() {
    if (!root.isConnected) { frame = requestAnimationFrame(look); return; }
    const output = root.parentElement.closest(".cvm") ? null : root.closest(".jp-OutputArea-child, .output_area"), before = output?.previousElementSibling;
    if (before?.matches(".jp-OutputArea-child, .output_area") && before.querySelector(".cvm-static")) { covered = before; covered.style.display = "none"; }
  }
  look();
  return () => { cancelAnimationFrame(frame); if (covered) covered.style.display = ""; };
}

/**
 * Take the kernel's messages from the comm itself: anywidget 0.11 takes none, for ever, for a model whose module was not
 * loaded within two seconds, as on a busy machine. What came before is not missed: views say hello.
 */
function takeMessages(model) {
  if (!model.widget_manager) return; // it is not Jupyter
  function found(inner) {
    let handle = null;
    for (let type = inner; type; type = Object.getPrototypeOf(type)) if (Object.hasOwn(type, "_handle_comm_msg")) handle = type._handle_comm_msg;
    if (handle) inner.comm?.on_msg?.((message) => handle.call(inner, message));
  }
  // The model that anywidget wraps is given to whoever listens for a change; of this one Python has no trait.
  model.on("change:_taken", found);
  model.set("_taken", performance.now());
  model.off("change:_taken", found);
}

/** What a widget's module exports: one store a model, a drawing a view; it returns what ends the drawing. */
function liveWidget(render, makeStore = viewModel) {
  return () => {
    let store = null;
    return {
      initialize({ model }) { store = makeStore(model); takeMessages(model); store.begin(); return () => store.end(); },
      render({ model, el, host }) { return render({ model, el, host, store }); },
    };
  };
}

/**
 * Make a view of another widget in a box that stands in the page; null where there is none, as in a saved notebook
 * without its widgets. Jupyter's front ends have a manager of widgets; others, as marimo, have a host.
 */
async function viewOf({ model, host }, id, box) {
  try {
    const manager = model.widget_manager;
    if (manager?.create_view) {
      const view = await manager.create_view(await manager.get_model(id));
      box.append(view.el);
      view.trigger("displayed");
      return { remove: () => view.remove() };
    }
    const widget = await host.getWidget(`anywidget:${id}`), el = h("div", {}), ended = new AbortController();
    box.append(el);
    await widget.render({ el, signal: ended.signal });
    return { remove() { ended.abort(); el.remove(); } };
  } catch { return null; }
}

/**
 * Make a view of a widget that was made since, for this view. Where there is no manager of widgets no page knows such a
 * widget: its code comes, and its messages come and go, with those of the store that shows it.
 */
async function hostedView({ model, host, store }, id, box) {
  if (model.widget_manager?.create_view) return viewOf({ model, host }, id, box);
  const el = h("div", {}), body = h("div", {}), listeners = new Set();
  box.append(el);
  const inner = {
    get() {}, set() {}, save_changes() {},
    on(name, then) { if (name === "msg:custom") listeners.add(then); },
    off(name, then) { listeners.delete(then); },
    send(message) { store.send({ kind: "part", of: id, message }); },
  };
  let begun = false, gone = false, end = () => {};
  async function begin({ esm, css }) {
    begun = true;
    const address = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
    const widget = (await import(/* webpackIgnore: true */ address)).default();
    URL.revokeObjectURL(address);
    if (gone) return;
    el.append(h("style", {}, css), body);
    const ends = [widget.initialize({ model: inner }), widget.render({ model: inner, el: body })];
    end = () => { for (const one of ends.reverse()) one?.(); };
  }
  const stop = store.part((message, buffers) => {
    if (message.of !== id) return;
    if (message.message) for (const then of [...listeners]) then(message.message, buffers);
    else if (message.open && !begun) begin(message.open);
  });
  store.send({ kind: "part", of: id, do: "open" });
  return { remove() { gone = true; end(); stop(); store.send({ kind: "part", of: id, do: "close" }); el.remove(); } };
}

/**
 * Whether the kernel is there, and hears this view. When no message that continues what is here has come for long, or this
 * view was restored from a saved notebook, what is shown is a snapshot and its buttons do nothing.
 */
function liveness(onChange, silent = 16000) {
  let last = 0, live = false, timer = 0;
  const set = (now) => { if (now !== live) { live = now; onChange(live); } };
  const check = () => { if (live && performance.now() - last > silent) set(false); };
  return {
    touch() { last = performance.now(); set(true); },
    lost() { set(false); },
    get live() { return live; },
    start() { timer ||= setInterval(check, 1000); },
    stop() { clearInterval(timer); timer = 0; },
  };
}
