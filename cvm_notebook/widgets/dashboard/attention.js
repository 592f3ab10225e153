// What needs attention, where the card of a CVM would be; and the plan to stop what idles.
//
//   Python -> view   section attention {concerns: [{key, title, more, usd, shows}], complete, cvms, unmeasured, acts}
//                    plan {view, revision, rows: [{id, name, type, idle, saves, note, sends}], of}
//   view -> Python   show {key}   plan {view}   act {verb, ids, click, revision}

const CONCERN_GLYPHS = { failed: "✖", credit: "⚠", idle: "☾", drift: "⚠", stopped: "■" };
const MONTH_H = 730;

function attentionPanel({ own, send, onShow }) {
  const list = h("div", {}), planBox = h("div", { hidden: true });
  const el = h("section", { className: "cvm-attention", "aria-label": "Needs attention" }, list, planBox);
  let shown = null, asked = null;
  function concern({ key, title, more, usd, shows }, acts, live) {
    const plan = key === "idle" && acts;
    return h("li", { className: "cvm-concern", "data-key": key },
      h("span", { className: "cvm-concern-mark", "aria-hidden": "true" }, CONCERN_GLYPHS[key]),
      h("div", {}, h("strong", {}, title), usd && Number(usd) ? ` · ${usdText(Number(usd))} USD/h` : "", h("div", { className: "cvm-dim" }, more)),
      h("div", { className: "cvm-concern-acts" },
        shows ? h("button", { type: "button", disabled: !live, "aria-label": `Show: ${title}`, onclick: () => { send({ kind: "show", key }); onShow(); } }, "Show") : null,
        plan ? h("button", { type: "button", disabled: !live, onclick: () => send({ kind: "plan", view: own }) }, "Review plan…") : null));
  }
  function draw(state, live, health) {
    if (!state) return;
    const now = JSON.stringify([state, live, health]);
    if (now === shown) return;
    shown = now;
    const { concerns, complete, cvms, unmeasured, acts } = state, focused = list.contains(document.activeElement);
    const select = h("p", { className: "cvm-dim" }, "Select a CVM in the table to see it here.");
    const found = concerns.length ? h("ul", {}, ...concerns.map((one) => concern(one, acts, live)))
      : h("p", {}, !complete ? { "needs a key": "Sign in to see it.", offline: "Not known yet: the service cannot be reached." }[health] ?? "Reading the fleet…" : cvms ? "✓ Nothing needs attention." : "No CVMs yet. Deploy the first one in the tab Deploy.");
    const title = h("h3", { tabIndex: -1 }, "Needs attention");
    const unseen = unmeasured ? h("p", { className: "cvm-dim" }, `Of ${howMany(unmeasured, "running CVM")} the CPU is not measured: whether they idle is not known. To measure all, filter the table by idle_for >= 30m.`) : null;
    list.replaceChildren(...[title, found, unseen, cvms ? select : null].filter(Boolean));
    if (focused) title.focus();
  }
  function closePlan(back = true) {
    if (planBox.hidden) return;
    asked = null;
    planBox.hidden = true; list.hidden = false;
    planBox.replaceChildren();
    if (back) (list.querySelector('[data-key="idle"] button:last-child') ?? list.querySelector("h3"))?.focus();
  }
  function openPlan({ rows, of, revision }) {
    const ticks = new Map(), total = h("p", { role: "status" });
    const stop = h("button", { type: "button", className: "cvm-danger", onclick: () => { asked = clickId(); send({ kind: "act", verb: "stop", ids: ticked().map((row) => row.id), click: asked, revision }); } });
    const ticked = () => rows.filter((row) => ticks.get(row.id)?.checked);
    function sum() {
      const some = ticked(), usd = some.reduce((all, row) => all + Number(row.saves ?? 0), 0);
      total.textContent = `${some.length} of ${rows.length} selected · saves ${usdText(usd)} USD/h (${usdText(usd * MONTH_H)} USD/month)`;
      stop.textContent = `Stop ${howMany(some.length, "CVM")}${some.length > 1 ? "…" : ""}`;
      stop.disabled = !some.length;
    }
    const line = (row) => {
      const tick = h("input", { type: "checkbox", checked: row.sends, disabled: !row.sends, "aria-label": `Stop ${row.name}`, onchange: sum });
      ticks.set(row.id, tick);
      return h("tr", {}, h("td", {}, tick), h("th", { scope: "row" }, row.name, row.note ? h("div", { className: "cvm-dim" }, row.note) : null), h("td", {}, row.type), h("td", { className: "cvm-num" }, row.idle),
        h("td", { className: "cvm-num" }, row.saves === null ? "price not known" : usdText(Number(row.saves))));
    };
    const head = ["Stop", "CVM", "Size", "Idle", "Saves USD/h"].map((name, i) => h("th", { scope: "col", className: i > 2 ? "cvm-num" : "" }, name));
    const table = h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows.map(line)));
    const title = h("h3", { tabIndex: -1 }, "Plan: stop idle CVMs");
    planBox.replaceChildren(title, h("p", { className: "cvm-dim" }, `Under 10 % of CPU for 30 min or longer. Disks are kept and still billed.${rows.length < of ? ` These are the ${rows.length} dearest of ${of}.` : ""}`),
      rows.length ? h("div", { className: "cvm-dashboard-rows", tabIndex: 0, role: "region", "aria-label": "CVMs of the plan" }, table) : h("p", {}, "No CVM is idle any more."),
      ...(rows.length ? [total] : []), h("div", { className: "cvm-concern-acts" }, ...(rows.length ? [stop] : []), h("button", { type: "button", onclick: () => closePlan() }, "Cancel")));
    sum();
    list.hidden = true; planBox.hidden = false;
    title.focus();
  }
  planBox.addEventListener("keydown", (event) => { if (isPlain(event, "Escape")) { event.preventDefault(); closePlan(); } });
  return {
    el, draw,
    receive(message) {
      if (message.kind === "asked" && message.click === asked) closePlan();
      if (message.kind === "plan" && message.view === own) openPlan(message);
    },
  };
}
