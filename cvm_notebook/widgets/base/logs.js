// A log: what is asked for, and its lines; log_find.js finds in them. They come from strangers' programs, and are text.
//
//   view -> Python   log {do: sources | read | follow | stop | ack, container | channel | all, tail, since, n}
//   Python -> view   log {run, n, begin, lines: [[text, channel, ms, level, container]], dropped, state, text}
//                    log {sources: [[name, shown, readable]], of, text}

const LOG_KEPT = 5000, LOG_END_PX = 24;
const LOG_STATES = { idle: "", reading: "reading…", read: "", following: "following", stopped: "stopped", ended: "the log has ended", failed: "could not be read" };
const LOG_MARKS = { error: "E", warn: "W", info: "I", debug: "D" };
const SGR_COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
const MACHINE_LOGS = [["serial", "Serial console"], ["stdout", "Supervisor: stdout"], ["stderr", "Supervisor: stderr"]];

// --- what a line is --------------------------------------------------------------------------------------------------

/** Cut a text into pieces of one look: [[text, classes]]; its colours become classes of this widget. */
function ansiPieces(text) {
  let classes = new Set();
  const pieces = [];
  text.split(/(\u001b\[[0-9;]*m)/).forEach((part, i) => {
    if (i % 2 === 0) {
      if (part) pieces.push([part, [...classes].join(" ")]);
      return;
    }
    const codes = part.slice(2, -1).split(";").map(Number);
    for (let at = 0; at < codes.length; at++) {
      const code = codes[at];
      const colour = (name) => { classes = new Set([...classes].filter((one) => !one.startsWith("cvm-ansi-c"))); if (name) classes.add(`cvm-ansi-c-${name}`); };
      if (code === 0) classes = new Set();
      else if (code === 1) classes.add("cvm-ansi-bold");
      else if (code === 2) classes.add("cvm-ansi-faint");
      else if (code === 3) classes.add("cvm-ansi-italic");
      else if (code === 4) classes.add("cvm-ansi-under");
      else if (code === 22) { classes.delete("cvm-ansi-bold"); classes.delete("cvm-ansi-faint"); }
      else if (code === 23) classes.delete("cvm-ansi-italic");
      else if (code === 24) classes.delete("cvm-ansi-under");
      else if (code >= 30 && code <= 37) colour(SGR_COLOURS[code - 30]);
      else if (code >= 90 && code <= 97) colour(SGR_COLOURS[code - 90]);
      else if (code === 39) colour(null);
      else if (code === 38 || code === 48) at += codes[at + 1] === 5 ? 2 : 4; // of 256 or 16 million: left out
    }
  });
  return pieces;
}

const logClock = (ms) => `${clockTime(ms)}.${String(Math.floor(ms % 1000)).padStart(3, "0")}`;

/** Make a line of what Python says of it. */
function logLine([coded, channel, at, level, source]) {
  const pieces = ansiPieces(coded), body = h("span", { className: "cvm-line-text" });
  const el = h("div", { className: channel === "stderr" ? "cvm-line cvm-line-err" : "cvm-line", "data-level": level || null, "data-mark": LOG_MARKS[level] ?? null },
    at === null ? null : h("time", { className: "cvm-line-time", dateTime: new Date(at).toISOString(), title: new Date(at).toISOString() }, logClock(at)),
    source ? h("span", { className: "cvm-line-source", title: source }, source) : null, body);
  const line = { el, body, pieces, at, source, text: pieces.map(([text]) => text).join(""), hits: [] };
  drawLogText(line);
  return line;
}

/** Where a line belongs among others, by its time: behind those of the same moment. */
function placeOf(lines, at) {
  if (at === null) return lines.length;
  let low = 0, high = lines.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lines[middle].at !== null && lines[middle].at > at) high = middle;
    else low = middle + 1;
  }
  return low;
}

// --- the viewer ------------------------------------------------------------------------------------------------------

/**
 * The viewer of logs. `send(message)` gives a message to Python; `receive(message)` takes one of kind "log"; `open(which)`
 * asks which containers there are and reads the first, or a log of the machine that is named; `live(yes)` says whether
 * anything can be asked; `named(name)` says whose logs they are, for a file.
 */
