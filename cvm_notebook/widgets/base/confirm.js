// The question before something is destroyed, and the strip on which it can be taken back.

/**
 * A question in the view itself. `open(spec)` draws what Python asks; the answer is judged there.
 * Esc is no; Enter is yes once the phrase is right and everything is ticked.
 */
function confirmPanel(send) {
  const panel = h("div", { className: "cvm-confirm", role: "alertdialog", "aria-modal": "false", hidden: true });
  let open = null, before = null;
  const close = (answer) => {
    if (!open) return;
    if (answer === "no") send({ kind: "cancelled", click: open.click });
    open = null; panel.hidden = true; panel.replaceChildren();
    if (before?.isConnected) before.focus();
  };
  panel.addEventListener("keydown", (event) => { if (isPlain(event, "Escape")) { event.preventDefault(); close("no"); } });
  return {
    el: panel,
    get click() { return open?.click; },
    close,
    refused(text) { panel.querySelector(".cvm-fault").textContent = text; },
    open(spec) {
      if (!open) before = document.activeElement;
      open = spec;
      const title = h("h4", { id: `cvm-q-${spec.click}` }, spec.title);
      panel.setAttribute("aria-labelledby", title.id);
      const items = spec.items.length === 1 ? factsOf(spec.head, spec.items[0]) : tableOf(spec.head, spec.items);
      const ticks = spec.sentences.map(() => h("input", { type: "checkbox" }));
      const typed = h("input", { type: "text", autocomplete: "off", spellcheck: false, "aria-describedby": `cvm-q-${spec.click}` });
      const yes = h("button", { type: "button", className: "cvm-danger", disabled: true }, spec.title.replace(/\?$/, ""));
      const no = h("button", { type: "button", onclick: () => close("no") }, "Cancel");
      const ready = () => typed.value === spec.phrase && ticks.every((tick) => tick.checked);
      const look = () => { yes.disabled = !ready(); };
      const answer = () => { if (ready()) send({ kind: "confirmed", click: spec.click, typed: typed.value, ticked: ticks.length }); };
      yes.addEventListener("click", answer);
      typed.addEventListener("input", look);
      typed.addEventListener("keydown", (event) => { if (isPlain(event, "Enter")) { event.preventDefault(); answer(); } });
      ticks.forEach((tick) => tick.addEventListener("change", look));
      panel.replaceChildren(
        title, items, h("p", {}, spec.summary),
        ...spec.sentences.map((text, i) => h("label", { className: "cvm-tick" }, ticks[i], " ", text)),
        h("label", { className: "cvm-typed" }, "Type ", h("code", { className: "cvm-code" }, spec.phrase), " to confirm ", typed),
        h("div", { className: "cvm-confirm-answers" }, yes, no),
        h("div", { className: "cvm-fault", role: "alert" }),
      );
      panel.hidden = false;
      (ticks[0] ?? typed).focus();
    },
  };
}

/** One CVM: a list of what is known of it. */
function factsOf(names, facts) {
  const known = names.map((name, i) => [name, facts[i]]).filter(([, fact]) => fact);
  return h("dl", { className: "cvm-confirm-facts" }, ...known.flatMap(([name, fact]) => [h("dt", {}, name), h("dd", {}, fact)]));
}

/** Several: a table. */
function tableOf(names, items) {
  const head = h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, name)));
  const rows = items.map((cells) => h("tr", {}, ...cells.map((cell) => h("td", {}, cell))));
  return h("div", { className: "cvm-confirm-items", tabIndex: 0 }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows)));
}

/** A strip that says what will be sent in a moment, with a button to take it back. */
function undoStrip(send) {
  const text = h("span", { role: "status" });
  const bar = h("span", { className: "cvm-undo-bar", "aria-hidden": "true" });
  const undo = h("button", { type: "button" }, "Undo"), now = h("button", { type: "button" }, "Do it now");
  const strip = h("div", { className: "cvm-undo", hidden: true }, text, undo, now, bar);
  let ops = [], timer = 0;
  const hide = () => { clearTimeout(timer); strip.hidden = true; ops = []; };
  undo.addEventListener("click", () => { send({ kind: "undo", ops }); hide(); });
  now.addEventListener("click", () => { send({ kind: "now", ops }); hide(); });
  return {
    el: strip,
    show(message) {
      if (!message.undo) return;
      ops = message.ops;
      text.textContent = `${message.text} in ${message.undo} s…`;
      bar.style.animation = "none"; void bar.offsetWidth;
      bar.style.animation = `cvm-undo ${message.undo}s steps(${Math.max(1, Math.round(message.undo * 2))}, end) forwards`;
      strip.hidden = false;
      clearTimeout(timer);
      timer = setTimeout(hide, message.undo * 1000);
    },
    hide,
  };
}

/**
 * Show what Python says to clicks where it belongs. `answer` returns false for a message about something else;
 * `queued` says, after a while without an answer, that the kernel is busy, and `answered` that there was one.
 */
function answers({ confirm, undo, notice, say }) {
  let late = 0;
  const dismiss = h("button", { type: "button", className: "cvm-dismiss", "aria-label": "Dismiss", onclick: () => { notice.hidden = true; } });
  function show(text, fault = false) { notice.replaceChildren(text, dismiss); notice.className = fault ? "cvm-fault" : "cvm-notice"; notice.hidden = false; }
  const answered = () => clearTimeout(late);
  const done = (message) => { if (message.click && message.click === confirm.click) confirm.close("yes"); };
  const by = {
    confirm(message) { notice.hidden = true; confirm.open(message); },
    refused(message) { if (message.click === confirm.click) confirm.refused(message.text); },
    asked(message) { done(message); notice.hidden = true; undo.show(message); say(message.text); },
    undone(message) { undo.hide(); show(message.text); },
    notice(message) { done(message); show(message.text, message.fault); },
  };
  return {
    show, answered,
    queued() { answered(); late = setTimeout(() => show("Queued until the running cell finishes"), 1500); },
    answer(message) {
      if (!Object.hasOwn(by, message.kind)) return false;
      answered();
      by[message.kind](message);
      return true;
    },
  };
}
