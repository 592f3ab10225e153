// Toasts: what became of clicks, over the lower right of the rows; what went wrong stays until it is dismissed.
const TOAST_MARKS = { waiting: "◔", going: "◑", done: "✓", unknown: "?", failed: "✖" };

/** The stack; `draw(items)` takes what Python tells. `onLost` is called where the focus was in one that goes. */
function toastStack(send, onLost) {
  const el = h("div", { className: "cvm-toasts" }), made = new Map();
  let live = true, clock = 0;
  const button = (label, act) => h("button", { type: "button", disabled: !live, onclick: act }, label);
  function drop(id) {
    const toast = made.get(id);
    if (!toast) return;
    const focused = toast.el.contains(document.activeElement);
    clearTimeout(toast.timer);
    toast.el.remove(); made.delete(id);
    if (focused) onLost();
  }
  function buttonsOf({ id, kind, ops, retry }) {
    if (kind === "waiting") return [button("Undo", () => send({ kind: "undo", ops })), button("Do it now", () => send({ kind: "now", ops }))];
    const again = button("Retry", () => { again.disabled = true; send({ kind: "retry", id, click: clickId() }); });
    const away = h("button", { type: "button", className: "cvm-dismiss", "aria-label": "Dismiss", onclick: () => { drop(id); send({ kind: "dismiss", id }); } });
    return kind === "going" ? [] : [...(retry ? [again] : []), away];
  }
  function fill(toast, item) {
    const { kind, text, left, details } = item, focused = toast.el.contains(document.activeElement);
    toast.el.dataset.kind = kind;
    // an alert interrupts whoever listens; the rest waits for a pause
    toast.el.setAttribute("role", kind === "failed" || kind === "unknown" ? "alert" : "status");
    toast.until = left === null ? null : performance.now() + left * 1000;
    toast.left = h("span", { "aria-hidden": "true" });
    const bar = h("span", { className: "cvm-toast-bar", "aria-hidden": "true", hidden: kind !== "waiting" });
    bar.style.animation = `cvm-undo ${left}s steps(${Math.max(1, Math.round((left ?? 0) * 2))}, end) forwards`;
    toast.buttons = buttonsOf(item);
    toast.el.replaceChildren(
      h("span", { className: "cvm-shape", "aria-hidden": "true" }, TOAST_MARKS[kind]),
      h("span", { className: "cvm-toast-text", title: details }, text, kind === "waiting" ? h("span", { className: "cvm-visually-hidden" }, ` in ${Math.round(left)} s`) : "", toast.left),
      ...toast.buttons, bar,
    );
    clearTimeout(toast.timer);
    if (kind === "done") toast.timer = setTimeout(() => drop(item.id), left * 1000);
    if (focused && toast.buttons.length) toast.buttons[0].focus();
    else if (focused) onLost();
  }
  function count() {
    let waits = false;
    for (const { el: box, left, until } of made.values()) {
      if (box.dataset.kind !== "waiting") continue;
      waits = true;
      left.textContent = ` in ${Math.max(0, Math.ceil((until - performance.now()) / 1000))} s`;
    }
    if (waits) clock ||= setInterval(count, 1000);
    else { clearInterval(clock); clock = 0; }
  }
  return {
    el,
    draw(items) {
      for (const id of [...made.keys()]) if (!items.some((one) => one.id === id)) drop(id);
      for (const item of items) {
        const key = JSON.stringify([item.kind, item.text, item.retry, item.ops]);
        let toast = made.get(item.id);
        if (!toast) { toast = { el: h("div", { className: "cvm-toast" }) }; made.set(item.id, toast); el.append(toast.el); }
        if (toast.key === key) { for (const one of toast.buttons) one.disabled = !live; continue; }
        toast.key = key;
        fill(toast, item);
      }
      count();
    },
    live(now) { live = now; for (const { buttons } of made.values()) for (const one of buttons) one.disabled = !now; },
    end() { clearInterval(clock); for (const { timer } of made.values()) clearTimeout(timer); },
  };
}
