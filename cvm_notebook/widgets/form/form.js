// The form: what it shall be, what it costs, what is asked first, what is sent, and what becomes of it.
//
// What it is about says its mode: `deploy.js` for a new CVM, `change.js` for one that runs. A mode has words, the
// stage of each of its phases, and the part that shows what the first step was answered. The stages are
//   reading, unread      what runs is read, or could not be
//   fill, asking, asked  the first step: provision, or preview
//   sending, going       the second: commit, or update
//   done, failed

function renderForm({ el, store, mode }) {
  const stageOf = (step) => mode.stages[step?.phase] ?? mode.begins;
  const said = h("div", { className: "cvm-said", role: "status", "aria-live": "polite" });
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
  const disk = whole("disk_size", { min: 20, placeholder: "as the type has it" });
  const image = h("select", { onchange: () => store.set({ image: image.value }, true) });
  const script = h("textarea", { className: "cvm-code cvm-script", rows: 3, spellcheck: false, autocomplete: "off", wrap: "off", oninput: () => store.set({ pre_launch_script: script.value }) });
  const replicas = whole("replicas", { min: 1, max: 20 });
  const env = envTable((message) => store.send(message));
  const switches = h("div", { className: "cvm-switches" });
  const boxes = new Map();

  const fields = {
    name: field("Name", name, { help: "5 to 63 letters, digits and single dashes; begins with a letter.", wide: true }),
    compose_file: field("Compose file", compose.el, { wide: true, focus: compose.text, onLine: compose.line }),
    instance_type: field("Instance type", types, { wide: true, focus: { focus: () => (cards.el.querySelector("input:checked") ?? cards.el.querySelector("input"))?.focus() } }),
    node: field("Region or node", node),
    disk_size: field("Disk, GB", disk),
    image: field("OS image", image),
    pre_launch_script: field("Pre-launch script", script, { help: "Runs before the containers start. Empty for none.", wide: true }),
    replicas: field("Replicas", replicas, { help: "CVMs of this app in all." }),
    env: field("Environment variables", env.el, { wide: true, focus: env.name, help: mode.envHelp }),
    visible: field("Visibility", switches, { wide: true }),
  };
  compose.text.setAttribute("aria-label", "Compose file");
  compose.text.setAttribute("aria-describedby", compose.el.getAttribute("aria-describedby"));

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
  const python = h("pre", { className: "cvm-code", tabIndex: 0, "aria-label": "The same in Python" });
  const copied = h("span", { className: "cvm-dim", role: "status" });
  const copy = h("button", { type: "button", onclick: copyRequest }, "Copy for a cell");
  const unpaid = () => ["fill", "asking", "asked"].includes(stageOf(store.state.step));
  const changed = () => answer.isStale(store.state.step);

  const filled = h("details", { className: "cvm-filled", open: true }, h("summary", {}, "1 · What it shall be"), h("div", { className: "cvm-grid" }, ...mode.fields.map((key) => fields[key].el)));
  const one = h("div", { className: "cvm-part", role: "group", "aria-label": "Step 1: what it shall be" }, filled, h("div", { className: "cvm-pay" }, price, ask));
  const title = h("h4");
  const two = h("div", { className: "cvm-part cvm-two", role: "group", "aria-label": `Step 2: ${mode.send.kind}`, hidden: true }, title, answer.el, boot.el, h("div", { className: "cvm-answers" }, commit, again));
  const head = h("h3", {});
  const root = h("section", { className: "cvm cvm-form" },
    h("div", { className: "cvm-form-top" }, head, h("ol", { className: "cvm-marks-row", "aria-label": "Steps" }, ...marks), who, badge),
    notice, one, general, two,
    h("details", { className: "cvm-python" }, h("summary", {}, "The same in Python"), h("div", { className: "cvm-answers" }, copy, copied), python), said);

  // --- clicks ---
  let waiting = 0, asked = false;
  function act(kind, more) {
    if (!store.live()) return;
    asked = true;
    for (const button of [ask, commit, again]) button.disabled = true; // Python decides; this only shows that it was heard
    store.act(kind, more);
    clearTimeout(waiting);
    waiting = setTimeout(() => { show("Queued: the kernel is busy, and takes it when its cell has ended."); }, 1500);
  }
  function show(line) { notice.textContent = line ?? ""; notice.hidden = !line; }
  async function copyRequest() {
    try { await navigator.clipboard.writeText(store.state.request); copied.textContent = "Copied: paste it into a cell."; }
    catch { // no clipboard without a secure page: select it instead
      const range = document.createRange();
      range.selectNodeContents(python);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      copied.textContent = "Selected: copy it with your keyboard.";
    }
  }

  // --- drawing ---
  const put = (box, value) => { const text = value === null || value === undefined ? "" : String(value); if (box.value !== text && !(box === document.activeElement && Number(box.value) === value)) box.value = text; };
  function drawFields() {
    put(name, store.value("name")); put(disk, store.value("disk_size")); put(replicas, store.value("replicas")); put(script, store.value("pre_launch_script"));
    compose.draw((called) => env.offer(called));
    for (const [key, label] of store.state.fields.switches) {
      if (!boxes.has(key)) {
        const made = switchBox(label, (on) => store.set({ [key]: on }, true));
        boxes.set(key, made.box);
        switches.append(made.el);
      }
      boxes.get(key).checked = store.value(key) === true;
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
      note: kind.full ? "no node has room" : "", label: `${kind.name}: ${kind.size}, ${kind.memory}${kind.gpu ? `, ${kind.gpu}` : ""}, ${kind.hour} USD an hour${kind.full ? ", no node has room" : ""}`,
    }))]).filter(([, list]) => list.length);
    cards.draw(groups, store.value("instance_type"));
    const retry = h("button", { type: "button", onclick: () => store.send({ kind: "reload" }) }, "Try again");
    loading.hidden = state === "ready";
    const line = state === "failed" ? "failed" : "loading";
    if (loading.dataset.state !== line || state === "failed") {
      loading.dataset.state = line;
      loading.replaceChildren(...(state === "failed" ? [h("div", { className: "cvm-fault" }, h("div", {}, "Types, nodes and images could not be read."), ...errorLines(catalogue.error)), retry] : [h("span", { className: "cvm-spin", "aria-hidden": "true" }, "◔"), " Loading instance types, nodes and images…"]));
    }
    const at = (one) => [`n:${one.id}`, `${one.name} · ${one.left} left${one.full ? " – too little" : ""}`, one.full];
    const [id, region] = [store.value("node_id"), store.value("region")];
    fillSelect(node, [["", "Any: the service chooses"], ...catalogue.regions.map((one) => ({ group: one, of: [[`r:${one}`, `any node of ${one}`], ...catalogue.nodes.filter((n) => n.region === one).map(at)] })), ...catalogue.nodes.filter((n) => !n.region).map(at)], id !== null && id !== undefined ? `n:${id}` : region ? `r:${region}` : "");
    fillSelect(image, [["", "The newest that fits"], ...catalogue.images.map((one) => [one.id, one.name])], store.value("image") ?? "");
    disk.placeholder = catalogue.disk ? `${catalogue.disk}, as the type has it` : "as the type has it";
  }
  function drawPrice() {
    const now = store.state.price;
    if (!now) return;
    price.replaceChildren(...(now.hour === null ? [h("span", { className: "cvm-dim" }, now.text)] : [h("strong", {}, `${now.hour} USD an hour`), ` · ${now.month} USD a month `, h("div", { className: "cvm-dim" }, unpaid() ? `${now.text}${mode.unpaid}` : now.text)]));
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
  let phase = null, away = false;
  function drawStep() {
    const step = store.state.step ?? {}, live = store.live(), stage = stageOf(step);
    const order = { reading: -1, unread: -1, fill: 0, asking: 0, asked: 1, sending: 1, going: 2, done: 3, failed: 2 }[stage];
    marks.forEach((mark, i) => { mark.className = i < order ? "cvm-past" : i === order ? "cvm-here" : ""; if (i === order) mark.setAttribute("aria-current", "step"); else mark.removeAttribute("aria-current"); });
    const making = ["sending", "going"].includes(stage), over = ["done", "failed"].includes(stage), unread = ["reading", "unread"].includes(stage);
    title.textContent = making || over ? mode.sent : mode.willBeSent;
    const closed = making || over;
    if (closed !== away) { filled.open = !closed; away = closed; } // out of the way, until somebody opens it
    two.hidden = !answer.of(step) && !step.boot;
    answer.draw(step, unpaid(), live);
    boot.draw(step, store.state.fields.values);
    const locked = making || over || unread || !live || store.state.closed;
    ask.hidden = making || over;
    ask.textContent = stage === "asking" ? mode.ask.busy : answer.of(step) ? mode.ask.again : mode.ask.word;
    ask.classList.toggle("cvm-primary", !answer.of(step) || changed());
    ask.disabled = !live || store.state.closed || (store.state.read_only && !mode.ask.reads) || unread || stage === "asking";
    commit.hidden = making || over;
    commit.textContent = changed() ? mode.send.stale : mode.send.word;
    commit.classList.toggle("cvm-primary", !changed());
    commit.disabled = !live || store.state.closed || store.state.read_only || stage !== "asked" || !answer.isReady(step);
    again.hidden = !over;
    again.disabled = !live;
    for (const box of one.querySelectorAll(".cvm-grid > .cvm-field > :is(input, select, textarea), .cvm-switches input")) box.disabled = making || over || unread;
    cards.disable(making || over || unread);
    compose.disable(making || over || unread);
    env.live(!locked);
    one.classList.toggle("cvm-done", making || over);
    if (phase !== null && phase !== step.phase) said.textContent = `${mode.words[stage]}${store.state.errors.general ? `: ${store.state.errors.general.text}` : ""}`;
    phase = step.phase;
  }
  function drawLive() {
    const live = store.live();
    badge.dataset.state = live ? (store.state.closed ? "closed" : store.state.signed_out ? "needs a key" : "live") : "gone";
    badge.textContent = live ? (store.state.closed ? "■ closed" : store.state.signed_out ? "⚠ needs a key" : store.state.read_only ? "read-only" : "● live") : store.n < 0 ? "waiting for the kernel" : "no kernel: re-run the cell to go on";
    root.classList.toggle("cvm-inert", !live);
  }
  function draw({ message } = {}) {
    if (message?.kind === "notice") { show(message.text); return; }
    if (message && !message.set) return; // a pulse
    const stepped = Boolean(message && (message.set.step || message.set.errors));
    if (stepped) { clearTimeout(waiting); show(""); }
    head.textContent = mode.title(store.state);
    root.setAttribute("aria-label", head.textContent);
    who.textContent = store.state.who ?? "";
    python.textContent = store.state.request ?? "";
    drawFields(); drawCatalogue(); drawPrice(); env.draw(store.state.env ?? { rows: [] });
    const first = drawErrors();
    drawStep(); drawLive();
    const stage = stageOf(store.state.step);
    if (asked && stepped && !["reading", "asking", "sending"].includes(stage)) {
      asked = false;
      if (first) first.focus();
      else if (stage === "asked") (changed() ? ask : answer.focus() ?? commit).focus();
    }
  }
  draw();
  const tick = setInterval(() => { if (["sending", "going"].includes(stageOf(store.state.step))) boot.draw(store.state.step, store.state.fields.values); }, 1000);
  return store.mount(el, root, draw, () => clearInterval(tick));
}
