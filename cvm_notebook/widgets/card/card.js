// The card of one CVM: what it is, what it does, what can be done to it, its logs, and what is proven of it.
//
//   Python -> view   the sections of the state, each time with {at, age, uptime, source, health}
//                    details {what, ...}   log {...}   metrics {...}   change {view, form}   and the answers to clicks
//   view -> Python   act {verb, click}, fetch {what}, verify, revisions {do, ...}, change {view}, log {...}, metrics,
//                    autostop {do, rule}, confirmed, cancelled, undo
//
// One store a model: its views show the same.

const CARD_TABS = [["overview", "Overview"], ["logs", "Logs"], ["metrics", "Metrics"], ["compose", "Compose"], ["environment", "Environment"], ["trust", "Trust"], ["revisions", "Revisions"], ["activity", "Activity"]];
const OP_MARKS = { reached: "✓", failed: "✖", unknown: "?", cancelled: "–" };
const OP_SHOWN_MS = 20000;

function cardStore(model) {
  const store = viewModel(model, {
    received(message) {
      if (message.at === undefined) return; // it has no clock
      store.clock = message;
    },
  });
  return Object.assign(store, { clock: {} });
}

/** A button that copies a text, and says whether it could. */
function copyButton(text, label) {
  const sheet = (x, y) => drawing("rect", { x, y, width: 7, height: 8, rx: 1 });
  const icon = drawing("svg", { width: 12, height: 12, viewBox: "0 0 12 12", fill: "none", stroke: "currentColor", "aria-hidden": "true" }, sheet(0.5, 0.5), sheet(4.5, 3.5));
  const button = h("button", { type: "button", className: "cvm-plain cvm-card-copy", title: "Copy", "aria-label": `Copy ${label}` }, icon);
  button.addEventListener("click", async () => {
    button.replaceChildren((await copyText(text)) ? "✓" : "✖");
    setTimeout(() => button.replaceChildren(icon), 1500);
  });
  return button;
}

/** A code that is selected as a whole. */
const codeOf = (text) => h("code", { className: "cvm-code cvm-whole", title: text }, text);
const factsList = (facts, className) => h("dl", { className }, ...facts.flatMap(([label, value, kind]) => {
  const [term, note] = termOf(label);
  const fact = h("dd", { className: kind === "code" ? "cvm-coded" : "" }, kind === "code" ? codeOf(value) : kind === "when" ? momentText(value) : value, kind === "code" ? copyButton(value, label) : null);
  return note ? [term, fact, note] : [term, fact];
}));

/** The form that changes the CVM: a widget of its own, made when it is asked for. */
function changeFrame(place, { send, live, queued }) {
  const own = clickId(), box = h("div", {});
  const close = h("button", { type: "button", onclick: () => { drop(); button.focus(); } }, "Close the form");
  const el = h("div", { className: "cvm-changing", role: "region", "aria-label": "Change this CVM", tabIndex: -1, hidden: true }, box, close);
  const button = h("button", { type: "button", className: "cvm-change", "aria-expanded": "false", onclick: () => (el.hidden ? ask() : close.click()) }, "Change this CVM…");
  let view = null, turn = 0;
  function ask() { if (live()) { send({ kind: "change", view: own }); queued(); } }
  function drop() { turn += 1; view?.remove(); view = null; box.replaceChildren(); el.hidden = true; button.setAttribute("aria-expanded", "false"); }
  return {
    el, button, end: drop,
    async receive(message) {
      if (message.view !== own) return;
      drop();
      const thisTurn = turn, made = await hostedView(place, message.form, box);
      if (thisTurn !== turn || !made) { made?.remove(); return; }
      view = made;
      el.hidden = false;
      button.setAttribute("aria-expanded", "true");
      el.focus(); // what is in it is drawn in a moment
    },
  };
}

