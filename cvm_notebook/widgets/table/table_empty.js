// What a table says of a fleet without CVMs: how to make the first one, and how to look around without paying.

/** A line of Python with a button that copies it. */
function copyLine(code) {
  const copy = h("button", { type: "button", "aria-label": `Copy ${code}`, onclick: async () => {
    copy.textContent = (await copyText(code)) ? "Copied" : "Not copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  } }, "Copy");
  return h("div", { className: "cvm-empty-line" }, h("code", { className: "cvm-code" }, code), copy);
}

/** Where a dashboard shows the table, its form is opened; a table alone says what to type. */
function emptyFleet({ readOnly, local }) {
  const line = copyLine("fleet.deploy()"), say = h("div", { hidden: true }, "Run this in a cell:", line);
  const deploy = h("button", { type: "button", className: "cvm-primary", disabled: readOnly, title: readOnly ? "This client is read-only" : "", onclick: () => {
    if (!deploy.dispatchEvent(new CustomEvent("cvmdeploy", { bubbles: true, composed: true, cancelable: true }))) return;
    say.hidden = false;
    line.lastChild.focus();
  } }, "Deploy your first CVM");
  const explore = local ? [] : [h("div", { className: "cvm-empty-explore" }, "or explore a demo fleet on this machine, free of charge:", copyLine('cvm.dashboard(cvm.connect("local"))'))];
  return h("div", {}, h("h4", {}, "No CVMs yet"), deploy, say, ...explore);
}
