// Saved views: filter, columns, widths, sorting and grouping by a name; kept in a file of the user's.

/** The button that says which view is shown, with its menu. `own` tells this front end from others. */
function viewsButton(store, send, menu, { own, onFilter }) {
  const button = h("button", { type: "button", className: "cvm-views-button", "aria-haspopup": "menu", onclick: () => open() });
  const name = h("input", { type: "text", maxLength: 60, required: true, autocomplete: "off", "aria-label": "Name of the view" });
  const ask = h("form", { className: "cvm-menu cvm-view-name", popover: "auto" }, h("label", {}, "Save this view as ", name), h("button", { type: "submit" }, "Save"));
  const below = () => { const { left, bottom } = button.getBoundingClientRect(); return { x: left, y: bottom }; };
  const look = () => ({ widths: Object.fromEntries(store.widths), sort: store.sort });
  const save = (text) => send({ kind: "view", do: "save", name: text, look: look() });
  ask.addEventListener("submit", (event) => {
    event.preventDefault(); event.stopPropagation();
    if (!name.value.trim()) return;
    ask.hidePopover();
    save(name.value.trim());
    button.focus();
  });
  function askName() {
    const { x, y } = below();
    name.value = "";
    ask.showPopover();
    ask.style.left = `${Math.max(4, Math.min(x, innerWidth - ask.offsetWidth - 4))}px`;
    ask.style.top = `${y}px`;
    name.focus();
  }
  function open() {
    const { view } = store, [always] = store.views, saved = view !== always;
    menu.open(below(), [
      ...store.views.map((one) => [one, () => send({ kind: "view", do: "load", name: one, view: own }), one === view ? "✓" : ""]),
      null,
      ["Save as…", askName],
      ...(saved ? [[`Save changes to ${view}`, () => save(view)], [`Delete ${view}`, () => send({ kind: "view", do: "delete", name: view }), "danger"]] : []),
    ]);
  }
  return {
    button, ask,
    /** A view was asked for here: what is the same in every window is set here. */
    receive({ view, query, by }) {
      if (view !== own) return;
      onFilter(query);
      if (by !== store.by) store.group(by);
    },
    draw(kernel) {
      const text = `View: ${store.view} ▾`;
      if (button.textContent !== text) button.textContent = text;
      button.disabled = !kernel;
    },
  };
}
