// A masked field by itself: what the kernel has is said, never shown.
export default () => ({
  render({ model, el }) {
    const state = h("span", { className: "cvm-dim", role: "status" }, "waiting for the kernel");
    const field = secretField({ label: model.get("label"), button: model.get("button"), onSend: (value) => tellKernel(model, { kind: "secret", value }) });
    const hear = (message) => { if (message.kind !== "state") return; state.textContent = message.text; field.live(true); };
    model.on("msg:custom", hear);
    field.el.append(state);
    const root = h("section", { className: "cvm cvm-alone", "aria-label": model.get("label") }, field.el);
    keepKeys(root);
    el.replaceChildren(root);
    tellKernel(model, { kind: "hello" });
    return () => model.off("msg:custom", hear);
  },
});
