// The revisions of a CVM's app: the list, how two of them differ, and the way back to one. Joined before card.js.
//
//   view -> Python   revisions {do: "list"}, {do: "compare", a, b}, {do: "ask", revision, click}, {do: "answer", click, yes, typed}

function revisionsPanel({ send, live }) {
  const own = clickId();
  const ask = (message) => send({ kind: "revisions", ...message });
  const again = h("button", { type: "button", onclick: () => ask({ do: "list" }) }, "Fetch again");
  const status = h("span", { className: "cvm-dim", role: "status" });
  const fault = h("div", { className: "cvm-fault", role: "alert", hidden: true });
  const lines = h("tbody", { role: "rowgroup" });
  const heads = ["First", "Second", "When", "What", "By", "Compose hash", ""].map((text) => h("th", { scope: "col", role: "columnheader" }, text || h("span", { className: "cvm-visually-hidden" }, "Go back")));
  // with its roles named: where it is narrow, its rows are no rows of a table to the style sheet
  const table = h("table", { className: "cvm-revisions", role: "table", "aria-label": "Revisions" }, h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads)), lines);
  const frame = h("div", { className: "cvm-revisions-frame" }, table), more = h("div", { className: "cvm-dim" });
  const compared = h("div", { className: "cvm-compared", role: "region", "aria-label": "How the two differ", "aria-live": "polite" });
  const question = h("div", { className: "cvm-goback", role: "alertdialog", "aria-modal": "false", hidden: true });
  const el = h("div", { className: "cvm-revisions-tab" }, h("div", { className: "cvm-detail-bar" }, again, status), fault, question, frame, more, compared);
  let wanted = false, shown = "null", rows = null, pair = [], asked = null, before = null, drawn = "", readOnly = false;

  const when = (at) => (at === null ? "" : momentText(at));
  function changes({ facts, diff, more: rest }, label) {
    const parts = [];
    if (facts.length) parts.push(h("dl", { className: "cvm-facts cvm-facts-wide" }, ...facts.flatMap(([name, was, is]) => [h("dt", {}, name.replace(/_/g, " ")), h("dd", {}, `${was || "none"} → ${is || "none"}`)])));
    if (diff.length) parts.push(diffBox(diff, label));
    if (rest) parts.push(h("div", { className: "cvm-dim" }, `… and ${howMany(rest, "line")} more`));
    return parts.length ? parts : [h("p", {}, "Their app composes are the same; values of variables are not compared.")];
  }
  function choose(which, id) {
    pair = which === 0 ? [id, pair[1] ?? id] : [pair[0] ?? id, id];
    mark();
    ask({ do: "compare", a: pair[0], b: pair[1] });
  }
  const radio = (which, one) => h("input", {
    type: "radio", name: `cvm-r${which}-${own}`, value: one.id, "aria-label": `${["First", "Second"][which]}: ${one.id}, ${when(one.at)}`, onchange: () => choose(which, one.id),
  });
  function mark() {
    for (const row of lines.children) row.querySelectorAll("input").forEach((box, i) => { box.checked = box.value === pair[i]; });
  }
  function line(one) {
    const back = h("button", { type: "button", "aria-label": `Go back to ${one.id}`, "data-revision": one.id, onclick: () => ask({ do: "ask", revision: one.id, click: clickId() }) }, "Go back to this");
    return h("tr", { role: "row", "data-revision": one.id, "data-runs": one.runs ? "yes" : null },
      h("td", { role: "cell", className: "cvm-radio" }, radio(0, one)), h("td", { role: "cell", className: "cvm-radio" }, radio(1, one)),
      h("td", { role: "cell" }, when(one.at)), h("th", { scope: "row", role: "rowheader" }, one.kind, one.cvm ? h("span", { className: "cvm-dim" }, ` ${one.cvm}`) : null, one.runs ? h("span", { className: "cvm-tag" }, "runs now") : null),
      h("td", { role: "cell" }, one.who), h("td", { role: "cell" }, h("code", { className: "cvm-code", title: `${one.id}: ${one.hash}` }, one.hash.slice(0, 12))),
      h("td", { role: "cell" }, one.runs ? null : back));
  }
  function drawRows(state) {
    const now = JSON.stringify(state.rows);
    if (now === shown) return;
    shown = now;
    const focused = lines.contains(document.activeElement) ? [document.activeElement.closest("tr").dataset.revision, document.activeElement.type] : null;
    rows = state.rows;
    frame.hidden = !rows;
    lines.replaceChildren(...(rows ?? []).map(line));
    more.textContent = state.more ? `${state.more === 1 ? "1 older one is" : `${state.more} older ones are`} not shown` : "";
    if (rows && !state.pair.length && rows.length > 1) { pair = [rows[1].id, rows[0].id]; ask({ do: "compare", a: pair[0], b: pair[1] }); }
    if (focused) [...lines.children].find((row) => row.dataset.revision === focused[0])?.querySelector(`[type="${focused[1]}"]`)?.focus();
  }
  function drawCompared(now) {
    const text = JSON.stringify([now, pair]);
    if (drawn === text) return;
    drawn = text;
    if (!pair.length) { compared.replaceChildren(); return; }
    const title = h("h4", {}, `From ${pair[0]} to ${pair[1]}`);
    if (!now) compared.replaceChildren(title, h("p", { className: "cvm-dim" }, "Comparing…"));
    else if (now.error) compared.replaceChildren(title, h("div", { className: "cvm-fault" }, now.error));
    else compared.replaceChildren(title, ...changes(now, "How the texts of the two differ"));
  }
  function drawQuestion(now) {
    if ((now?.click ?? null) === asked) return;
    asked = now?.click ?? null;
    question.hidden = !now;
    if (!now) { question.replaceChildren(); if (before?.isConnected) before.focus(); before = null; return; }
    before = document.activeElement;
    const answer = (yes) => ask({ do: "answer", click: now.click, yes, typed: typed.value });
    const typed = h("input", { type: "text", autocomplete: "off", spellcheck: false, oninput: look });
    const yes = h("button", { type: "button", className: "cvm-danger", onclick: () => answer(true) }, "Go back"), no = h("button", { type: "button", onclick: () => answer(false) }, "Keep what runs");
    function look() { yes.disabled = Boolean(now.phrase) && typed.value !== now.phrase; }
    const title = h("h4", { id: `cvm-goback-${own}` }, now.title);
    question.setAttribute("aria-labelledby", title.id);
    question.onkeydown = (event) => {
      if (isPlain(event, "Escape")) { event.preventDefault(); answer(false); }
      if (isPlain(event, "Enter") && event.target === typed && !yes.disabled) { event.preventDefault(); answer(true); }
    };
    look();
    question.replaceChildren(...[title,
      h("p", {}, "It restarts once. Its compose file, its variables with their values, and its user config become what they were then; its size stays."),
      ...changes(now, "How what runs would change"),
      now.lost.length ? h("div", { className: "cvm-fault" }, `Lost: ${now.lost.join(", ")}, which that revision does not take.`) : null,
      now.phrase ? h("label", { className: "cvm-goback-typed" }, "Type ", h("code", { className: "cvm-code" }, now.phrase), " to confirm ", typed) : null,
      h("div", { className: "cvm-goback-answers" }, yes, no)].filter(Boolean));
    (now.phrase ? typed : no).focus();
  }
  const WORDS = { list: "fetching…", ask: "looking what that would do…", redeploy: "sending…" };
  function drawLive() {
    const off = !live();
    again.disabled = question.inert = off;
    for (const one of lines.querySelectorAll("input, button")) one.disabled = off || (readOnly && one.type === "button");
  }
  return {
    el,
    /** Somebody looks: it is fetched once. */
    need() { if (wanted || !live()) return; wanted = true; ask({ do: "list" }); },
    draw({ revisions: state, read_only: reads }) {
      if (!state) return;
      readOnly = reads;
      status.textContent = WORDS[state.busy] ?? "";
      fault.hidden = !state.error;
      if (fault.textContent !== (state.error ?? "")) fault.textContent = state.error ?? "";
      if (state.pair.length) pair = state.pair;
      drawRows(state); mark(); drawCompared(state.compared); drawQuestion(state.question); drawLive();
    },
    live: drawLive,
  };
}
