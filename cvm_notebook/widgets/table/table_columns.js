// Which columns the table shows, and in what order: a button and the list that it opens.
function columnPicker(store, send) {
  const find = h("input", { type: "search", placeholder: "Find a column", "aria-label": "Find a column", oninput: () => draw() });
  const reset = h("button", { type: "button", onclick: () => send({ kind: "columns" }) }, "Reset");
  const items = h("div", { className: "cvm-column-items" });
  const list = h("div", { className: "cvm-columns", role: "group", "aria-label": "Columns", tabIndex: -1, hidden: true }, h("div", { className: "cvm-column-head" }, find, reset), items); // a click on a name leaves the focus in it
  const button = h("button", { type: "button", "aria-expanded": "false", onclick: () => open(list.hidden) }, "Columns");
  const el = h("div", { className: "cvm-picker" }, button, list);
  function open(yes) { list.hidden = !yes; button.setAttribute("aria-expanded", yes); if (yes) find.focus(); }
  el.addEventListener("keydown", (event) => { if (isPlain(event, "Escape") && !list.hidden) { open(false); button.focus(); event.preventDefault(); } });
  el.addEventListener("focusout", (event) => { if (event.relatedTarget && !el.contains(event.relatedTarget)) open(false); });
  const shown = () => store.columns.map((column) => column.name);
  const fixed = (name) => name === "name" || name === "status";
  // One change, and not the list of all: that may be older than a click just before.
  const toggle = (name, on) => send({ kind: "column", name, on });
  const move = (name, step) => send({ kind: "column", name, step });
  function item([name, label]) {
    const on = shown().includes(name);
    const box = h("input", { type: "checkbox", value: name, checked: on, disabled: fixed(name), onchange: () => toggle(name, box.checked) });
    const text = h("label", { title: name }, box, " ", label);
    if (!on || fixed(name)) return h("div", { className: "cvm-column" }, text);
    const arrow = (glyph, step, words) => h("button", { type: "button", className: "cvm-plain", title: words, "aria-label": `${words}: ${label}`, value: `${name}${step}`, onclick: () => move(name, step) }, glyph);
    return h("div", { className: "cvm-column" }, text, arrow("↑", -1, "Further left"), arrow("↓", 1, "Further right"));
  }
  function draw() {
    const focused = list.contains(document.activeElement) ? document.activeElement.value : null;
    const words = find.value.trim().toLowerCase(), order = new Map(shown().map((name, at) => [name, at]));
    const fits = store.more.filter(([name, label]) => !words || `${name} ${label}`.toLowerCase().includes(words));
    const rank = ([name]) => order.get(name) ?? order.size;
    items.replaceChildren(...fits.sort((a, b) => rank(a) - rank(b)).map(item));
    if (!fits.length) items.replaceChildren(h("div", { className: "cvm-dim" }, "No column has this in its name."));
    if (focused && document.activeElement !== find) [...items.querySelectorAll("input, button")].find((one) => one.value === focused)?.focus();
  }
  return { el, draw };
}
