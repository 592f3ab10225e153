// The edge between two parts that stand side by side: dragged, or moved by arrows; a double click puts it back.
const SPLIT = { least: 30, most: 75, usual: 60, step: 2 };

/** `box` gets --cvm-split: the share of its first part, in percent. It is kept as long as the view lives. */
function splitEdge(box, label) {
  const el = h("div", { className: "cvm-dashboard-edge", role: "separator", tabIndex: 0, "aria-orientation": "vertical", "aria-label": label, title: "Drag to resize; double-click to reset", "aria-valuemin": SPLIT.least, "aria-valuemax": SPLIT.most });
  let now = SPLIT.usual;
  function set(share) {
    now = Math.round(Math.min(SPLIT.most, Math.max(SPLIT.least, share)));
    box.style.setProperty("--cvm-split", `${now}%`);
    el.setAttribute("aria-valuenow", now);
    el.setAttribute("aria-valuetext", `${now} % for the table`);
  }
  el.addEventListener("keydown", (event) => {
    if (isShortcut(event)) return;
    const to = { ArrowLeft: now - SPLIT.step, ArrowRight: now + SPLIT.step, PageDown: now - 10, PageUp: now + 10, Home: SPLIT.least, End: SPLIT.most }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    set(to);
  });
  function drag(event) {
    const { left, width } = box.getBoundingClientRect();
    if (width) set((100 * (event.clientX - left)) / width);
  }
  el.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    el.focus();
    el.setPointerCapture(event.pointerId);
    el.addEventListener("pointermove", drag);
  });
  el.addEventListener("lostpointercapture", () => el.removeEventListener("pointermove", drag));
  el.addEventListener("dblclick", () => set(SPLIT.usual));
  set(SPLIT.usual);
  return el;
}
