// Finding in a log: a text, or a regular expression that may take as long as it likes and never holds up the page.

const LOG_HITS = 2000, LOG_FIND_MS = 2000, LOG_REST_MS = 30000;

/** Draw the text of a line with its hits marked; each hit keeps what it is drawn by. */
function drawLogText(line) {
  const { body, pieces, hits } = line, drawn = [];
  for (const hit of hits) hit.els = [];
  let at = 0, next = 0; // the place in the text, and the hit that is there or comes next
  for (const [text, look] of pieces) {
    const end = at + text.length;
    while (at < end) {
      while (hits[next] && hits[next].to <= at) next++;
      const hit = hits[next], inside = hit && hit.from <= at, to = Math.min(end, hit ? (inside ? hit.to : hit.from) : end);
      const part = text.slice(text.length - (end - at), text.length - (end - to));
      const el = inside ? h("mark", { className: look }, part) : look ? h("span", { className: look }, part) : part;
      if (inside) hit.els.push(el);
      drawn.push(el);
      at = to;
    }
  }
  body.replaceChildren(...drawn);
  line.el.toggleAttribute("data-hit", hits.length > 0);
}

/** Where a text stands in others, whatever its case: for each of them [[from, to]]. Takes as long as the texts are. */
function findText(wanted, texts) {
  const literal = new RegExp(wanted.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "giu"); // in lower case a text may be longer: İ
  let left = LOG_HITS;
  return texts.map((text) => {
    const found = [];
    literal.lastIndex = 0;
    for (let hit; left > 0 && (hit = literal.exec(text)); left--) found.push([hit.index, literal.lastIndex]);
    return found;
  });
}

// What a thread of its own does with an expression: one may take for ever, and the page must not.
const FIND_THREAD = `
onmessage = ({ data: { source, texts, most } }) => {
  const expression = new RegExp(source, "gi");
  let left = most;
  postMessage(texts.map((text) => {
    const found = [];
    expression.lastIndex = 0;
    for (let hit; left > 0 && (hit = expression.exec(text)); ) {
      if (hit[0]) { found.push([hit.index, hit.index + hit[0].length]); left--; } else expression.lastIndex++;
    }
    return found;
  }));
};
postMessage("ready");
`;

/** Finds by regular expressions, in a thread that is ended when it takes too long. `find` throws the error to show. */
function expressionFinder() {
  let thread = null, last = Promise.resolve(), rest = 0;
  function end() { clearTimeout(rest); thread?.terminate(); thread = null; }
  /** Wait for the next message of the thread. */
  function reply(within, late) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => { end(); reject(new Error(late)); }, within);
      thread.onmessage = ({ data }) => { clearTimeout(timer); resolve(data); };
      thread.onerror = (event) => { event.preventDefault?.(); clearTimeout(timer); end(); reject(new Error("Regular expressions are not available on this page.")); };
    });
  }
  async function begin() {
    const url = URL.createObjectURL(new Blob([FIND_THREAD], { type: "text/javascript" }));
    try {
      try { thread = new Worker(url); } catch { throw new Error("Regular expressions are not available on this page."); }
      await reply(15_000, "Regular expressions are not available on this page.");
    } finally { URL.revokeObjectURL(url); }
  }
  async function one(source, texts, wanted) {
    if (!wanted()) return [];
    clearTimeout(rest);
    if (!thread) await begin();
    const found = reply(LOG_FIND_MS, "This expression takes too long. Make it simpler: avoid repeats within repeats, as in (a+)+.");
    thread.postMessage({ source, texts, most: LOG_HITS });
    await found;
    rest = setTimeout(end, LOG_REST_MS);
    return found;
  }
  return {
    end,
    /** One after the other; what is no longer wanted when its turn comes is left out. */
    find(source, texts, wanted) { return (last = last.catch(() => {}).then(() => one(source, texts, wanted))); },
  };
}

