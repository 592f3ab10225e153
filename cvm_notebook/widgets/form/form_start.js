// What a form for a new CVM can be begun with: a template, or a CVM that there is.
//
//   Python -> view   the section starts {templates: [[key, title, about]], cvms: [[id, name]] | null, message, problem, reading, undo}
//   view -> Python   template {key}, copy {cvm}: each with a click of its own; cvms, undo_start

function startRow(store) {
  const from = h("div", { className: "cvm-start-from" });
  const choice = h("select", { hidden: true, "aria-label": "CVM to copy", onchange: () => { if (choice.value) store.act("copy", { cvm: choice.value }); choice.value = ""; hide(); } });
  const copy = h("button", { type: "button", "aria-expanded": "false", onclick: () => (choice.hidden ? ask() : hide()) }, "Copy of a CVM ▾");
  const message = h("span", { role: "status" });
  const undo = h("button", { type: "button", hidden: true, onclick: () => { store.act("undo_start"); } }, "Undo");
  const wrong = h("div", { className: "cvm-fault", role: "alert", hidden: true });
  const el = h("div", { className: "cvm-start", role: "group", "aria-label": "Start from" }, from, h("div", { className: "cvm-start-message" }, message, undo), wrong);
  let asked = false, off = false;
  function ask() { if (!store.live()) return; asked = true; store.act("cvms"); draw(); }
  function hide() { asked = false; choice.hidden = true; copy.setAttribute("aria-expanded", "false"); }
  function draw() {
    const starts = store.state.starts;
    if (!starts) return;
    if (!from.childElementCount) {
      const templates = starts.templates.map(([key, title, about]) => h("button", { type: "button", title: about, onclick: () => { if (store.live()) store.act("template", { key }); } }, title));
      from.append(h("span", { className: "cvm-label" }, "Start from"), ...templates, copy, choice);
    }
    message.textContent = starts.reading ? "Reading…" : starts.message;
    undo.hidden = !starts.undo || off;
    wrong.hidden = !starts.problem;
    wrong.textContent = starts.problem;
    if (starts.problem) hide();
    if (starts.cvms) fillSelect(choice, [["", "Choose a CVM…"], ...starts.cvms], "");
    if (asked && starts.cvms && !starts.reading && choice.hidden) { choice.hidden = false; copy.setAttribute("aria-expanded", "true"); choice.focus(); }
    for (const one of el.querySelectorAll("button, select")) one.disabled = off || (starts.reading && one !== undo);
  }
  return { el, draw, disable(now) { off = now; draw(); } };
}
