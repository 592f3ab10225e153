// A panel: text is text; the picture is a PNG that came with the message.
function renderPanel({ model, el, store }) {
  const note = h("p", { className: "cvm-dim", role: "status" });
  const picture = h("img", { className: "cvm-picture", hidden: true });
  const table = h("table", {});
  const frame = h("div", { className: "cvm-side-panel-rows", tabIndex: 0, role: "region", "aria-label": model.get("title"), hidden: true }, table);
  const root = h("section", { className: "cvm cvm-side-panel", "aria-label": model.get("title") }, h("h4", {}, model.get("title")), note, picture, frame);
  let address = null;
  const free = () => { if (address) URL.revokeObjectURL(address); address = null; };
  function heard({ message, buffers }) {
    if (message?.kind === "notice") note.textContent = message.text;
    if (!message?.set) return;
    const { note: line, head, rows, alt } = store.state;
    note.textContent = line;
    free();
    picture.hidden = !buffers?.length;
    if (buffers?.length) { address = URL.createObjectURL(new Blob([buffers[0]], { type: "image/png" })); picture.src = address; picture.alt = alt; }
    frame.hidden = !rows.length;
    table.replaceChildren(
      h("thead", {}, h("tr", {}, ...head.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, ...rows.map((cells) => h("tr", {}, ...cells.map((cell) => h("td", {}, cell))))),
    );
  }
  return store.mount(el, root, heard, free);
}

export default liveWidget(renderPanel);
