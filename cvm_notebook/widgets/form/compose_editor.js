// The editor of the compose file: a textarea, so that every key, reader and input method knows it, with the numbers of
// its lines beside it and what is wrong behind it. What is typed is changed by the browser's own editing alone, which
// can be undone.

const INDENT = "  ";
const LINE_PX = 18, TOP_PX = 6; // as in the style sheet
const MOST_NUMBERS = 5000;

/** Put text in the place of the selection, so that it can be undone. */
function insertText(text, added) {
  text.focus();
  if (added === "" ? document.execCommand("delete") : document.execCommand("insertText", false, added)) return;
  text.setRangeText(added, text.selectionStart, text.selectionEnd, "end");
  text.dispatchEvent(new Event("input", { bubbles: true }));
}

/** Where a line begins and ends, in characters; lines are counted from 1. */
function lineRange(value, number) {
  const lines = value.split("\n"), begin = lines.slice(0, number - 1).reduce((sum, line) => sum + line.length + 1, 0);
  return [begin, begin + (lines[number - 1]?.length ?? 0)];
}

/** Indent the lines that are selected, or what is typed; with `out`, take an indentation away. */
function indentLines(text, out) {
  const { value, selectionStart: from, selectionEnd: to } = text;
  if (!out && !value.slice(from, to).includes("\n")) { insertText(text, INDENT.slice((from - value.lastIndexOf("\n", from - 1) - 1) % INDENT.length)); return; }
  const begin = value.lastIndexOf("\n", from - 1) + 1, last = to > from && value[to - 1] === "\n" ? to - 1 : to;
  const found = value.indexOf("\n", last), end = found < 0 ? value.length : found;
  const lines = value.slice(begin, end).split("\n");
  const moved = lines.map((line) => (out ? line.replace(/^( {1,2}|\t)/, "") : line && INDENT + line));
  if (moved.join("\n") === lines.join("\n")) return;
  const first = moved[0].length - lines[0].length, all = moved.join("\n").length - lines.join("\n").length;
  text.setSelectionRange(begin, end);
  insertText(text, moved.join("\n"));
  text.setSelectionRange(Math.max(begin, from + first), Math.max(begin, to + all));
}

/** A new line that is indented as the one before it, and more after a colon. */
function breakLine(text) {
  const before = text.value.slice(text.value.lastIndexOf("\n", text.selectionStart - 1) + 1, text.selectionStart);
  insertText(text, `\n${/^ */.exec(before)[0]}${/:\s*$/.test(before) && !before.trimStart().startsWith("#") ? INDENT : ""}`);
}

