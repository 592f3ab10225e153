// What was asked of CVMs: the newest first, with a way to ask again for what failed.
//
//   Python -> view   section activity {lines: [{id, at, verb, name, cvm, state, words, took, by, key, retry}], more}
//   view -> Python   retry {id, click}   open {id}

const ACTIVITY_MARKS = { reached: "✓", failed: "✖", unknown: "?", cancelled: "–" };
const lasted = (s) => (s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`);

/** A table of operations: of all CVMs, or (`named` false) of the one that is shown. */
function activityTable({ send, queued, named = true }) {
  const none = h("p", { className: "cvm-dim" }, "No activity yet."), more = h("p", { className: "cvm-dim" });
  const body = h("tbody", {}), heads = ["Started", "Operation", ...(named ? ["CVM"] : []), "Result", "Duration", "By", ""];
  const head = h("thead", {}, h("tr", {}, ...heads.map((name) => h("th", { scope: "col", className: name === "Duration" ? "cvm-num" : "", ...(name ? {} : { "aria-label": "Retry" }) }, name))));
  const frame = h("div", { className: "cvm-activity-rows", tabIndex: 0, role: "region", "aria-label": "Activity", hidden: true }, h("table", {}, head, body));
  const el = h("div", { className: "cvm-activity" }, none, frame, more);
  let before = null;
  function line(one, live) {
    const what = `${one.verb} ${one.name}`;
    const retry = one.retry ? h("button", { type: "button", "data-retry": one.id, "aria-label": `Retry ${what}`, disabled: !live, onclick: () => { send({ kind: "retry", id: one.id, click: clickId() }); queued(); } }, "Retry") : null;
    const cvm = one.cvm ? h("button", { type: "button", className: "cvm-plain", disabled: !live, onclick: () => send({ kind: "open", id: one.cvm }) }, one.name) : one.name;
    return h("tr", { "data-state": one.state },
      h("td", { title: one.at === null ? null : momentText(one.at) }, one.at === null ? "" : listedText(one.at)),
      h("td", {}, one.verb), ...(named ? [h("td", {}, cvm)] : []),
      h("td", { className: "cvm-activity-result" }, h("span", { className: "cvm-activity-mark", "aria-hidden": "true" }, ACTIVITY_MARKS[one.state] ?? "◌"), " ", one.words),
      h("td", { className: "cvm-num" }, one.took === null ? "" : lasted(one.took)),
      h("td", { title: one.key }, one.by), h("td", {}, retry));
  }
  return {
    el,
    draw(now, live) {
      const serialized = JSON.stringify([now, live]);
      if (!now || serialized === before) return;
      before = serialized;
      const focused = body.contains(document.activeElement) ? document.activeElement.dataset.retry : null;
      none.hidden = now.lines.length > 0; frame.hidden = !now.lines.length;
      more.hidden = !now.more;
      more.textContent = `${howMany(now.more, "older operation")}: fleet.operations()`;
      body.replaceChildren(...now.lines.map((one) => line(one, live)));
      if (focused) (body.querySelector(`[data-retry="${CSS.escape(focused)}"]`) ?? frame).focus();
    },
  };
}
