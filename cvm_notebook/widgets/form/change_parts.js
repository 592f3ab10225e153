// What an update would do, before it is sent.

const ENV_WORDS = [["added", "+"], ["kept, with new values", "="], ["LOST", "✗"]];

/** The preview: what changes, what it costs, what is lost, and the phrase where one is wanted. */
function previewPart({ onChange }) {
  const shown = h("div", {}), fault = h("div", { className: "cvm-notice", role: "status", hidden: true });
  const typed = h("input", { type: "text", autocomplete: "off", spellcheck: false, oninput: onChange });
  const phrase = h("code", { className: "cvm-code" });
  const asks = h("label", { className: "cvm-typed", hidden: true }, "Type ", phrase, " to confirm ", typed);
  const el = h("div", { className: "cvm-answer cvm-preview" }, fault, shown, asks);
  let drawn = "";
  const chip = (word, text, kind = "") => h("li", { className: kind }, h("span", { className: "cvm-dim" }, word), " ", h("strong", {}, text));
  const list = (items, className, sign) => items.map((text) => h("div", { className }, `${sign}${text}.`));
  function chips({ restarts, usd, env }) {
    const [before, after] = usd, moved = before !== after;
    return h("ul", { className: "cvm-chips" },
      chip("restart", restarts ? "yes, one" : "none", restarts ? "cvm-warns" : ""),
      chip("USD/h", moved ? `${before ?? "?"} → ${after ?? "?"}` : before ?? "not known", moved ? "cvm-warns" : ""),
      ...env.map((names, i) => (names.length ? chip(`variables ${ENV_WORDS[i][0]}`, `${ENV_WORDS[i][1]} ${names.join(", ")}`, i === 2 ? "cvm-loses" : "") : null)).filter(Boolean));
  }
  function facts(rows) {
    const long = (text) => (/^[0-9a-f]{32,}$/.test(text) ? h("code", { className: "cvm-code cvm-digest", title: text }, text) : text || h("span", { className: "cvm-dim" }, "none"));
    const head = h("tr", { role: "row" }, ...["What", "Now", "Then"].map((one) => h("th", { scope: "col", role: "columnheader" }, one)));
    return h("table", { className: "cvm-facts-table", role: "table", "aria-label": "What would be otherwise" }, h("thead", { role: "rowgroup" }, head), h("tbody", { role: "rowgroup" },
      ...rows.map(([name, before, after]) => h("tr", { role: "row" }, h("th", { scope: "row", role: "rowheader" }, name.replace(/_/g, " ")), h("td", { role: "cell", "data-label": "now" }, long(before)), h("td", { role: "cell", "data-label": "then" }, long(after))))));
  }
  return {
    el,
    of: (step) => step.preview,
    isStale: (step) => Boolean(step?.preview?.stale),
    isReady: ({ preview }) => Boolean(preview?.differs) && !preview.stale && (!preview.phrase || typed.value === preview.phrase),
    answered: () => ({ confirm: typed.value }),
    focus: () => (asks.hidden ? null : typed),
    draw({ preview }, waits, live) {
      asks.hidden = !preview?.phrase || !waits;
      phrase.textContent = preview?.phrase ?? "";
      typed.disabled = !live || Boolean(preview?.stale);
      fault.hidden = !preview?.stale;
      fault.textContent = "Changed since it was previewed: preview it again before it is sent.";
      const now = JSON.stringify({ ...preview, stale: null });
      if (now === drawn) return;
      drawn = now;
      typed.value = ""; // it was typed for another preview
      if (!preview) { shown.replaceChildren(); return; }
      if (!preview.differs) { shown.replaceChildren(h("p", {}, "Nothing differs, and nothing would be sent."), ...list(preview.notes, "cvm-dim", "")); return; }
      shown.replaceChildren(...[
        chips(preview), facts(preview.facts),
        preview.diff.length ? diffBox(preview.diff, "How the compose file would differ") : null,
        preview.more ? h("div", { className: "cvm-dim" }, `… and ${howMany(preview.more, "line")} more`) : null,
        ...list(preview.obstacles, "cvm-fault", "Not possible: "), ...list(preview.dangers, "cvm-fault", "Careful: "), ...list(preview.notes, "cvm-dim", ""),
      ].filter(Boolean));
    },
  };
}
