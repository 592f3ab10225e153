// Facets: what a column holds, with how often, as a list that writes the filter.
const FACETS = [["region", "Region", ["region"]], ["instance_type", "Type", ["type", "instance_type"]], ["app_id", "App", ["app_id"]]];
const SEARCHABLE = 12, LISTED = 200; // values

/** A button for each facet, and the list that it opens. `onFilter` gets the filter that is then to hold. */
function facetButtons(store, send, onFilter) {
  const find = h("input", { type: "search", placeholder: "Find a value", "aria-label": "Find a value", oninput: () => drawValues() });
  const items = h("div", { className: "cvm-facet-items" });
  const list = h("div", { className: "cvm-menu cvm-facet", role: "group", popover: "auto", tabIndex: -1 }, find, items);
  let open = null, values = null;
  const buttons = FACETS.map((facet) => {
    const button = h("button", { type: "button", className: "cvm-facet-button", "aria-haspopup": "true", "aria-expanded": "false", onclick: () => show(facet, button) });
    return [facet, button];
  });
  function show(facet, button) {
    open = { facet, button }; values = null; find.value = "";
    list.setAttribute("aria-label", `Filter by ${facet[1].toLowerCase()}`);
    drawValues();
    list.showPopover();
    const { left, bottom } = button.getBoundingClientRect();
    list.style.left = `${Math.max(4, Math.min(left, innerWidth - list.offsetWidth - 4))}px`;
    list.style.top = `${bottom}px`;
    button.setAttribute("aria-expanded", true);
    list.focus();
    send({ kind: "facet", name: facet[0] });
  }
  list.addEventListener("toggle", (event) => {
    if (event.newState !== "closed" || !open) return;
    const { button } = open;
    open = null;
    button.setAttribute("aria-expanded", false);
    if (list.contains(document.activeElement) || document.activeElement === document.body) button.focus();
  });
  function choose(value, on) {
    const [, , names] = open.facet, now = chosenValues(store.query, names).filter((one) => one !== value);
    const isOfColumn = (part) => valuesIn(part, names) !== null;
    onFilter(withCondition(store.query, isOfColumn, ofValues(names[0], on ? [...now, value] : now)));
  }
  function item({ value, label, count }, chosen) {
    const box = h("input", { type: "checkbox", value, checked: chosen.includes(value), onchange: () => choose(value, box.checked) });
    return h("label", { className: "cvm-facet-item", title: value }, box, h("span", {}, label), h("span", { className: "cvm-dim cvm-num" }, String(count)));
  }
  function drawValues() {
    if (!open) return;
    const words = find.value.trim().toLowerCase(), chosen = chosenValues(store.query, open.facet[2]);
    const shown = (values ?? []).filter(({ value, label }) => `${label} ${value}`.toLowerCase().includes(words));
    find.hidden = (values?.length ?? 0) < SEARCHABLE;
    items.replaceChildren(...shown.slice(0, LISTED).map((one) => item(one, chosen)));
    if (shown.length > LISTED) items.append(h("div", { className: "cvm-dim" }, `${(shown.length - LISTED).toLocaleString("en-US")} more: find one by its name`));
    if (!shown.length) items.append(h("div", { className: "cvm-dim" }, values ? "No values" : "Loading…"));
  }
  return {
    buttons: buttons.map(([, button]) => button), list,
    receive({ name, values: found }) {
      if (name !== open?.facet[0]) return;
      values = found;
      drawValues();
      (find.hidden ? items.querySelector("input") : find)?.focus();
    },
    draw(kernel) {
      for (const [[, label, names], button] of buttons) {
        const chosen = chosenValues(store.query, names), text = `${label}${chosen.length ? `: ${chosen.length}` : ""} ▾`;
        if (button.textContent !== text) button.textContent = text;
        button.classList.toggle("cvm-chosen", chosen.length > 0);
        button.disabled = !kernel;
        button.title = !kernel ? "The kernel does not answer" : chosen.length && names[0] !== "app_id" ? chosen.join(", ") : `Filter by ${label.toLowerCase()}`;
      }
    },
  };
}
