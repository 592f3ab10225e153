// What is proven of the CVM of a card: the badge on its head, and the Trust tab. Joined before card.js.
//
//   view -> Python   verify
//
// Nothing is verified unless it is asked for: opening the tab shows what was judged last.

const CHECK_MARKS = { pass: "✓", fail: "✗", skip: "–", info: "i" };
const RESULT_FRAMES = { VERIFIED: "yes", FAILED: "no" }; // anything else is open

/** When something was judged: how long ago while the kernel says what time it is, else the moment itself. */
const judgedWords = (at, now) => (now === null ? `at ${momentText(at)}` : `${ageWords(Math.max(0, now - at) / 1000)} ago`);

/** The badge on the head: the word with its mark and age; it opens the tab. */
function trustBadge(onOpen) {
  const shape = h("span", { "aria-hidden": "true" }), text = h("span", {});
  const el = h("button", { type: "button", className: "cvm-trust", onclick: onOpen }, h("span", { className: "cvm-visually-hidden" }, "Trust: "), shape, text);
  return {
    el,
    draw(trust, now) {
      const words = trust ? `${trust.word} ${judgedWords(trust.at, now)}` : "not verified yet";
      if (text.textContent !== words) text.textContent = words;
      shape.textContent = trust ? TRUST_MARKS[trust.word] ?? "?" : "○";
      el.dataset.word = trust?.word ?? "";
      el.title = trust?.summary ?? "Nothing is proven yet of what it runs. Opens the tab Trust.";
    },
  };
}

/** The tab: what it came to, the nine checks, a button to verify anew; beneath, folded, `measured`. */
function trustPanel({ send, live, measured }) {
  const id = `cvm-v-${clickId()}`;
  const mark = h("span", { className: "cvm-verdict-mark", "aria-hidden": "true" }), word = h("strong", {}), detail = h("span", {});
  const result = h("div", { className: "cvm-verdict" }, mark, h("div", {}, word, detail));
  const times = h("div", { className: "cvm-dim cvm-judged" });
  const hint = h("p", { id, className: "cvm-help" });
  const button = h("button", { type: "button", className: "cvm-primary cvm-verify", "aria-describedby": id, onclick: () => ask() }, "Verify now");
  const fault = h("div", { className: "cvm-fault", role: "alert", hidden: true });
  const lines = h("tbody", { role: "rowgroup" });
  const heads = [["", "Result"], ["", "Check"], ["cvm-found", "What was found"]].map(([className, text]) => h("th", { scope: "col", role: "columnheader", className }, text));
  // with its roles named: where it is narrow, its rows are no rows of a table to the style sheet
  const table = h("table", { className: "cvm-checks", role: "table", "aria-label": "Checks" }, h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads)), lines);
  const fold = h("details", { className: "cvm-fold" }, h("summary", {}, "Measurements and certificates"), measured.el);
  const el = h("div", { className: "cvm-trust-tab" }, h("div", { className: "cvm-verify-bar" }, result, button), times, fault, hint, table, fold);
  fold.addEventListener("toggle", () => { if (fold.open) measured.need(); });
  let trust, verify = null, asked = false; // asked until the kernel has taken it

  function ask() {
    if (button.getAttribute("aria-disabled") === "true") return;
    asked = true;
    send({ kind: "verify" });
    drawButton();
  }
  // it keeps the focus when it can do nothing: a key would go to the notebook then
  function drawButton() {
    const busy = live() && (asked || Boolean(verify?.busy));
    el.setAttribute("aria-busy", busy);
    button.setAttribute("aria-disabled", busy || !live() || Boolean(verify?.why));
    button.textContent = busy ? "Verifying…" : "Verify now";
  }
  function line([name, title, outcome, reason, todo]) {
    return h("tr", { role: "row", "data-check": name, "data-outcome": outcome },
      h("td", { role: "cell" }, h("span", { className: "cvm-check-mark", "aria-hidden": "true" }, CHECK_MARKS[outcome] ?? "?"), outcome),
      h("th", { scope: "row", role: "rowheader" }, title),
      h("td", { role: "cell", className: "cvm-found" }, reason, todo ? h("div", { className: "cvm-todo" }, todo) : null));
  }
  function drawResult(now) {
    trust = now;
    result.dataset.state = RESULT_FRAMES[trust?.word] ?? "open";
    mark.textContent = trust ? TRUST_MARKS[trust.word] ?? "?" : "○";
    word.textContent = trust?.word ?? "Not verified yet.";
    const { word: begins = "", summary = "" } = trust ?? {};
    detail.textContent = trust ? (summary.startsWith(begins) ? summary.slice(begins.length) : ` ${summary}`) : " Its evidence is fetched and judged in this kernel; nothing is published.";
    table.hidden = !trust;
    lines.replaceChildren(...(trust?.checks ?? []).map(line));
  }
  return {
    el,
    need() { if (fold.open) measured.need(); },
    draw(state) {
      if (state.trust !== trust || !word.textContent) drawResult(state.trust);
      if (state.verify !== verify || !live()) { verify = state.verify; asked = false; }
      drawButton();
      hint.textContent = verify?.why ?? verify?.hint ?? "";
      fault.hidden = !verify?.error;
      if (fault.textContent !== (verify?.error ?? "")) fault.textContent = verify?.error ?? "";
    },
    time(now) {
      times.hidden = !trust;
      if (!trust) return;
      const until = trust.until === null ? null : momentText(trust.until);
      const ended = now !== null && trust.until !== null && now > trust.until;
      const repeats = until === null ? "" : ended ? ` · its collateral ended on ${until}: verify again` : ` · can be repeated until ${until}`;
      const words = `judged ${judgedWords(trust.at, now)}, ${trust.by}${repeats}`;
      if (times.textContent !== words) times.textContent = words;
    },
  };
}