/** The box that finds: `added(lines)` when there are more, `gone()` when some are no longer kept. `goTo(hit)` shows one. */
function logFinder({ kept, goTo, redraw }) {
  const text = h("input", { type: "search", className: "cvm-log-find", placeholder: "Find in log", "aria-label": "Find in log", maxLength: 200, spellcheck: false });
  const expression = h("button", { type: "button", className: "cvm-log-regexp", "aria-pressed": "false", title: "Regular expression", "aria-label": "Regular expression", onclick: () => { expression.setAttribute("aria-pressed", expression.getAttribute("aria-pressed") !== "true"); anew(); } }, ".*");
  const before = h("button", { type: "button", title: "Previous (Shift+Enter)", "aria-label": "Previous match", onclick: () => step(-1) }, "↑");
  const after = h("button", { type: "button", title: "Next (Enter)", "aria-label": "Next match", onclick: () => step(1) }, "↓");
  const count = h("span", { className: "cvm-log-hits", role: "status" }), fault = h("span", { className: "cvm-log-fault", role: "alert", hidden: true });
  const only = h("input", { type: "checkbox" }), finder = expressionFinder();
  const el = h("span", { className: "cvm-log-finder" }, text, expression, before, after, count, h("label", {}, only, " Only matches"), fault);
  let turn = 0, hits = [], current = null, late = 0, broken = false;
  const byExpression = () => expression.getAttribute("aria-pressed") === "true";
  text.addEventListener("input", () => { clearTimeout(late); late = setTimeout(anew, byExpression() ? 250 : 80); });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !isShortcut(event)) { event.preventDefault(); step(event.shiftKey ? -1 : 1); }
    else if (isPlain(event, "Escape") && text.value) { event.preventDefault(); text.value = ""; anew(); }
  });
  only.addEventListener("change", () => redraw(only.checked && Boolean(text.value)));

  function showFault(message) { fault.hidden = !message; fault.textContent = message ?? ""; }
  function anew() {
    turn += 1;
    broken = false;
    showFault(null);
    for (const line of kept()) if (line.hits.length) { line.hits = []; drawLogText(line); }
    hits = []; current = null;
    redraw(only.checked && Boolean(text.value));
    drawn();
    if (text.value) look(kept(), true);
  }
  async function look(lines, first) {
    if (!lines.length || broken || hits.length >= LOG_HITS) return;
    const thisTurn = turn, texts = lines.map((line) => line.text);
    let found;
    if (!byExpression()) found = findText(text.value, texts);
    else {
      try { new RegExp(text.value, "gi"); } catch (error) { broken = true; showFault(`Not a regular expression: ${error.message.replace(/^Invalid regular expression: /, "")}`); drawn(); return; }
      try { found = await finder.find(text.value, texts, () => thisTurn === turn); }
      catch (error) { if (thisTurn === turn) { broken = true; showFault(error.message); drawn(); } return; }
      if (thisTurn !== turn) return;
    }
    lines.forEach((line, i) => { if (found[i].length) { line.hits = found[i].map(([from, to]) => ({ line, from, to, els: [] })); drawLogText(line); } });
    collect();
    if (first && hits.length) choose(goTo.first(hits));
    drawn();
  }
  function collect() {
    hits = kept().flatMap((line) => line.hits).slice(0, LOG_HITS);
    if (!hits.includes(current)) current = null;
    mark();
  }
  function mark() { for (const hit of hits) for (const el of hit.els) el.classList.toggle("cvm-log-current", hit === current); }
  function choose(hit) { current = hit; mark(); goTo(hit); drawn(); }
  function step(by) {
    if (!hits.length) { clearTimeout(late); if (text.value && !current) anew(); return; }
    const at = hits.indexOf(current);
    choose(hits[at < 0 ? (by > 0 ? 0 : hits.length - 1) : (at + by + hits.length) % hits.length]);
  }
  function drawn() {
    const all = hits.length >= LOG_HITS ? `${LOG_HITS}+` : hits.length;
    count.textContent = !text.value ? "" : hits.length ? `${hits.indexOf(current) + 1}/${all}` : broken ? "" : "No matches";
    before.disabled = after.disabled = !hits.length;
  }
  drawn();
  return { el, added(lines) { if (text.value) look(lines, false); }, gone() { if (hits.length) { collect(); drawn(); } }, end: () => finder.end() };
}
