// What every view uses. Joined in front of a view's own module; it exports nothing.
// Whatever comes from the service is text: textContent and setAttribute only, never markup.

/** Make an element. Properties by name; what is no property of it is set as an attribute. */
function h(tag, props = {}, ...kids) {
  const el = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) el.addEventListener(key.slice(2), value);
    else if (key in el && key !== "list") el[key] = value;
    else el.setAttribute(key, value);
  }
  el.append(...kids.filter((kid) => kid !== null && kid !== undefined));
  return el;
}

/** Only addresses that are plain https are links; anything else is shown as text. */
function safeLink(url, text) {
  let parsed = null;
  try { parsed = new URL(url); } catch { /* no address */ }
  const shown = text ?? url ?? "";
  if (!parsed || parsed.protocol !== "https:" || parsed.username || parsed.password) return h("span", {}, shown);
  const link = h("a", { href: parsed.href, target: "_blank", rel: "noopener noreferrer", title: parsed.href }, shown);
  link.addEventListener("click", (event) => event.stopPropagation());
  return link;
}

// What a status looks like: its glyph says as much as its colour, and its word says more. Which of them are MOVING, and
// which VERBS have a button, is written before this file from the tables of Python.
const GLYPHS = {
  running: "●", stopped: "■", failed: "✖", unknown: "?", gone: "○", deleting: "◌",
  provisioning: "◔", starting: "◑", restarting: "↻", stopping: "◧", shutting_down: "◧",
};

/** Mark an element with a status, and return the glyph that is to stand in it. */
function statusGlyph(el, status) {
  el.dataset.status = status;
  el.toggleAttribute("data-moving", MOVING.has(status));
  return h("span", { className: "cvm-shape", "aria-hidden": "true" }, GLYPHS[status] ?? (MOVING.has(status) ? "◌" : "?"));
}

// How up to date a fleet is, by the words of its health.
const HEALTH_MARKS = { live: "●", "catching up": "◑", offline: "✖", "needs a key": "⚠", paused: "◌", closed: "■" };

// How what was proven of a CVM is marked, by the word of the verdict.
const TRUST_MARKS = { VERIFIED: "✓", PARTIAL: "◐", SIMULATED: "⚠", FAILED: "✗" };

/** Draw how up to date what is shown is: by the fleet's health while the kernel answers, else as a snapshot of a moment. */
function drawHealth(badge, health, at, kernel) {
  const mode = kernel ? health?.state ?? "paused" : "gone", words = health?.text ?? "";
  const text = !kernel ? `disconnected: data of ${listedText(at)}; re-run the cell` : mode === "offline" || mode === "catching up" ? words.split(":").slice(0, 3).join(":") : mode === "needs a key" ? "sign in" : mode;
  const shown = `${HEALTH_MARKS[mode] ?? "○"} ${text}`;
  badge.dataset.state = mode;
  if (badge.textContent !== shown) badge.textContent = shown;
  badge.title = kernel ? words : "The kernel does not respond: this is not live, and actions are off.";
}

/** An age in one unit: 12 s, 3 min, 2 h, 4 d. */
function ageWords(seconds) {
  if (!(seconds >= 0)) return "";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  return `${Math.floor(seconds)} s`;
}

/** US dollars as people read them: whole ones from a thousand on, then cents, and two digits that count of less than a cent. */
function usdText(amount) {
  const size = Math.abs(amount);
  if (size >= 1000) return Math.round(amount).toLocaleString("en-US");
  return size >= 0.01 || size === 0 ? amount.toFixed(2) : amount.toLocaleString("en-US", { maximumSignificantDigits: 2 });
}
/** US dollars that were spent, which grow: less than a cent is not counted out; what is estimated says so. */
const spentText = (amount, observed = true) => (amount > 0 && amount < 0.01 ? "< 0.01" : `${observed ? "" : "≈ "}${usdText(amount)}`);

/** A number of things, with the word for one of them or for several. */
const howMany = (n, one, several = `${one}s`) => `${n.toLocaleString("en-US")} ${n === 1 ? one : several}`;

/** The time of day of a moment in ms, of 24 hours: 13:05:24. */
const clockTime = (ms) => new Date(ms).toLocaleTimeString("en-GB");
/** The day of a moment: 26 Nov 2026; without the year where that is clear. */
const dayText = (ms, year = true) => new Date(ms).toLocaleDateString("en-GB", { day: "numeric", month: "short", ...(year ? { year: "numeric" } : {}) });
/** A moment with its day, as every view writes it: 26 Nov 2026 13:05:24. */
const momentText = (ms) => `${dayText(ms)} ${clockTime(ms)}`;

/** A moment in a list: 13:05:24, of another day than today with its day, and of another year with that. */
function listedText(ms) {
  const at = new Date(ms), today = new Date();
  if (at.toDateString() === today.toDateString()) return clockTime(ms);
  return `${dayText(ms, at.getFullYear() !== today.getFullYear())} ${clockTime(ms)}`;
}

/** A number that nobody else makes: it distinguishes clicks, and the same click twice is one. */
const clickId = () => crypto.getRandomValues(new Uint32Array(2)).join("-");

const TEXT_FIELDS = "textarea, input:not([type=checkbox], [type=radio], [type=file])";
const TEXT_KEYS = new Set(["a", "c", "v", "x", "y", "z", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "Backspace", "Delete", "Insert"]);
const TEXT_SHIFT_KEYS = new Set(["v", "z", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "Delete", "Insert"]);

/** Whether a key is pressed with a modifier that makes it a shortcut; AltGr only writes another character. */
const isShortcut = (event) => (event.ctrlKey || event.metaKey || event.altKey) && !event.getModifierState?.("AltGraph");

/** Whether it is this key alone, without any modifier. */
const isPlain = (event, key) => event.key === key && !isShortcut(event) && !event.shiftKey;

/**
 * Whether a key pressed within a view is the view's own: the view has handled it, or it edits the text of a field, or it
 * has no modifier, and in Jupyter's command mode would act on the cell (d d, x, arrows). Shortcuts stay everybody's.
 */
function ownsKey(event) {
  if (event.defaultPrevented || !event.key) return true; // without a key: filled in by the browser
  const writes = event.target.matches(TEXT_FIELDS), key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (isShortcut(event)) return writes && !event.altKey && (event.shiftKey ? TEXT_SHIFT_KEYS : TEXT_KEYS).has(key);
  if (/^F\d+$/.test(key)) return false;
  return writes || !(event.shiftKey && key === "Enter");
}

/**
 * Keep the keys that are a view's own from Jupyter. It also listens on whatever is typed into for what a key is about to
 * do, and forbids to undo and to break a line in a cell: what is typed into a view is none of its business.
 */
function keepKeys(el) {
  el.addEventListener("keydown", (event) => { if (ownsKey(event)) event.stopPropagation(); });
  el.addEventListener("beforeinput", (event) => event.stopPropagation(), true);
}

/** Copy a text; where the page may not (no https), by a field that is selected. */
async function copyText(text) {
  try { await navigator.clipboard.writeText(text); return true; } catch { /* not allowed here */ }
  const field = h("textarea", { value: text });
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

/** Save a text as a file of the browser's. */
function saveText(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
