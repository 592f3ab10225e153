// The dashboard: the fleet's table with the card of one CVM beside it, or what needs attention; costs, activity, the form.
//
//   Python -> view   the sections of the state: {parts: {name: id of a widget}, card: id of a widget or null, attention,
//                    activity, costs}   front {}   and the answers to clicks
//   view -> Python   page {view, name}   overview {}   and what its pages ask for
//
// Table, card and form are widgets of their own, with their own messages; this one only says where they stand.

const PAGES = [["fleet", "Fleet"], ["costs", "Costs"], ["activity", "Activity"], ["new", "Deploy"]];

/** A place for another widget's view: another one is shown when there is another id, and none without. */
function partSlot(make) {
  const el = h("div", { className: "cvm-dashboard-part" });
  let id = null, view = null;
  async function show(next) {
    if (next === id && view) return;
    view?.remove();
    view = null; id = next ?? null;
    el.replaceChildren();
    if (!id) return;
    const made = await make(id, el);
    if (next !== id || view || !made) { made?.remove(); return; }
    view = made;
  }
  return { el, show, end: () => show(null) };
}

function renderDashboard({ model, el, host, store }) {
  const place = { model, host, store }, own = clickId();
  const liveRegion = h("div", { className: "cvm-visually-hidden", role: "status", "aria-live": "polite" });
  const send = (message) => store.live() && store.send(message);
  const slots = Object.fromEntries(["table", "form"].map((name) => [name, partSlot((id, box) => viewOf(place, id, box))]));
  slots.card = partSlot((id, box) => hostedView(place, id, box));
  const confirm = confirmPanel(send), undo = undoStrip(send), notice = h("div", { className: "cvm-notice", role: "alert", hidden: true });
  const { answer, queued, answered } = answers({ confirm, undo, notice, say: (text) => { liveRegion.textContent = text; } });
  const toTable = () => slots.table.el.querySelector("[role=grid], [role=treegrid]")?.focus();
  const attention = attentionPanel({ own, send, onShow: toTable });
  const costs = costsPage({ send }), activity = activityTable({ send, queued });
  const back = h("button", { type: "button", className: "cvm-plain cvm-dashboard-back", onclick: () => send({ kind: "overview" }) }, "‹ Needs attention");
  const side = h("div", { className: "cvm-dashboard-side" }, back, attention.el, slots.card.el);
  const offline = offlineBar(store, send, (text) => { liveRegion.textContent = text; });
  const pages = tabStrip("About this fleet", PAGES, (name) => { send({ kind: "page", view: own, name }); });
  const fleet = h("div", { className: "cvm-dashboard-fleet" }, slots.table.el);
  fleet.append(splitEdge(fleet, "Width of the table"), side);
  pages.panels.get("fleet").append(fleet);
  // where the card lies over the table, Escape takes it away; first, for the card keeps its keys to itself
  side.addEventListener("keydown", (event) => {
    const lies = !back.hidden && getComputedStyle(side).position === "relative", own = event.target.closest(`[role="alertdialog"], [role="dialog"], ${TEXT_FIELDS}`);
    if (!lies || own || !isPlain(event, "Escape")) return;
    event.preventDefault();
    event.stopPropagation();
    back.click();
    toTable();
  }, true);
  pages.panels.get("costs").append(costs.el);
  pages.panels.get("activity").append(activity.el);
  pages.panels.get("new").append(slots.form.el);
  const foot = h("div", { className: "cvm-dashboard-foot" }, undo.el, notice, confirm.el);
  const root = h("section", { className: "cvm cvm-dashboard", "aria-label": "Dashboard" }, pages.strip, offline.el, ...pages.panels.values(), foot, liveRegion);
  root.addEventListener("cvmdeploy", (event) => { event.preventDefault(); pages.enter("new"); });
  const activityTab = pages.strip.querySelector('[data-tab="activity"]');
  function draw() {
    if (!store.state) return;
    const { parts, card } = store.state, live = store.live();
    for (const [name, id] of Object.entries(parts)) slots[name].show(id);
    slots.card.show(card);
    attention.el.hidden = Boolean(card);
    const { concerns } = store.state.attention, many = concerns.length;
    back.hidden = !card;
    side.toggleAttribute("data-card", Boolean(card));
    back.textContent = many ? `‹ Needs attention (${many})` : "‹ Overview";
    attention.draw(store.state.attention, live, store.health.state);
    activity.draw(store.state.activity, live);
    costs.draw(store.state.costs, live);
    const { failed } = store.state.activity;
    activityTab.textContent = failed ? `Activity (${failed})` : "Activity";
    activityTab.title = failed ? `${failed} failed or without an answer` : "";
  }
  function update({ message, live }) {
    offline.draw();
    if (live || message?.kind === "snapshot") send({ kind: "page", view: own, name: pages.open });
    if (message?.set || live !== undefined) draw();
    if (message?.kind === "front") pages.choose("fleet");
    if (message) { attention.receive(message); answer(message); }
  }
  pages.choose("fleet");
  draw();
  return store.mount(el, root, update, () => {
    send({ kind: "page", view: own, name: "" });
    answered(); costs.end(); offline.end();
    for (const slot of Object.values(slots)) slot.end();
  });
}

export default liveWidget(renderDashboard);
