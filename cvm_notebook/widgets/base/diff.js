// A unified diff, line by line: what comes is marked, what goes is marked, and each says so to who does not see colours.

/** A box with the lines of a unified diff; it scrolls by the keyboard, too. */
function diffBox(lines, label) {
  const kind = (line) => (/^(\+\+\+|---|@@)/.test(line) ? "cvm-hunk" : line.startsWith("+") ? "cvm-plus" : line.startsWith("-") ? "cvm-minus" : "");
  return h("div", { className: "cvm-diff cvm-code", role: "region", "aria-label": label, tabIndex: 0 }, ...lines.map((line) => h("div", { className: kind(line) }, line || " ")));
}
