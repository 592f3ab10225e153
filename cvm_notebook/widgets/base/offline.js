// A bar that says since when the service cannot be reached, of when the data is, and when it is tried again.
//
//   Python -> view   health {state: "offline", lasts, next, age}: seconds, counted on here
//   view -> Python   refresh

/** Seconds as a clock counts them: 00:27, 1:02:03. */
function countWords(seconds) {
  const all = Math.max(0, Math.floor(seconds)), two = (n) => String(n).padStart(2, "0"), hours = Math.floor(all / 3600);
  return `${hours ? `${hours}:` : ""}${two(Math.floor(all / 60) % 60)}:${two(all % 60)}`;
}

/** `say` reads aloud that it is so, once: what counts is not read at each second. */
function offlineBar(store, send, say) {
  const text = h("span", { "aria-hidden": "true" });
  const now = h("button", { type: "button", onclick: () => { send({ kind: "refresh" }); now.disabled = true; } }, "Retry now");
  const el = h("div", { className: "cvm-offline", role: "group", "aria-label": "Not connected", hidden: true }, h("span", { className: "cvm-offline-mark", "aria-hidden": "true" }, "⚠"), text, now);
  let clock = 0, drawn = null;
  function count() {
    const { lasts, next, age } = store.health, passed = (performance.now() - store.healthAt) / 1000;
    const left = next === null ? 0 : Math.ceil(next - passed);
    const of = age === null ? "" : `, data of ${clockTime(store.now() - (age + passed) * 1000).slice(0, 5)}`;
    text.textContent = `Not connected for ${countWords(lasts + passed)}${of}. ${left > 0 ? `Retrying in ${left} s` : "Retrying…"}`;
  }
  const stop = () => { clearInterval(clock); clock = 0; };
  return {
    el, end: stop,
    /** Returns whether it is shown. */
    draw() {
      const { health } = store, off = store.live() && health.state === "offline";
      if (el.hidden === off) {
        el.hidden = !off;
        if (off && el.checkVisibility()) say(`Not connected: ${health.cause.replace(/\.$/, "")}. It is tried again by itself.`);
      }
      if (!off) { stop(); drawn = null; return false; }
      if (drawn !== health) { drawn = health; now.disabled = health.next === null; el.title = health.text; }
      count();
      clock ||= setInterval(count, 1000);
      return true;
    },
  };
}
