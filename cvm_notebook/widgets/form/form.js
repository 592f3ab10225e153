// The form: one page to fill in, and beneath it one bar that stays in sight: what it costs and the first step, then the
// answer and the second, then how far it is, then what runs.
//
// What it is about says its mode: `deploy.js` for a new CVM, `change.js` for one that runs. A mode has words, the
// stage of each of its phases, and the part that shows what the first step was answered. The stages are
//   reading, unread      what runs is read, or could not be
//   fill, asking, asked  the first step: provision, or preview
//   sending, going       the second: commit, or update
//   done, failed

function renderForm({ model, el, host, store, mode }) {
  const stageOf = (step) => mode.stages[step?.phase] ?? mode.begins;
  const liveRegion = h("div", { className: "cvm-visually-hidden", role: "status", "aria-live": "polite" });
  const text = (name, label, more) => {
    const box = h("input", { type: "text", autocomplete: "off", spellcheck: false, oninput: () => store.set({ [name]: box.value }), ...more });
    return box;
  };
  const whole = (name, more) => {
    const box = h("input", { type: "number", step: 1, inputMode: "numeric", ...more, oninput: () => {
      const n = box.value === "" ? null : Number(box.value);
      if (n === null ? name !== "replicas" : Number.isInteger(n)) store.set({ [name]: n });
    } });
    return box;
  };
  const name = text("name", "Name", { placeholder: "my-app" });
  const compose = composeEditor(store);
  const cards = radioCards({ label: "Instance type", onChoose: (id) => store.set({ instance_type: id }, true) });
  const loading = h("div", { className: "cvm-loading", role: "status" });
  const types = h("div", { className: "cvm-types" }, loading, cards.el);
  const node = h("select", { onchange: () => {
    const [kind, rest] = [node.value.slice(0, 1), node.value.slice(2)];
    store.set({ node_id: kind === "n" ? Number(rest) : null, region: kind === "r" ? rest : "" }, true);
  } });
  const disk = whole("disk_size", { min: 20 });
  const image = h("select", { onchange: () => store.set({ image: image.value }, true) });
  const script = h("textarea", { className: "cvm-code cvm-script", rows: 3, spellcheck: false, autocomplete: "off", wrap: "off", oninput: () => store.set({ pre_launch_script: script.value }) });
  const replicas = whole("replicas", { min: 1, max: 20 });
  const env = envTable((message) => store.send(message));
  const switches = h("div", { className: "cvm-switches" });
  const boxes = new Map(), start = mode.start?.(store);

  const fields = {
    name: field("Name", name, { help: "5 to 63 letters, digits and single dashes; begins with a letter.", wide: true, onUse: (near) => { store.set({ name: near }, true); drawFields(); name.focus(); } }),
    compose_file: field("Compose file", compose.el, { wide: true, focus: compose.text, onLine: compose.line, onFix: compose.correct }),
    instance_type: field("Instance type", types, { wide: true, focus: { focus: () => (cards.el.querySelector("input:checked") ?? cards.el.querySelector("input"))?.focus() } }),
    node: field("Region or node", node),
    disk_size: field("Disk, GB", disk),
    image: field("OS image", image),
    pre_launch_script: field("Pre-launch script", script, { help: "Runs before the containers start. Empty for none.", wide: true }),
    replicas: field("Replicas", replicas, { help: "Total CVMs, including the first." }),
    env: field("Environment variables", env.el, { wide: true, focus: env.name, help: mode.envHelp }),
    visible: field("Privacy", switches, { wide: true }),
  };
  compose.text.setAttribute("aria-label", "Compose file");
  compose.text.setAttribute("aria-describedby", `${compose.el.getAttribute("aria-describedby")} ${compose.keys.id}`);

  // --- the bars with the buttons ---
  const price = h("div", { className: "cvm-price" });
  const general = h("div", { className: "cvm-fault", role: "alert", hidden: true });
  const notice = h("div", { className: "cvm-notice", role: "alert", hidden: true });
  const ask = h("button", { type: "button", className: "cvm-primary", onclick: () => act(mode.ask.kind) }, mode.ask.word);
  const commit = h("button", { type: "button", className: "cvm-primary", onclick: () => act(mode.send.kind, answer.answered(store.state.step)) }, mode.send.word);
  const again = h("button", { type: "button", onclick: () => act("again") }, mode.again);
  const badge = h("span", { className: "cvm-health", tabIndex: 0, role: "note" });
  const who = h("span", { className: "cvm-dim" });
  const marks = mode.marks.map((word) => h("li", {}, word));
  const answer = mode.answerPart({ onChange: () => drawStep() }), boot = bootPart(mode);
  const python = h("pre", { className: "cvm-code", tabIndex: 0, "aria-label": "Python code" });
  const copied = h("span", { className: "cvm-dim", role: "status" });
  const copy = h("button", { type: "button", onclick: copyRequest }, "Copy for a cell");
  const unpaid = () => ["fill", "asking", "asked"].includes(stageOf(store.state.step));
  const changed = () => answer.isStale(store.state.step);
  const back = h("button", { type: "button", onclick: () => act("again") }, "Back");
  const below = mode.opens ? beneath({ model, host, store }, store) : null;
  const open = h("button", { type: "button", onclick: () => below.openCard(open) }, "Open card");
  const logs = h("button", { type: "button", onclick: () => below.openLogs(logs) }, "Logs");

  const one = h("div", { className: "cvm-part", role: "group", "aria-label": "Step 1: configure" },
    h("h4", {}, "1 · Configure"), h("div", { className: "cvm-grid" }, ...mode.fields.map((key) => fields[key].el)));
  const title = h("h4");
  const buttons = h("div", { className: "cvm-answers" }, back, ask, commit, open, logs, again);
  const two = h("div", { className: "cvm-part cvm-two", role: "group", "aria-label": `Step 2: ${mode.step}` },
    general, title, h("div", { className: "cvm-step-result" }, boot.el, answer.el), h("div", { className: "cvm-pay" }, price, buttons));
  const head = h("h3", {});
  const page = h("div", { className: "cvm-form-page" }, notice, start?.el ?? "", one,
    h("details", { className: "cvm-python" }, h("summary", {}, "Show Python code"), h("div", { className: "cvm-answers" }, copy, copied), python));
  const root = h("section", { className: "cvm cvm-form" },
    h("div", { className: "cvm-form-frame" }, h("div", { className: "cvm-form-top" }, head, h("ol", { className: "cvm-marks-row", "aria-label": "Steps" }, ...marks), who, badge), page, two),
    below?.el ?? "", liveRegion);

  // --- clicks ---
  let waiting = 0, asked = false;
  function act(kind, more) {
    if (!store.live()) return;
    asked = true;
    for (const button of [ask, commit, again, back]) button.disabled = true; // Python decides; this only shows that the click was taken
    store.act(kind, more);
    clearTimeout(waiting);
    waiting = setTimeout(() => { show("Queued until the running cell finishes."); }, 1500);
  }
  function show(line) { notice.textContent = line ?? ""; notice.hidden = !line; }
  async function copyRequest() {
    copied.textContent = (await copyOrSelect(store.state.request, python)) ? "Copied: paste it into a cell." : "Selected: copy it with your keyboard.";
  }

  // --- drawing ---
  const put = (box, value) => { const text = value === null || value === undefined ? "" : String(value); if (box.value !== text && !(box === document.activeElement && Number(box.value) === value)) box.value = text; };
  function drawFields() {
    put(name, store.value("name")); put(disk, store.value("disk_size")); put(replicas, store.value("replicas")); put(script, store.value("pre_launch_script"));
    compose.draw((called) => env.offer(called));
    for (const [key, label, on, off] of store.state.fields.switches) {
      if (!boxes.has(key)) {
        const note = h("div", { className: "cvm-help", id: `cvm-privacy-${clickId()}` });
        const made = switchBox(label, (yes) => { store.set({ [key]: yes }, true); drawFields(); });
        made.box.setAttribute("aria-describedby", note.id);
        boxes.set(key, { box: made.box, note });
        switches.append(h("div", { className: "cvm-privacy" }, made.el, note));
      }
      const { box, note } = boxes.get(key), yes = store.value(key) === true;
      box.checked = yes;
      note.textContent = yes ? on : off;
      note.classList.toggle("cvm-privacy-open", yes);
    }
  }
  function drawCatalogue() {
    const { catalogue } = store.state;
    if (!catalogue) return;
    const { types: kinds, state } = catalogue;
    const family = (kind) => (kind.gpu ? "GPU" : "CPU");
    // what runs may have a size that is none of the types
    const groups = ["CPU", "GPU"].map((title) => [title, kinds.filter((kind) => family(kind) === title).map((kind) => ({
      id: kind.id, title: kind.name, full: kind.full, lines: [kind.size, kind.memory, ...(kind.gpu ? [kind.gpu] : [])], price: [`${kind.hour} USD/h`, `${kind.month} a month`],
      note: kind.full ? "Sold out" : "", label: `${kind.name}: ${kind.size}, ${kind.memory}${kind.gpu ? `, ${kind.gpu}` : ""}, ${kind.hour} USD an hour${kind.full ? ", sold out" : ""}`,
    }))]).filter(([, list]) => list.length);
    cards.draw(groups, store.value("instance_type"));
    const retry = h("button", { type: "button", onclick: () => store.send({ kind: "reload" }) }, "Try again");
    loading.hidden = state === "ready";
    const line = state === "failed" ? "failed" : "loading";
    if (loading.dataset.state !== line || state === "failed") {
      loading.dataset.state = line;
      loading.replaceChildren(...(state === "failed" ? [h("div", { className: "cvm-fault" }, h("div", {}, "Could not load instance types."), ...errorLines(catalogue.error)), retry] : [h("span", { className: "cvm-spin", "aria-hidden": "true" }, "◔"), " Loading instance types, nodes and images…"]));
    }
    const at = (one) => [`n:${one.id}`, `${one.name} · ${one.left} left${one.full ? " – not enough capacity" : ""}`, one.full];
    const [id, region] = [store.value("node_id"), store.value("region")];
    fillSelect(node, [["", "Any region"], ...catalogue.regions.map((one) => ({ group: one, of: [[`r:${one}`, `Any node in ${one}`], ...catalogue.nodes.filter((n) => n.region === one).map(at)] })), ...catalogue.nodes.filter((n) => !n.region).map(at)], id !== null && id !== undefined ? `n:${id}` : region ? `r:${region}` : "");
    fillSelect(image, [["", "Latest compatible"], ...catalogue.images.map((one) => [one.id, one.name])], store.value("image") ?? "");
    disk.placeholder = catalogue.disk ? `${catalogue.disk} (default for this type)` : "default for this type";
  }
  function drawPrice() {
    const now = store.state.price;
    if (!now) return;
    price.replaceChildren(...(now.hour === null ? [h("span", { className: "cvm-dim" }, now.text)] : [
      h("strong", { title: `${now.hour} USD an hour` }, `${shortUsd(now.hour)} USD/h`), ` · ${now.month} USD a month `, h("div", { className: "cvm-dim" }, unpaid() ? `${now.text}${mode.unpaid}` : now.text)]));
  }
  function drawErrors() {
    let first = null;
    for (const [key, part] of Object.entries(fields)) {
      const found = key === "visible" ? ["public_logs", "public_sysinfo", "public_tcbinfo", "listed"].map((one) => store.state.errors[one]).find(Boolean) : store.state.errors[key];
      if (part.error(found) || found) first ??= part;
    }
    const other = store.state.errors.general;
    general.hidden = !other;
    const now = JSON.stringify(other ?? null);
    if (general.dataset.shown !== now) { general.dataset.shown = now; general.replaceChildren(...(other ? errorLines(other) : [])); }
    return first;
  }
  let phase = null;
  function drawStep() {
    const step = store.state.step ?? {}, live = store.live(), stage = stageOf(step), closed = store.state.closed;
    const order = { reading: -1, unread: -1, fill: 0, asking: 0, asked: 1, sending: 1, going: 2, done: 3, failed: 2 }[stage];
    marks.forEach((mark, i) => { mark.className = i < order ? "cvm-past" : i === order ? "cvm-here" : ""; if (i === order) mark.setAttribute("aria-current", "step"); else mark.removeAttribute("aria-current"); });
    const making = ["sending", "going"].includes(stage), over = ["done", "failed"].includes(stage), unread = ["reading", "unread"].includes(stage);
    const there = Boolean(answer.of(step)), waits = there && !making && !over, held = two.contains(document.activeElement) && document.activeElement !== two;
    title.textContent = mode.titles?.[stage] ?? (making || over ? mode.sent : mode.willBeSent);
    title.hidden = !there && !step.boot;
    answer.draw(step, unpaid(), live);
    boot.draw(step, store.state.fields.values, store.now());
    boot.el.hidden ||= !making && !over;
    const locked = making || over || unread || !live || closed, hour = answer.price?.(step);
    ask.hidden = making || over || (waits && Boolean(mode.back) && !changed());
    ask.textContent = stage === "asking" ? mode.ask.busy : there ? mode.ask.again : mode.ask.word;
    ask.classList.toggle("cvm-primary", !there || changed());
    ask.disabled = !live || closed || (store.state.read_only && !mode.ask.reads) || unread || stage === "asking";
    commit.hidden = !waits;
    commit.textContent = changed() ? mode.send.stale : hour ? `${mode.send.word} (${shortUsd(hour)} USD/h)` : mode.send.word;
    commit.classList.toggle("cvm-primary", !changed());
    commit.disabled = !live || closed || store.state.read_only || stage !== "asked" || !answer.isReady(step);
    back.hidden = !waits || !mode.back;
    back.disabled = !live || closed || stage !== "asked";
    again.hidden = !over;
    again.disabled = !live;
    open.hidden = !below || !step.can_open || !(over || making);
    logs.hidden = !below || !step.boot?.id || !(over || making);
    for (const button of [open, logs]) button.disabled = !live || closed;
    price.hidden = making || over;
    for (const box of one.querySelectorAll(".cvm-grid > .cvm-field > :is(input, select, textarea), .cvm-switches input")) box.disabled = making || over || unread;
    cards.disable(making || over || unread);
    compose.disable(making || over || unread);
    env.live(!locked);
    start?.disable(locked || stage === "asking");
    if (held && document.activeElement?.checkVisibility?.() === false) boot.el.focus({ preventScroll: true }); // what was pressed is gone
    if (phase !== null && phase !== step.phase) liveRegion.textContent = `${mode.words[stage]}${store.state.errors.general ? `: ${store.state.errors.general.text}` : ""}`;
    phase = step.phase;
  }
  function drawLive() {
    const live = store.live();
    badge.dataset.state = live ? (store.state.closed ? "closed" : store.state.signed_out ? "needs a key" : "live") : "gone";
    badge.textContent = live ? (store.state.closed ? "■ closed" : store.state.signed_out ? "⚠ sign in" : store.state.read_only ? "read-only" : "● live") : store.n < 0 ? "waiting for the kernel" : "disconnected: re-run the cell";
    root.classList.toggle("cvm-inert", !live);
  }
  function draw({ message, live } = {}) {
    below?.receive({ message, live });
    if (message?.kind === "notice") { show(message.text); return; }
    if (message && !message.set) return; // a pulse
    const stepped = Boolean(message && (message.set.step || message.set.errors));
    if (stepped) { clearTimeout(waiting); show(""); }
    head.textContent = mode.title(store.state);
    root.setAttribute("aria-label", head.textContent);
    who.textContent = store.state.who ?? "";
    python.textContent = store.state.request ?? "";
    drawFields(); drawCatalogue(); drawPrice(); start?.draw(); env.draw(store.state.env ?? { rows: [] });
    const first = drawErrors();
    drawStep(); drawLive();
    const stage = stageOf(store.state.step);
    if (asked && stepped && !["reading", "asking", "sending"].includes(stage)) {
      asked = false;
      if (first) first.focus();
      else if (stage === "asked") (changed() ? ask : answer.focus() ?? commit).focus({ preventScroll: true });
    }
  }
  draw();
  const tick = setInterval(() => { if (["sending", "going"].includes(stageOf(store.state.step))) boot.draw(store.state.step, store.state.fields.values, store.now()); }, 1000);
  return store.mount(el, root, draw, () => { clearInterval(tick); below?.end(); });
}
