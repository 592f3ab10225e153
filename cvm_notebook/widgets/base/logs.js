// A log: what is asked for, and its lines; they come from strangers' programs, and are text.
//
//   view -> Python   log {do: sources | read | follow | stop | ack, container, channel, tail, since, timestamps, n}
//   Python -> view   log {run, n, begin, lines: [[text, channel]], dropped, state, text} | log {sources: [[name, shown]]}

const LOG_KEPT = 5000;
const LOG_STATES = { idle: "", reading: "reading…", read: "read", following: "following", stopped: "stopped", ended: "the log has ended", failed: "could not be read" };
const SGR_COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

/** Append a line; its colours become classes of ours. */
function appendAnsi(el, text) {
  let classes = new Set();
  text.split(/(\u001b\[[0-9;]*m)/).forEach((part, i) => {
    if (i % 2 === 0) {
      if (part) el.append(classes.size ? h("span", { className: [...classes].join(" ") }, part) : part);
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
}

/**
 * The viewer of logs. `send(message)` gives a message to Python; `heard(message)` takes one of kind
 * "log"; `open()` asks which containers there are and reads; `live(yes)` says whether anything can be asked.
 */
function logPanel(send) {
  const sources = [["serial", "Serial console"], ["stdout", "Supervisor: stdout"], ["stderr", "Supervisor: stderr"]];
  const source = h("select", { "aria-label": "Which log" });
  const tail = h("select", { "aria-label": "How many of the last lines" }, ...[100, 500, 1000, 5000].map((n) => h("option", { value: n }, `last ${n}`)));
  const since = h("input", { type: "text", className: "cvm-log-since", placeholder: "since, e.g. 15m", "aria-label": "Only lines since, such as 15m or 2026-01-31T12:00Z", size: 12, maxLength: 40, spellcheck: false, autocomplete: "off" });
  const times = h("input", { type: "checkbox" }), wrap = h("input", { type: "checkbox" });
  const read = h("button", { type: "button", onclick: () => ask("read") }, "Read");
  const follow = h("button", { type: "button", className: "cvm-log-follow", "aria-pressed": "false", onclick: () => (running ? send({ kind: "log", do: "stop" }) : ask("follow")) }, "Follow");
  const find = h("input", { type: "search", className: "cvm-log-find", placeholder: "show lines with…", "aria-label": "Show only lines that contain", maxLength: 200, spellcheck: false });
  const state = h("span", { className: "cvm-log-state", role: "status" });
  const lines = h("div", { className: "cvm-log", role: "log", "aria-live": "off", "aria-label": "Lines of the log", tabIndex: 0 });
  const toEnd = h("button", { type: "button", className: "cvm-log-end", hidden: true, onclick: () => { stick = true; bottom(); } }, "↓ newest");
  const none = h("div", { className: "cvm-log-none cvm-dim", hidden: true });
  const el = h("div", { className: "cvm-logs" },
    h("div", { className: "cvm-log-bar", role: "group", "aria-label": "What is read" }, source, tail, since, h("label", {}, times, " times"), read, follow, state),
    h("div", { className: "cvm-log-frame" }, lines, none, toEnd),
    h("div", { className: "cvm-log-bar" }, find, h("label", {}, wrap, " wrap"), h("span", { className: "cvm-log-count cvm-dim" })));
  const count = el.querySelector(".cvm-log-count");
  let run = -1, running = false, dropped = 0, stick = true, kernel = false, containers = [], opened = false, shown = 0;

  drawSources();
  wrap.addEventListener("change", () => lines.classList.toggle("cvm-wrap", wrap.checked));
  find.addEventListener("input", () => { shown = 0; for (const line of lines.children) shown += match(line); counted(); bottom(); });
  for (const input of [source, tail, times]) input.addEventListener("change", () => ask(running ? "follow" : "read"));
  since.addEventListener("keydown", (event) => { if (isPlain(event, "Enter")) { event.preventDefault(); ask(running ? "follow" : "read"); } });
  lines.addEventListener("scroll", () => {
    stick = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 24;
    toEnd.hidden = stick;
  });

  function drawSources() {
    const chosen = source.value || "serial";
    const option = ([value, text]) => h("option", { value }, text);
    source.replaceChildren(h("optgroup", { label: "Machine" }, ...sources.map(option)));
    if (containers.length) source.append(h("optgroup", { label: "Containers" }, ...containers.map(([name, text]) => option([`c:${name}`, text]))));
    source.value = chosen;
    if (source.selectedIndex < 0) source.value = "serial";
  }
  function ask(what) {
    if (!kernel) return;
    const which = source.value.startsWith("c:") ? { container: source.value.slice(2) } : { channel: source.value };
    send({ kind: "log", do: what, ...which, tail: Number(tail.value), since: since.value, timestamps: times.checked });
  }
  const match = (line) => { const hit = !find.value || line.textContent.toLowerCase().includes(find.value.toLowerCase()); line.hidden = !hit; return hit; };
  const bottom = () => { if (stick) lines.scrollTop = lines.scrollHeight; toEnd.hidden = stick; };
  function counted() {
    const kept = lines.childElementCount;
    count.textContent = find.value ? `${shown} of ${kept} lines` : `${kept} lines${dropped ? `, ${dropped} older ones dropped` : ""}`;
  }
  function take(got) {
    const made = document.createDocumentFragment();
    for (const [text, channel] of got) {
      const line = h("div", { className: channel === "stderr" ? "cvm-line cvm-line-err" : "cvm-line" });
      appendAnsi(line, text);
      shown += match(line);
      made.append(line);
    }
    lines.append(made);
    while (lines.childElementCount > LOG_KEPT) { if (!lines.firstChild.hidden) shown--; lines.firstChild.remove(); dropped++; }
    counted();
    bottom();
  }
  function told(now, text) {
    running = now === "following" || (running && now === "reading");
    follow.setAttribute("aria-pressed", running);
    follow.textContent = running ? "Stop following" : "Follow";
    state.dataset.state = now;
    state.textContent = text ? `${LOG_STATES[now] ?? ""}: ${text}` : LOG_STATES[now] ?? "";
    state.title = text ?? "";
    none.hidden = lines.childElementCount > 0 || now === "reading" || now === "failed";
    none.textContent = "No lines.";
  }
  return {
    el,
    open() { if (opened || !kernel) return; opened = true; send({ kind: "log", do: "sources" }); ask("read"); },
    live(yes) {
      kernel = yes;
      for (const control of [source, tail, since, times, read, follow]) control.disabled = !yes;
      if (!yes && running) told("stopped", "the kernel does not answer");
    },
    heard(message) {
      if (message.sources) { containers = message.sources; drawSources(); return; }
      if (message.begin) { run = message.run; dropped = 0; shown = 0; stick = true; lines.replaceChildren(); counted(); }
      if (message.n !== undefined) send({ kind: "log", do: "ack", n: message.n });
      if (message.run !== undefined && message.run !== run) {
        // another view of the same log, or one that was opened again: what comes from now on is shown
        if (message.run < run) return;
        run = message.run;
      }
      dropped += message.dropped ?? 0;
      if (message.lines?.length) take(message.lines);
      if (message.state) told(message.state, message.text);
    },
  };
}
