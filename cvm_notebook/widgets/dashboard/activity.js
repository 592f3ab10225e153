// What was asked of the fleet: the newest first, with a way to ask again for what failed.
//
//   Python -> view   section activity {lines: [{id, at, verb, name, cvm, state, words, took, by, key, retry}], failed, more}
//   view -> Python   retry {id, click}   open {id}

const ACTIVITY_MARKS = { reached: "✓", failed: "✖", unknown: "?", cancelled: "–" };
const lasted = (s) => (s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`);

function activityPage({ send, queued }) {
  const none = h("p", { className: "cvm-dim" }, "No activity yet."), more = h("p", { className: "cvm-dim" });
  const body = h("tbody", {});
  const head = h("thead", {}, h("tr", {}, ...["Started", "Operation", "CVM", "Result", "Duration", "By", ""].map((name) => h("th", { scope: "col", ...(name ? {} : { "aria-label": "Retry" }) }, name))));
  const frame = h("div", { className: "cvm-dashboard-rows cvm-activity", tabIndex: 0, role: "region", "aria-label": "Activity", hidden: true }, h("table", {}, head, body));
  const el = h("div", {}, none, frame, more);
  let before = null;
  function line(one, live) {
    const at = new Date(one.at), what = `${one.verb} ${one.name}`;
    const retry = one.retry ? h("button", { type: "button", "data-retry": one.id, "aria-label": `Retry ${what}`, disabled: !live, onclick: () => { send({ kind: "retry", id: one.id, click: clickId() }); queued(); } }, "Retry") : null;
    const cvm = one.cvm ? h("button", { type: "button", className: "cvm-plain", disabled: !live, onclick: () => send({ kind: "open", id: one.cvm }) }, one.name) : one.name;
    return h("tr", { "data-state": one.state },
      h("td", { title: at.toLocaleString() }, `${at.toDateString() === new Date().toDateString() ? "" : `${momentWords(one.at, "30d")} `}${clockTime(one.at)}`),
      h("td", {}, one.verb), h("td", {}, cvm),
      h("td", {}, h("span", { className: "cvm-activity-mark", "aria-hidden": "true" }, ACTIVITY_MARKS[one.state] ?? "◌"), " ", one.words),
      h("td", { className: "cvm-num" }, one.took === null ? "" : lasted(one.took)),
      h("td", { title: one.key }, one.by), h("td", {}, retry));
  }
  return {
    el,
    draw(now, live) {
      const told = JSON.stringify([now, live]);
      if (!now || told === before) return;
      before = told;
      const focused = body.contains(document.activeElement) ? document.activeElement.dataset.retry : null;
      none.hidden = now.lines.length > 0; frame.hidden = !now.lines.length;
      more.hidden = !now.more;
      more.textContent = `${now.more.toLocaleString("en-US")} older operations: fleet.operations()`;
      body.replaceChildren(...now.lines.map((one) => line(one, live)));
      if (focused) (body.querySelector(`[data-retry="${CSS.escape(focused)}"]`) ?? frame).focus();
    },
  };
}
