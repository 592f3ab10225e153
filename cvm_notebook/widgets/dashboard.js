// The dashboard: the fleet's table, and under it, in tabs, the CVM that is selected, the form, costs and the ledger.
//
//   Python -> view   the sections of the state: {parts: {name: id of a widget}, card: id of a widget or null}   front {}
//
// Each part is a widget of its own, with its own messages; this one only says where it stands.

const PAGES = [["cvm", "CVM"], ["new", "New CVM"], ["costs", "Costs and status"], ["ledger", "Ledger"]];

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
  const place = { model, host, store };
  const slots = Object.fromEntries(["table", "form", "statuses", "costs", "ledger"].map((name) => [name, partSlot((id, box) => viewOf(place, id, box))]));
  slots.card = partSlot((id, box) => hostedView(place, id, box));
  const none = h("p", { className: "cvm-dashboard-none cvm-dim" }, "Select a CVM in the table to see it here.");
  const notice = h("div", { className: "cvm-fault", role: "alert", hidden: true });
  const pages = tabStrip("About this fleet", PAGES);
  pages.panels.get("cvm").append(none, slots.card.el);
  pages.panels.get("new").append(slots.form.el);
  pages.panels.get("costs").append(h("div", { className: "cvm-dashboard-plots" }, slots.statuses.el, slots.costs.el));
  pages.panels.get("ledger").append(slots.ledger.el);
  const root = h("section", { className: "cvm cvm-dashboard", "aria-label": "Dashboard" }, slots.table.el, notice, pages.strip, ...pages.panels.values());
  function draw() {
    if (!store.state) return;
    const { parts, card } = store.state;
    for (const [name, id] of Object.entries(parts)) slots[name].show(id);
    slots.card.show(card);
    none.hidden = Boolean(card);
  }
  function heard({ message, live }) {
    if (message?.set || live) draw();
    if (message?.kind === "front") pages.choose("cvm");
    if (message?.kind === "notice") { notice.hidden = false; notice.textContent = message.text; }
  }
  pages.choose("cvm");
  draw();
  return store.mount(el, root, heard, () => { for (const slot of Object.values(slots)) slot.end(); });
}

export default liveWidget(renderDashboard);