function logPanel(send) {
  const source = h("select", { "aria-label": "Which log" });
  const tail = h("select", { "aria-label": "How many of the last lines" }, ...[100, 500, 1000, 5000].map((n) => h("option", { value: n }, `last ${n}`)));
  const since = h("input", { type: "text", className: "cvm-log-since", placeholder: "Since (15m)", "aria-label": "Only lines since, such as 15m or 2026-01-31T12:00Z", size: 12, maxLength: 40, spellcheck: false, autocomplete: "off" });
  const times = h("input", { type: "checkbox", checked: true }), wrap = h("input", { type: "checkbox" });
  const read = h("button", { type: "button", onclick: () => ask("read") }, "Refresh");
  const follow = h("button", { type: "button", className: "cvm-log-follow", "aria-pressed": "false", onclick: () => (running ? send({ kind: "log", do: "stop" }) : ask("follow")) }, "Follow");
  const state = h("span", { className: "cvm-log-state", role: "status" });
  const lines = h("div", { className: "cvm-log cvm-times", role: "log", "aria-live": "off", "aria-label": "Lines of the log", tabIndex: 0 });
  const toEnd = h("button", { type: "button", className: "cvm-log-end", hidden: true, onclick: () => resume() });
  const none = h("div", { className: "cvm-log-none cvm-dim", hidden: true });
  const count = h("span", { className: "cvm-log-count cvm-dim" });
  const finder = logFinder({ kept: () => kept, goTo: Object.assign(goTo, { first: firstInSight }), redraw(only) { lines.classList.toggle("cvm-only-hits", only); bottom(); } });
  const done = h("span", { className: "cvm-log-done", role: "status" });
  const save = h("button", { type: "button", title: "Save these lines as a file", onclick: () => { if (kept.length) saveText(`${whose ?? of}-${sourceName()}.log`, "text/plain;charset=utf-8", asText(true)); } }, "Download");
  const copy = h("button", { type: "button", title: "Copy these lines", onclick: async () => { done.textContent = (await copyText(asText(times.checked))) ? "Copied." : "This page may not copy."; } }, "Copy");
  const el = h("div", { className: "cvm-logs" },
    h("div", { className: "cvm-log-bar", role: "group", "aria-label": "What is read" }, source, tail, since, read, follow, state),
    h("div", { className: "cvm-log-bar", role: "group", "aria-label": "Find and show" }, finder.el, h("label", {}, times, " Timestamps"), h("label", {}, wrap, " Wrap lines")),
    h("div", { className: "cvm-log-frame" }, lines, none, toEnd),
    h("div", { className: "cvm-log-bar" }, count, save, copy, done));
  let kept = [], held = []; // the lines that are shown; and those that wait while somebody reads further up
  let run = -1, running = false, dropped = 0, stick = true, lastTop = 0, kernel = false, containers = [], opened = false, choosing = false, whose = null, of = "cvm", note = "";

  drawSources();
  wrap.addEventListener("change", () => { lines.classList.toggle("cvm-wrap", wrap.checked); bottom(); });
  times.addEventListener("change", () => lines.classList.toggle("cvm-times", times.checked));
  source.addEventListener("change", () => { choosing = false; ask(running ? "follow" : "read"); });
  tail.addEventListener("change", () => ask(running ? "follow" : "read"));
  since.addEventListener("keydown", (event) => { if (isPlain(event, "Enter")) { event.preventDefault(); ask(running ? "follow" : "read"); } });
  lines.addEventListener("scroll", () => scrolled());

  // --- which log ---
  function drawSources() {
    const chosen = source.value || "serial";
    const option = ([value, text, readable = true]) => h("option", { value, disabled: !readable }, readable ? text : `${text} (private)`);
    const each = containers.map(([name, text, readable]) => [`c:${name}`, text, readable]);
    if (containers.filter(([, , readable]) => readable).length > 1) each.unshift(["all", "All containers"]);
    source.replaceChildren(each.length ? h("optgroup", { label: "Containers" }, ...each.map(option)) : "", h("optgroup", { label: "Machine" }, ...MACHINE_LOGS.map(option)));
    source.value = chosen;
    if (source.selectedIndex < 0) source.value = "serial";
  }
  function chooseFirst() {
    choosing = false;
    const first = containers.find(([, , readable]) => readable);
    source.value = first ? `c:${first[0]}` : "serial";
    ask("read");
  }
  function ask(what) {
    if (!kernel) return;
    const value = source.value, which = value === "all" ? { all: true } : value.startsWith("c:") ? { container: value.slice(2) } : { channel: value };
    send({ kind: "log", do: what, ...which, tail: Number(tail.value), since: since.value });
  }
  const sourceName = () => source.value.replace(/^c:/, "").replace(/[^\w.-]+/g, "_");

  // --- its lines ---
  /** Note where somebody has scrolled to; lines may come before the event that tells of it, and would take them back. */
  function scrolled() {
    if (!lines.clientHeight) return; // it is not in sight
    const top = lines.scrollTop, atEnd = lines.scrollHeight - top - lines.clientHeight < LOG_END_PX;
    if (atEnd) { if (!stick) resume(); } else if (top < lastTop - 1) { stick = false; ended(); }
    lastTop = top;
  }
  function bottom() { if (stick) lines.scrollTop = lines.scrollHeight; lastTop = lines.scrollTop; ended(); }
  function ended() {
    toEnd.hidden = stick;
    const n = held.length;
    toEnd.textContent = running ? `⏸ paused, ${howMany(n, "new line")} · ↓ Resume` : "↓ Jump to end";
    if (!running) return;
    const words = `${stick ? LOG_STATES.following : "⏸ paused"}${note && `: ${note}`}`;
    if (state.textContent !== words) state.textContent = words; // it is read out when it changes
  }
  function resume() {
    stick = true;
    const waiting = held;
    held = [];
    if (waiting.length) take(waiting);
    bottom();
  }
  function take(got) {
    const made = got.map(logLine);
    for (const line of made) {
      const at = line.source ? placeOf(kept, line.at) : kept.length;
      lines.insertBefore(line.el, kept[at]?.el ?? null);
      kept.splice(at, 0, line);
    }
    const over = kept.splice(0, Math.max(0, kept.length - LOG_KEPT));
    for (const line of over) line.el.remove();
    dropped += over.length;
    finder.added(over.length ? made.filter((line) => line.el.parentNode) : made);
    if (over.length) finder.gone();
    counted();
    bottom();
  }
  function hold(got) {
    held.push(...got);
    const over = held.splice(0, Math.max(0, held.length - LOG_KEPT));
    dropped += over.length;
    ended();
  }
  function counted() {
    const n = kept.length;
    count.textContent = `${howMany(n, "line")}${dropped ? `, ${howMany(dropped, "older one")} dropped` : ""}`;
    save.disabled = copy.disabled = !n;
    done.textContent = "";
  }
  function asText(timed) {
    const all = [...kept, ...held.map(logLine)];
    return all.map(({ at, source: from, text }) => [timed && at !== null ? new Date(at).toISOString() : null, from || null, text].filter((one) => one !== null).join(" ")).join("\n") + "\n";
  }
  /** Bring a hit into sight, within the box alone; what comes meanwhile waits. */
  function goTo(hit) {
    const box = lines.getBoundingClientRect(), at = (hit.els[0] ?? hit.line.el).getBoundingClientRect();
    if (at.top < box.top + 8 || at.bottom > box.bottom - 8) lines.scrollTop += at.top - box.top - lines.clientHeight / 2;
    if (at.left < box.left + 8 || at.right > box.right - 8) lines.scrollLeft += at.left - box.left - lines.clientWidth / 3;
    if (lines.scrollHeight - lines.scrollTop - lines.clientHeight >= LOG_END_PX) stick = false;
    lastTop = lines.scrollTop;
    ended();
  }
  function firstInSight(hits) {
    const top = lines.getBoundingClientRect().top;
    return hits.find((hit) => hit.els[0]?.getBoundingClientRect().top >= top) ?? hits.at(-1);
  }

  // --- how it stands ---
  function showState(now, text) {
    running = now === "following" || (running && now === "reading");
    follow.setAttribute("aria-pressed", running);
    follow.textContent = running ? "Stop following" : "Follow";
    state.dataset.state = now;
    const word = LOG_STATES[now] ?? "";
    state.textContent = text ? [word, text].filter(Boolean).join(": ") : word;
    state.title = text ?? "";
    if (!running && held.length) { const waiting = held; held = []; take(waiting); }
    none.hidden = kept.length > 0 || now === "reading" || now === "failed";
    none.textContent = "No lines.";
    note = running ? text ?? "" : "";
    ended();
  }
  counted();
  return {
    el,
    named(name) { whose = String(name).replace(/[^\w.-]+/g, "_"); },
    open(which) {
      if (!kernel) return;
      if (which) { choosing = false; source.value = which; ask("read"); }
      if (opened) return;
      opened = true; choosing = !which;
      send({ kind: "log", do: "sources" });
    },
    live(yes) {
      kernel = yes;
      for (const control of [source, tail, since, read, follow]) control.disabled = !yes;
      if (!yes && running) showState("stopped", "the kernel does not respond");
    },
    receive(message) {
      if (message.sources) { containers = message.sources; of = message.of; drawSources(); if (choosing) chooseFirst(); return; }
      if (message.begin) { run = message.run; dropped = 0; stick = true; lastTop = 0; kept = []; held = []; lines.replaceChildren(); finder.gone(); counted(); }
      if (message.n !== undefined) send({ kind: "log", do: "ack", n: message.n });
      if (message.run !== undefined && message.run !== run) {
        // another view of the same log, or one that was opened again: what comes from now on is shown
        if (message.run < run) return;
        run = message.run;
      }
      dropped += message.dropped ?? 0;
      if (message.lines?.length) { scrolled(); if (running && !stick) hold(message.lines); else take(message.lines); }
      if (message.state) showState(message.state, message.text);
    },
    end: () => finder.end(),
  };
}
