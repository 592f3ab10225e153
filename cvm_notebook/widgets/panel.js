// A panel: what Python told last. Text is text; the picture is a PNG that came with the message.
export default {
  render({ model, el }) {
    const note = h("p", { className: "cvm-dim", role: "status" });
    const picture = h("img", { className: "cvm-picture", hidden: true });
    const table = h("table", {});
    const frame = h("div", { className: "cvm-side-panel-rows", tabIndex: 0, role: "region", "aria-label": model.get("title"), hidden: true }, table);
    const root = h("section", { className: "cvm cvm-side-panel", "aria-label": model.get("title") }, h("h4", {}, model.get("title")), note, picture, frame);
    keepKeys(root);
    el.replaceChildren(root);
    let address = null;
    const free = () => { if (address) URL.revokeObjectURL(address); address = null; };
    const heard = (said, buffers) => {
      if (said.kind !== "panel") return;
      note.textContent = said.note;
      free();
      picture.hidden = !buffers?.length;
      if (buffers?.length) { address = URL.createObjectURL(new Blob([buffers[0]], { type: "image/png" })); picture.src = address; picture.alt = said.alt; }
      frame.hidden = !said.rows.length;
      table.replaceChildren(
        h("thead", {}, h("tr", {}, ...said.head.map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, ...said.rows.map((cells) => h("tr", {}, ...cells.map((cell) => h("td", {}, cell))))),
      );
    };
    model.on("msg:custom", heard);
    tellKernel(model, { kind: "hello" });
    return () => { model.off("msg:custom", heard); free(); };
  },
};