function renderCard({ model, el, host, store }) {
  const send = (message) => { if (store.live()) store.send(message); };
  const confirm = confirmPanel(send), undo = undoStrip(send), log = logPanel(send);
  const liveRegion = h("div", { className: "cvm-visually-hidden", role: "status", "aria-live": "polite" });
  const say = (text) => { liveRegion.textContent = text; };

  const name = h("h3", { className: "cvm-name", tabIndex: -1 }), status = h("span", { className: "cvm-status cvm-big" }), doing = h("span", { className: "cvm-doing" });
  const health = h("span", { className: "cvm-health", tabIndex: 0, role: "note" });
  const badge = trustBadge(() => tabs.enter("trust"));
  const under = h("span", { className: "cvm-dim" }), costs = costLine();
  const boot = bootStrip(() => { tabs.choose("logs"); log.open("serial"); });
  const idle = idleTip({ send, live: () => store.live(), queued: () => queued() });
  const actions = h("div", { className: "cvm-actions", role: "toolbar", "aria-label": "What to do with this CVM" });
  const ops = h("div", { className: "cvm-ops" });
  const notice = h("div", { className: "cvm-notice", role: "alert", hidden: true });
  const changing = changeFrame({ model, host, store }, { send, live: () => store.live(), queued: () => queued() });
  const tabs = tabStrip("About this CVM", CARD_TABS, opened);
  const root = h("section", { className: "cvm cvm-card" },
    h("header", { className: "cvm-card-head" }, h("div", { className: "cvm-title" }, name, status, doing, badge.el, health), h("div", { className: "cvm-under" }, under, costs.el)),
    ...boot.el, actions, idle.el, ops, undo.el, notice, confirm.el, changing.el, tabs.strip, ...tabs.panels.values(), liveRegion);
  const buttons = new Map(VERBS.map(([verb, label]) => [verb, h("button", {
    type: "button", className: `cvm-verb-${verb}`, disabled: true, onclick: () => { send({ kind: "act", verb, click: clickId() }); queued(); },
  }, label)]));
  buttons.get("delete").classList.add("cvm-danger");
  actions.append(...buttons.values());
  buttons.get("delete").before(changing.button);

  const facts = h("div", {}), meters = h("div", { className: "cvm-meters" }), links = h("div", { className: "cvm-links" }), recent = h("div", { className: "cvm-recent" });
  tabs.panels.get("overview").append(h("div", { className: "cvm-columns-2" }, facts, h("div", {}, meters, links)), recent);
  tabs.panels.get("logs").append(log.el);
  const network = detail("network", "Network", drawNetwork), rules = autoStop({ send, live: () => store.live() });
  const metrics = metricsPanel({ send, live: () => store.live(), more: h("div", {}, rules.el, network.el) });
  tabs.panels.get("metrics").append(metrics.el);
  const asked = activityTable({ send, queued: () => queued(), named: false });
  const happened = h("div", {}), recorded = detail("operations", "Operations", () => []);
  tabs.panels.get("activity").append(recorded.el, asked.el, h("h4", {}, "Changes seen in this session"), happened);
  const compose = detail("compose", null, drawCompose), environment = detail("environment", null, drawEnvironment), proof = detail("attestation", null, drawProof);
  tabs.panels.get("compose").append(compose.el);
  tabs.panels.get("environment").append(environment.el);
  const revisions = revisionsPanel({ send, live: () => store.live() });
  tabs.panels.get("revisions").append(revisions.el);
  const trust = trustPanel({ send, live: () => store.live(), measured: proof });
  tabs.panels.get("trust").append(trust.el);

  // --- what is fetched when it is looked at ---
  function detail(what, title, draw) {
    const again = h("button", { type: "button", className: "cvm-again", onclick: () => get() }, "Fetch again");
    const when = h("span", { className: "cvm-dim", role: "status" }), body = h("div", {});
    const box = h("div", { className: "cvm-detail" }, h("div", { className: "cvm-detail-bar" }, title ? h("h4", {}, title) : null, when, again), body);
    let got = false;
    function get() { if (!store.live()) return; got = true; when.textContent = "fetching…"; again.disabled = true; send({ kind: "fetch", what }); }
    return {
      el: box,
      need() { if (!got) get(); },
      live(yes) { again.disabled = !yes; if (!got) when.textContent = yes ? "" : "Not fetched: the kernel does not answer."; },
      receive(message) {
        again.disabled = false;
        when.textContent = `fetched at ${clockTime(Date.now())}`;
        if (message.error) body.replaceChildren(h("div", { className: "cvm-fault", role: "alert" }, message.error));
        else body.replaceChildren(...draw(message));
      },
    };
  }
  function verdict({ ok, text }) {
    const state = ok === true ? "yes" : ok === false ? "no" : "open";
    return h("div", { className: "cvm-verdict", "data-state": state }, h("span", { className: "cvm-verdict-mark", "aria-hidden": "true" }, { yes: "✓", no: "✖", open: "?" }[state]), h("span", {}, text));
  }
  const hashes = (list) => factsList(list.map(([label, value]) => [label, value, /^[0-9a-f]{32,}$/.test(value) ? "code" : "text"]), "cvm-facts cvm-facts-wide");
  function drawCompose(message) {
    return [verdict(message.check), hashes(message.facts), ...message.texts.flatMap(([title, text]) => [h("h4", {}, title), h("pre", { className: "cvm-source", tabIndex: 0, "aria-label": title }, text)])];
  }
  function drawProof(message) { return [verdict(message.check), hashes(message.facts)]; }
  function drawNetwork(message) { return [factsList(message.facts, "cvm-facts"), h("p", { className: "cvm-dim" }, "The service reports no traffic.")]; }
  /** Names of variables, and never a value: what there is of those is sealed for the CVM. */
  function drawEnvironment({ rows }) {
    const note = h("p", { className: "cvm-dim" }, "Values are sealed for the CVM: only it can read them, and the service tells neither them nor which are set. To set them, use Change this CVM.");
    if (!rows.length) return [h("p", {}, "It takes no environment variables."), note];
    const uses = { needed: "needs a value", default: "has a default", "": "not by its compose file" };
    const head = ["Name", "Taken by the CVM", "Used"].map((name) => h("th", { scope: "col" }, name));
    const lines = rows.map(([name, taken, use]) => h("tr", { "data-missing": !taken && use === "needed" ? "yes" : null }, h("th", { scope: "row" }, h("code", { className: "cvm-code" }, name)),
      h("td", {}, taken ? "yes" : use === "needed" ? "⚠ no: it stays empty" : "no"), h("td", {}, uses[use])));
    return [h("div", { className: "cvm-scroll cvm-variables", tabIndex: 0, role: "region", "aria-label": "Environment variables" }, h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...lines))), note];
  }
  function opened(which) {
    if (which === "metrics") { metrics.need(); network.need(); } else metrics.leave();
    if (which === "logs") log.open();
    else if (which === "activity") recorded.need();
    else if (which === "compose") compose.need();
    else if (which === "environment") environment.need();
    else if (which === "revisions") revisions.need();
    else if (which === "trust") trust.need();
  }

  // --- what changes ---
  function eventList(list) {
    if (!list?.length) return h("p", { className: "cvm-dim" }, "No changes since you opened this.");
    return h("ul", { className: "cvm-events" }, ...list.map(([at, text, state, byYou]) => {
      const item = h("li"), when = h("time", { dateTime: new Date(at).toISOString(), title: momentText(at) }, listedText(at));
      item.append(when, statusGlyph(item, state), h("span", {}, text), ...(byYou ? [h("span", { className: "cvm-tag" }, "by you")] : []));
      return item;
    }));
  }
  function drawMeters({ stats, running }) {
    const list = stats?.meters ?? [];
    meters.replaceChildren(...list.map(({ label, part, text }) => h("div", { className: "cvm-meter" },
      h("span", { className: "cvm-dim" }, label),
      h("span", { className: "cvm-track", role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(part * 100), "aria-valuetext": text, "data-high": part >= 0.9 ? "yes" : null },
        h("span", { style: `inline-size:${(part * 100).toFixed(1)}%` })),
      h("span", { className: "cvm-num" }, text))));
    if (!list.length) meters.append(h("p", { className: "cvm-dim" }, stats?.error ?? (running ? "Loading metrics…" : "Not running.")));
  }
  let drawnFacts = "", drawnLinks = ""; // a button in them keeps the focus while nothing changes
  function drawFacts({ facts: all = [] }) {
    const text = JSON.stringify(all);
    if (text !== drawnFacts) facts.replaceChildren(factsList(all, "cvm-facts"));
    drawnFacts = text;
  }
  function drawLinks({ endpoints = [] }) {
    const text = JSON.stringify(endpoints);
    if (text === drawnLinks) return;
    drawnLinks = text;
    links.replaceChildren(h("h4", {}, "Endpoints"), endpoints.length
      ? h("ul", {}, ...endpoints.map((url) => h("li", {}, safeLink(url, url.replace(/^https:\/\//, "")), copyButton(url, "the endpoint"))))
      : h("p", { className: "cvm-dim" }, "No endpoints."));
  }
  function drawOps({ ops: all = {} }) {
    const now = store.now();
    const lines = Object.entries(all).filter(([, op]) => !(op.done && ["reached", "cancelled"].includes(op.state) && now - op.at > OP_SHOWN_MS));
    ops.replaceChildren(...lines.sort(([, a], [, b]) => b.at - a.at).slice(0, 3).map(([verb, op]) => {
      const dots = op.steps.map((done) => (done ? "●" : "○")).join("");
      const button = actions.querySelector(`.cvm-verb-${CSS.escape(verb)}`);
      const line = h("div", { className: "cvm-op-line", "data-state": op.state, "data-verb": verb, title: `${momentText(op.at)}, ${op.id}` },
        h("span", { className: "cvm-op-dots", "aria-hidden": "true" }, OP_MARKS[op.state] ?? dots), h("span", {}, op.text));
      if (button) line.style.setProperty("--cvm-at", `${Math.max(8, button.offsetLeft - ops.offsetLeft + button.offsetWidth / 2 - 5)}px`);
      return line;
    }));
  }
  function drawButtons({ verbs = {} }) {
    for (const [verb, button] of buttons) {
      const [allowed, why] = verbs[verb] ?? [false, ""];
      button.disabled = !allowed;
      button.title = allowed ? why : `Not now: ${why}`;
    }
  }
  function drawTime() {
    const kernel = store.live(), { clock, state } = store;
    const passed = kernel ? (performance.now() - store.atHere) / 1000 : 0;
    const parts = [];
    if (state?.gone) parts.push(goneWords(state.gone));
    if (clock.uptime !== null && clock.uptime !== undefined && state?.running) parts.push(`up ${ageWords(clock.uptime + passed)}`);
    if (clock.age !== null && clock.age !== undefined) parts.push(`updated ${clock.age + passed < 5 ? "just now" : `${ageWords(clock.age + passed)} ago`}`);
    const text = parts.join(" · ");
    if (under.textContent !== text) under.textContent = text;
    if (state) costs.draw(state, clock, passed);
    const now = kernel && store.at ? store.now() : null; // by the kernel's clock, as what it judged
    badge.draw(state?.trust, now); trust.time(now);
    drawHealth(health, store.health, store.at, kernel);
    root.dataset.live = kernel;
    actions.inert = !kernel;
  }
  function draw() {
    const state = store.state;
    if (!state) return;
    root.setAttribute("aria-label", `CVM ${state.name}`);
    root.dataset.cvm = state.id ?? "";
    name.textContent = state.name; name.title = state.id ?? "";
    status.replaceChildren(statusGlyph(status, state.status), state.word); status.title = state.raw ? `The service says: ${state.raw}` : "";
    doing.textContent = state.doing ?? "";
    status.toggleAttribute("data-busy", state.busy);
    root.toggleAttribute("data-gone", Boolean(state.gone));
    log.named(state.name);
    drawFacts(state);
    recent.replaceChildren(h("h4", {}, "Last events"), eventList((state.events ?? []).slice(0, 5)));
    happened.replaceChildren(eventList(state.events));
    drawButtons(state); boot.draw(state); idle.draw(state); rules.draw(state); metrics.draw(state); drawMeters(state); drawLinks(state); drawOps(state); asked.draw(state.activity, store.live()); trust.draw(state); revisions.draw(state); drawTime();
    badge.el.hidden = changing.button.hidden = Boolean(state.gone);
  }

  // --- what is answered ---
  const { answer, queued, answered } = answers({ confirm, undo, notice, say });
  function announce(before) {
    const now = store.state;
    if (!before || !now) return;
    if (before.word !== now.word) say(`${now.name} is ${now.word}`);
    if (now.trust && before.trust?.at !== now.trust.at) say(`${now.name}: ${now.trust.summary}`);
    for (const [verb, op] of Object.entries(now.ops ?? {})) if (op.done && !before.ops?.[verb]?.done) say(op.text);
  }
  function update({ message, before, live }) {
    if (live !== undefined) {
      log.live(live);
      for (const one of [recorded, compose, environment, proof, network]) one.live(live);
      if (store.state) { asked.draw(store.state.activity, live); trust.draw(store.state); idle.draw(store.state); rules.draw(store.state); }
      revisions.live();
      if (live) opened(tabs.open);
      else { confirm.close("yes"); undo.hide(); }
      drawTime();
      return;
    }
    if (message.kind === "change") { answered(); changing.receive(message); return; }
    if (answer(message)) return;
    if (message.kind === "log") log.receive(message);
    else if (message.kind === "metrics") metrics.receive(message);
    else if (message.kind === "details") ({ compose, environment, attestation: proof, operations: recorded, network })[message.what]?.receive(message);
    else if (message.kind === "pulse") drawTime();
    else { draw(); announce(before); }
  }

  const clock = setInterval(() => { if (el.isConnected && !document.hidden) { drawTime(); if (store.state) drawOps(store.state); } }, 1000);
  draw();
  tabs.choose("overview");
  log.live(store.live());
  for (const one of [recorded, compose, environment, proof, network]) one.live(store.live());
  return store.mount(el, root, update, () => { clearInterval(clock); answered(); changing.end(); metrics.end(); log.end(); });
}

export default liveWidget(renderCard, cardStore);