/** The compose file: typed, uploaded, or read by the kernel from a path. */
function composeEditor(store) {
  const text = h("textarea", { className: "cvm-code cvm-compose-text", rows: 14, spellcheck: false, autocomplete: "off", autocapitalize: "off", wrap: "off", placeholder: "services:\n  app:\n    image: nginx:1.27\n    ports:\n      - \"80:80\"" });
  const numbers = h("div", { className: "cvm-gutter cvm-code", "aria-hidden": "true" });
  const marks = h("div", { className: "cvm-line-marks", "aria-hidden": "true" });
  const keys = h("div", { className: "cvm-help", id: `cvm-editor-${clickId()}` }, "Tab indents, Shift+Tab outdents. To leave the editor, press Escape, then Tab.");
  const file = h("input", { type: "file", accept: ".yml,.yaml,text/yaml", hidden: true, tabIndex: -1, "aria-hidden": "true" });
  const upload = h("button", { type: "button", onclick: () => file.click() }, "Upload…");
  const path = h("input", { type: "text", className: "cvm-code", placeholder: "or a path: docker-compose.yml", spellcheck: false, "aria-label": "Path of a compose file on the kernel's machine" });
  const read = h("button", { type: "button", onclick: () => { if (path.value.trim()) store.act("path", { path: path.value.trim() }); } }, "Read");
  const services = h("div", { className: "cvm-services" }), wanted = h("div", { className: "cvm-wanted" }), remarks = h("div", { className: "cvm-remarks" });
  let leaves = false, lines = 0, wrong = [];

  path.addEventListener("keydown", (event) => { if (isPlain(event, "Enter")) { event.preventDefault(); read.click(); } });
  text.addEventListener("input", () => { number(); store.set({ compose_file: text.value }); });
  text.addEventListener("scroll", place);
  text.addEventListener("focus", () => { leaves = false; });
  text.addEventListener("keydown", (event) => {
    if (event.isComposing || isShortcut(event)) return;
    if (event.key === "Escape") { leaves = true; return; }
    if (event.key === "Tab" && !leaves && !text.readOnly) { event.preventDefault(); indentLines(text, event.shiftKey); }
    else if (event.key === "Enter" && !event.shiftKey && !text.readOnly) { event.preventDefault(); breakLine(text); }
    if (!["Tab", "Shift"].includes(event.key)) leaves = false;
  });
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    // the service takes 200 KiB; Python says so, of whatever is longer
    text.value = await chosen.slice(0, 400 * 1024).text();
    file.value = "";
    number();
    store.set({ compose_file: text.value }, true);
  });

  /** Write the numbers of the lines; those with a mark have it instead of a space. */
  function number() {
    const now = Math.min(MOST_NUMBERS, text.value.split("\n").length);
    if (now !== lines) { lines = now; numbers.replaceChildren(...Array.from({ length: now }, (_, i) => h("div", {}, String(i + 1)))); paint(); }
    place();
  }
  function paint() {
    for (const [i, row] of [...numbers.children].entries()) row.className = "";
    for (const { line, kind } of wrong) if (numbers.children[line - 1]) numbers.children[line - 1].className = `cvm-number-${kind}`;
  }
  function place() {
    numbers.scrollTop = text.scrollTop;
    const all = text.value.split("\n");
    for (const [i, el] of [...marks.children].entries()) {
      const { line } = wrong[i];
      el.style.insetBlockStart = `${TOP_PX + (line - 1) * LINE_PX - text.scrollTop}px`;
      el.firstChild.style.insetInlineStart = `calc(${(all[line - 1] ?? "").replace(/\t/g, "  ").length + 2}ch + 8px - ${text.scrollLeft}px)`;
    }
  }
  /** Mark lines: `[{line, why, kind}]`. */
  function mark(now) {
    const same = JSON.stringify(now) === JSON.stringify(wrong);
    wrong = now;
    if (!same) { marks.replaceChildren(...now.map(({ why, kind }) => h("div", { className: `cvm-line-mark cvm-line-${kind}` }, h("span", {}, why ? `← ${why}` : "")))); paint(); }
    place();
  }
  /** Put a corrected line in the place of what stands there. */
  function correct(line, meant) {
    if (text.readOnly) return;
    text.setSelectionRange(...lineRange(text.value, line));
    insertText(text, meant);
  }

  const frame = h("div", { className: "cvm-editor" }, numbers, h("div", { className: "cvm-editor-page" }, marks, text));
  const side = h("div", { className: "cvm-compose-side" }, h("div", { className: "cvm-compose-from" }, upload, path, read), services, wanted);
  const el = h("div", { className: "cvm-compose" }, h("div", {}, frame, keys), side, remarks);
  let noted = "[]", offered = "";
  number();
  return {
    el, text, correct, keys,
    draw(offer) {
      const now = store.value("compose_file") ?? "";
      if (text.value !== now) text.value = now;
      number();
      const seen = store.state.seen ?? { services: [], wanted: [], optional: [], remarks: [] }, error = store.state.errors.compose_file;
      const slip = error?.fix ? [{ line: error.fix[0], why: error.fix[1], kind: "wrong" }] : error?.line ? [{ line: error.line, why: "", kind: "wrong" }] : [];
      mark([...slip, ...seen.remarks.map(([line, why]) => ({ line, why, kind: "odd" }))]);
      services.replaceChildren(...(seen.services.length ? [
        h("div", { className: "cvm-label" }, howMany(seen.services.length, "service")),
        h("ul", {}, ...seen.services.map(([name, image]) => h("li", {}, h("strong", {}, name), " ", h("span", { className: "cvm-code cvm-dim" }, image || "built")))),
      ] : []));
      const names = (list) => list.map((name) => h("button", { type: "button", className: "cvm-code cvm-offer", onclick: () => offer(name) }, name));
      const asks = JSON.stringify([seen.wanted, seen.optional]);
      if (asks !== offered) { // a button in them keeps the focus while nothing changes
        offered = asks;
        wanted.replaceChildren(...[
          seen.wanted.length ? h("div", {}, "The compose file needs these variables: ", ...names(seen.wanted)) : null,
          seen.optional.length ? h("div", { className: "cvm-help" }, "Has a default: ", ...names(seen.optional)) : null,
        ].filter(Boolean));
      }
      if (JSON.stringify(seen.remarks) !== noted) {
        noted = JSON.stringify(seen.remarks);
        remarks.replaceChildren(...seen.remarks.map(([line, why, meant, fixed]) => h("div", { className: "cvm-notice" }, h("button", { type: "button", className: "cvm-jump", onclick: () => this.line(line) }, `Line ${line}`), `: ${why}. ${meant} `, h("button", { type: "button", onclick: () => correct(line, fixed) }, "Correct it"))));
      }
    },
    line(number) {
      text.focus();
      text.setSelectionRange(...lineRange(text.value, number));
      text.scrollTop = LINE_PX * (number - 3); // two lines before it stay in sight
    },
    disable(off) { text.readOnly = off; for (const one of [upload, path, read]) one.disabled = off; for (const one of remarks.querySelectorAll("button:not(.cvm-jump)")) one.disabled = off; },
  };
}
