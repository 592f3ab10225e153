// The form: step one, what it costs, step two, and what becomes of it.

const PHASE_WORDS = {
  fill: "Step 1: fill in, then provision", provisioning: "Provisioning…", provisioned: "Provisioned. Step 2: commit", committing: "Committing…",
  booting: "Made. It boots", running: "Running", failed: "It did not come up",
};

function renderForm({ el, store }) {
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
    replicas: field("Replicas", replicas, { help: "CVMs of this app in all." }),
    env: field("Environment variables", env.el, { wide: true, focus: env.name, help: "Values stay in the kernel's memory until they are encrypted for this app alone; they are not saved, and cannot be read back." }),
    visible: field("Visibility", switches, { wide: true }),
  };
  compose.text.setAttribute("aria-label", "Compose file");
  compose.text.setAttribute("aria-describedby", compose.el.getAttribute("aria-describedby"));

  // --- the bars with the buttons ---
  const price = h("div", { className: "cvm-price" });
  const general = h("div", { className: "cvm-fault", role: "alert", hidden: true });
  const notice = h("div", { className: "cvm-notice", role: "alert", hidden: true });
  const provision = h("button", { type: "button", className: "cvm-primary", onclick: () => act("provision") }, "Provision");
  const commit = h("button", { type: "button", className: "cvm-primary", onclick: () => act("commit", { as_provisioned: changed() }) }, "Commit");
  const again = h("button", { type: "button", onclick: () => act("again") }, "Another one");
  const badge = h("span", { className: "cvm-health", tabIndex: 0, role: "note" });
  const who = h("span", { className: "cvm-dim" });
  const marks = ["Provision", "Commit", "Running"].map((word) => h("li", {}, word));
  const answer = answerPart(), boot = bootPart();
  const python = h("pre", { className: "cvm-code", tabIndex: 0, "aria-label": "The same in Python" });
  const copied = h("span", { className: "cvm-dim", role: "status" });
  const copy = h("button", { type: "button", onclick: copyRequest }, "Copy for a cell");
  const unpaid = () => ["fill", "provisioning", "provisioned"].includes(store.state.step?.phase ?? "fill");
  const changed = () => Boolean(store.state.step?.provision?.changed?.length);

  const filled = h("details", { className: "cvm-filled", open: true }, h("summary", {}, "1 · What it shall be"), h("div", { className: "cvm-grid" }, fields.name.el, fields.compose_file.el, fields.instance_type.el, fields.node.el, fields.disk_size.el, fields.image.el, fields.replicas.el, fields.env.el, fields.visible.el));
  const one = h("div", { className: "cvm-part", role: "group", "aria-label": "Step 1: what it shall be" }, filled, h("div", { className: "cvm-pay" }, price, provision));
  const title = h("h4");
  const two = h("div", { className: "cvm-part cvm-two", role: "group", "aria-label": "Step 2: commit", hidden: true }, title, answer.el, boot.el, h("div", { className: "cvm-answers" }, commit, again));
  const root = h("section", { className: "cvm cvm-form", "aria-label": "New CVM" },
    h("div", { className: "cvm-form-top" }, h("h3", {}, "New CVM"), h("ol", { className: "cvm-marks-row", "aria-label": "Steps" }, ...marks), who, badge),
    notice, one, general, two,
    h("details", { className: "cvm-python" }, h("summary", {}, "The same in Python"), h("div", { className: "cvm-answers" }, copy, copied), python), said);

  // --- clicks ---
  let waiting = 0, asked = false;
  function act(kind, more) {
    if (!store.live()) return;
    asked = true;
    for (const button of [provision, commit, again]) button.disabled = true; // Python decides; this only shows that it was heard
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
    put(name, store.value("name")); put(disk, store.value("disk_size")); put(replicas, store.value("replicas"));
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
    price.replaceChildren(...(now.hour === null ? [h("span", { className: "cvm-dim" }, now.text)] : [h("strong", {}, `${now.hour} USD an hour`), ` · ${now.month} USD a month `, h("div", { className: "cvm-dim" }, unpaid() ? `${now.text}; nothing is paid before the commit` : now.text)]));
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
    const step = store.state.step ?? { phase: "fill" }, live = store.live();
    const order = { fill: 0, provisioning: 0, provisioned: 1, committing: 1, booting: 2, running: 3, failed: 2 }[step.phase];
    marks.forEach((mark, i) => { mark.className = i < order ? "cvm-past" : i === order ? "cvm-here" : ""; if (i === order) mark.setAttribute("aria-current", "step"); else mark.removeAttribute("aria-current"); });
    const making = ["committing", "booting"].includes(step.phase), over = ["running", "failed"].includes(step.phase);
    title.textContent = making || over ? "2 · What was committed" : "2 · What will be committed";
    const closed = making || over;
    if (closed !== away) { filled.open = !closed; away = closed; } // out of the way, until somebody opens it
    two.hidden = !step.provision && !step.boot;
    answer.draw(step.provision, unpaid());
    boot.draw(step, store.state.fields.values);
    const locked = making || over || !live;
    provision.hidden = making || over;
    provision.textContent = step.phase === "provisioning" ? "Provisioning…" : step.provision ? "Provision again" : "Provision";
    provision.classList.toggle("cvm-primary", !step.provision || changed());
    provision.disabled = !live || store.state.read_only || step.phase === "provisioning";
    commit.hidden = making || over;
    commit.textContent = changed() ? "Commit as it was provisioned" : "Commit: make the CVM";
    commit.classList.toggle("cvm-primary", !changed());
    commit.disabled = !live || store.state.read_only || step.phase !== "provisioned";
    again.hidden = !over;
    again.disabled = !live;
    for (const box of one.querySelectorAll(".cvm-grid > .cvm-field > :is(input, select), .cvm-switches input")) box.disabled = making || over;
    cards.disable(making || over);
    compose.disable(making || over);
    env.live(!locked);
    one.classList.toggle("cvm-done", making || over);
    if (phase !== null && phase !== step.phase) said.textContent = `${PHASE_WORDS[step.phase]}${store.state.errors.general ? `: ${store.state.errors.general.text}` : ""}`;
    phase = step.phase;
  }
  function drawLive() {
    const live = store.live();
    badge.dataset.state = live ? "live" : "gone";
    badge.textContent = live ? (store.state.read_only ? "read-only" : "● live") : store.n < 0 ? "waiting for the kernel" : "no kernel: re-run the cell to go on";
    root.classList.toggle("cvm-inert", !live);
  }
  function draw({ message } = {}) {
    if (message?.kind === "notice") { show(message.text); return; }
    if (message && !message.set) return; // a pulse
    const stepped = Boolean(message && (message.set.step || message.set.errors));
    if (stepped) { clearTimeout(waiting); show(""); }
    who.textContent = store.state.who ?? "";
    python.textContent = store.state.request ?? "";
    drawFields(); drawCatalogue(); drawPrice(); env.draw(store.state.env ?? { rows: [] });
    const first = drawErrors();
    drawStep(); drawLive();
    if (asked && stepped && !["provisioning", "committing"].includes(phase)) {
      asked = false;
      if (first) first.focus();
      else if (phase === "provisioned") (changed() ? provision : commit).focus();
    }
  }
  draw();
  const tick = setInterval(() => { if (["committing", "booting"].includes(phase)) boot.draw(store.state.step, store.state.fields.values); }, 1000);
  return store.mount(el, root, draw, () => clearInterval(tick));
}

export default liveWidget(renderForm, formStore);
