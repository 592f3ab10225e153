// The filter as conditions: what chips and facets write into its text, and read back from it.

/** Split a filter at its top level into what is joined by `and`, and what comes after that: order by, limit. */
function splitFilter(text) {
  const pieces = text.match(/'(?:[^']|'')*'|"(?:[^"]|"")*"|[()]|[^\s()'"]+|\s+|./g) ?? [], parts = [""];
  let depth = 0, either = false, tail = "";
  for (const [i, piece] of pieces.entries()) {
    const word = piece.toLowerCase();
    depth += (piece === "(") - (piece === ")");
    if (depth === 0 && (word === "order" || word === "limit")) { tail = pieces.slice(i).join("").trim(); break; }
    if (depth === 0 && word === "and") { parts.push(""); continue; }
    either ||= depth === 0 && word === "or";
    parts[parts.length - 1] += piece;
  }
  const all = parts.map((part) => part.trim()).filter(Boolean);
  return { parts: either ? [`(${all.join(" and ")})`] : all, tail };
}

/** The filter with a condition in the place of those that `isReplaced` selects; with an empty one, without them. */
function withCondition(text, isReplaced, condition) {
  const { parts, tail } = splitFilter(text), at = parts.findIndex(isReplaced), rest = parts.filter((part) => !isReplaced(part));
  if (condition) rest.splice(at < 0 ? rest.length : at, 0, condition);
  return [rest.join(" and "), tail].filter(Boolean).join(" ");
}

/** Whether one of a filter's conditions is exactly this. */
const hasCondition = (text, condition) => splitFilter(text).parts.includes(condition);

const quoteValue = (value) => `'${value.replaceAll("'", "''")}'`;
/** The condition that a column has one of these values, as somebody would type it. */
const ofValues = (column, values) => (!values.length ? "" : values.length === 1 ? `${column} = ${quoteValue(values[0])}` : `${column} in (${values.map(quoteValue).join(", ")})`);

const VALUE = String.raw`'(?:[^']|'')*'|"(?:[^"]|"")*"|[^\s()=<>!,'"]+`;
const EQUALS = new RegExp(String.raw`^(\w+)\s*==?\s*(${VALUE})$`), AMONG = new RegExp(String.raw`^(\w+)\s+in\s*\(\s*((?:${VALUE})(?:\s*,\s*(?:${VALUE}))*)\s*\)$`, "i");

/** The values that a condition allows a column of one of these names, or null where it is none of that shape. */
function valuesIn(condition, names) {
  const [, name, values] = condition.match(EQUALS) ?? condition.match(AMONG) ?? [];
  if (!name || !names.includes(name.toLowerCase())) return null;
  return values.match(new RegExp(VALUE, "g")).map((value) => (/^['"]/.test(value) ? value.slice(1, -1).replaceAll(value[0].repeat(2), value[0]) : value));
}

/** The values that a filter allows a column; none where it says nothing of it. */
const chosenValues = (text, names) => splitFilter(text).parts.map((part) => valuesIn(part, names)).find(Boolean) ?? [];
