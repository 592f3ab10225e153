// What the words beside a CVM's facts mean, for who reads them for the first time; docs/glossary.md has more.
const TERMS = {
  size: "The instance type: vCPUs, memory and GPUs under one name, with a price per hour.",
  "region · node": "Where the server stands, and which server of the service it is.",
  OS: "The image that the CVM boots. The hardware measures it.",
  app: "The app that this CVM is an instance of. All its CVMs share keys and address.",
  "compose hash": "The SHA-256 of the app's compose file with its settings. The hardware measures it, so it says which file runs.",
  id: "This one machine; its app has an id of its own.",
};

/** A label of a fact, with a button that explains it where there is something to explain. */
function termOf(label) {
  const definition = TERMS[label];
  if (!definition) return [h("dt", {}, label)];
  const note = h("dd", { className: "cvm-term-definition", hidden: true }, definition);
  const mark = h("button", { type: "button", className: "cvm-term", "aria-label": `What is this: ${label}`, "aria-expanded": "false", title: definition }, "?");
  mark.addEventListener("click", () => {
    note.hidden = !note.hidden;
    mark.setAttribute("aria-expanded", String(!note.hidden));
  });
  return [h("dt", {}, label, mark), note];
}
