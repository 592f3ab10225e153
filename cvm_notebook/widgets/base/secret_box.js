// A masked field by itself: whether the kernel has a value is shown, the value never.
function renderSecretBox({ model, el, store }) {
  const state = h("span", { className: "cvm-dim", role: "status" });
  const field = secretField({ label: model.get("label"), button: model.get("button"), onSend: (value) => store.send({ kind: "secret", value }) });
  field.el.append(state);
  function draw({ message } = {}) {
    if (message?.kind === "pulse") return;
    const live = store.live();
    field.live(live);
    state.textContent = message?.kind === "notice" ? message.text : live ? store.state?.text ?? "" : "waiting for the kernel";
  }
  draw();
  return store.mount(el, h("section", { className: "cvm cvm-alone", "aria-label": model.get("label") }, field.el), draw);
}

export default liveWidget(renderSecretBox);
