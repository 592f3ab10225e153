// Tabs, and the panels that they open.

/** Tabs by the keyboard, too: arrows, Home, End. */
function tabStrip(label, tabs, onOpen = () => {}) {
  const own = clickId();
  const strip = h("div", { className: "cvm-tabs", role: "tablist", "aria-label": label });
  const panels = new Map();
  const buttons = tabs.map(([name, label]) => h("button", {
    type: "button", role: "tab", id: `cvm-t-${own}-${name}`, "aria-controls": `cvm-p-${own}-${name}`, "data-tab": name, onclick: () => choose(name),
  }, label));
  for (const [name] of tabs) panels.set(name, h("div", { className: `cvm-panel cvm-panel-${name}`, role: "tabpanel", id: `cvm-p-${own}-${name}`, "aria-labelledby": `cvm-t-${own}-${name}`, hidden: true }));
  strip.append(...buttons);
  strip.addEventListener("keydown", (event) => {
    const at = buttons.findIndex((button) => button.getAttribute("aria-selected") === "true"), last = buttons.length - 1;
    const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (to === undefined || isShortcut(event)) return;
    event.preventDefault();
    choose(tabs[to][0]);
    buttons[to].focus();
  });
  let open = null;
  function choose(name) {
    open = name;
    for (const button of buttons) {
      const on = button.dataset.tab === name;
      button.setAttribute("aria-selected", on);
      button.tabIndex = on ? 0 : -1;
      panels.get(button.dataset.tab).hidden = !on;
    }
    onOpen(name);
  }
  return { strip, panels, choose, enter(name) { choose(name); strip.querySelector(`[data-tab="${name}"]`).focus(); }, get open() { return open; } };
}
