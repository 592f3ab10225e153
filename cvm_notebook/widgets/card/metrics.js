// How busy the CVM was, over the time that the fleet has kept: a chart each for CPU, memory and disk.
//
//   view -> Python   metrics {}: when the charts are looked at, and again after each measurement
//   Python -> view   metrics {points: [[ms, cpu, memory, disk, joined]], sizes: {cpu, memory, disk}, state}

const CHARTS = [["cpu", "CPU", 1], ["memory", "Memory", 2], ["disk", "Disk", 3]];
const CHART_SPANS = [[900, "15 min"], [3600, "1 h"], [21600, "6 h"], [86400, "24 h"]];
const CHART = { height: 118, left: 52, right: 14, top: 8, bottom: 20 };
const TICK_STEPS_S = [60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600];
const JOINED = 4;

/** Make an element of a drawing. */
function drawing(tag, props = {}, ...kids) {
  const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(props)) if (value !== null) el.setAttribute(key, value);
  el.append(...kids);
  return el;
}

const percent = (share) => `${share > 0 && share < 0.095 ? (share * 100).toFixed(1) : Math.round(share * 100)} %`;
const minuteTime = (ms) => clockTime(ms).slice(0, 5);

/** How much a share is of what there is: 1.4 of 24 vCPUs, 71 of 192 GB. */
function ofWords(name, share, size) {
  if (!size) return "";
  const digits = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
  if (name === "cpu") return `${(share * size).toFixed(2)} of ${howMany(size, "vCPU")}`;
  return `${digits((share * size) / 2 ** 30)} of ${digits(size / 2 ** 30)} GB`;
}

/** The present, the mean over time and the highest of what is shown of one line; null where there is nothing. */
function inShort(points, place) {
  const measured = points.filter((point) => point[place] !== null);
  if (!measured.length) return null;
  let weight = 0, sum = 0, highest = 0;
  measured.forEach((point, i) => {
    const lasted = i && point[JOINED] ? point[0] - measured[i - 1][0] : 30000;
    weight += lasted; sum += lasted * point[place]; highest = Math.max(highest, point[place]);
  });
  return { now: measured.at(-1)[place], mean: sum / weight, highest };
}

/** One chart: `draw(points, {from, to, width, size})`; `point(at)` marks a moment, or none. */
function lineChart([name, label, place]) {
  const figures = h("span", { className: "cvm-chart-figures" }), box = h("div", { className: "cvm-chart-box" });
  const el = h("figure", { className: "cvm-chart" }, h("figcaption", {}, h("strong", {}, label), " ", figures), box);
  let x = () => 0, y = () => 0, cursor = null, dot = null;
  return {
    el,
    at: (clientX, points) => {
      const left = box.getBoundingClientRect().left;
      let best = -1, distance = Infinity;
      points.forEach((point, i) => { const away = Math.abs(x(point[0]) - (clientX - left)); if (away < distance) { best = i; distance = away; } });
      return best;
    },
    draw(points, { from, to, width, size, running }) {
      const short = inShort(points, place), { height, left, right, top, bottom } = CHART;
      const words = short ? `${running ? `${percent(short.now)} now${size ? ` (${ofWords(name, short.now, size)})` : ""}` : `${percent(short.now)} last`} · mean ${percent(short.mean)} · highest ${percent(short.highest)}` : "no values";
      if (figures.textContent !== words) figures.textContent = words;
      const highest = short?.highest ?? 0; // of one that does little, what it does is seen
      const most = name === "cpu" && highest <= 0.5 ? (highest <= 0.1 ? 0.1 : 0.5) : Math.max(1, Math.ceil(highest * 10) / 10);
      x = (ms) => left + ((ms - from) / (to - from)) * Math.max(1, width - left - right);
      y = (share) => height - bottom - (share / most) * (height - top - bottom);
      const svg = drawing("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${label} from ${minuteTime(from)} to ${minuteTime(to)}: ${words}` });
      for (const share of [0, most / 2, most]) {
        svg.append(drawing("line", { class: "cvm-chart-grid", x1: left, x2: width - right, y1: y(share), y2: y(share) }),
          drawing("text", { class: "cvm-chart-tick", x: left - 6, y: y(share) + 4, "text-anchor": "end" }, percent(share)));
      }
      const room = Math.max(2, Math.floor((width - left - right) / 90)), step = 1000 * (TICK_STEPS_S.find((one) => (to - from) / 1000 / one <= room) ?? 43200);
      const zone = new Date(to).getTimezoneOffset() * 60000;
      for (let at = Math.ceil((from - zone) / step) * step + zone; at <= to; at += step) {
        svg.append(drawing("line", { class: "cvm-chart-grid", x1: x(at), x2: x(at), y1: height - bottom, y2: height - bottom + 4 }),
          drawing("text", { class: "cvm-chart-tick", x: Math.min(x(at), width - right - 14), y: height - 4, "text-anchor": "middle" }, minuteTime(at)));
      }
      let path = "", before = null;
      for (const point of points) {
        if (point[place] === null) { before = null; continue; }
        const here = `${x(point[0]).toFixed(1)} ${y(point[place]).toFixed(1)}`;
        path += before && point[JOINED] ? `L${here}` : `M${here}h0.01`; // one alone is a dot
        before = point;
      }
      cursor = drawing("line", { class: "cvm-chart-cursor", y1: top, y2: height - bottom, visibility: "hidden" });
      dot = drawing("circle", { class: "cvm-chart-dot", r: 3.5, visibility: "hidden" });
      svg.append(drawing("path", { class: "cvm-chart-line", d: path }), cursor, dot);
      box.replaceChildren(svg);
    },
    point(point) {
      if (!cursor) return;
      cursor.setAttribute("visibility", point ? "visible" : "hidden");
      dot.setAttribute("visibility", point && point[place] !== null ? "visible" : "hidden");
      if (!point) return;
      cursor.setAttribute("x1", x(point[0])); cursor.setAttribute("x2", x(point[0]));
      dot.setAttribute("cx", x(point[0])); dot.setAttribute("cy", y(point[place] ?? 0));
    },
  };
}

/** The charts. `need()` when they are looked at, `draw(state)` with the card's state, `receive(message)`. */
function metricsPanel({ send, live, more }) {
  const span = h("select", { "aria-label": "How far back", onchange: () => plot() }, ...CHART_SPANS.map(([seconds, label]) => h("option", { value: seconds }, label)));
  const since = h("span", { className: "cvm-dim" }), note = h("p", { className: "cvm-chart-note", hidden: true });
  const charts = CHARTS.map(lineChart), readout = h("div", { className: "cvm-chart-readout", role: "status" });
  const frame = h("div", { className: "cvm-charts", role: "group", tabIndex: 0, "aria-label": "Charts. Left and Right read the values" }, ...charts.map(({ el }) => el));
  const bar = h("div", { className: "cvm-chart-bar" }, h("label", {}, "Last ", span), since), el = h("div", { className: "cvm-metrics" }, note, bar, frame, readout, more);
  let all = [], shown = [], sizes = {}, state = null, wanted = false, chosen = -1, asked = null, chosenSpan = false;

  function ask() { if (live()) { asked = state?.stats?.at ?? null; send({ kind: "metrics" }); } }
  const inSight = () => el.isConnected && !el.closest("[hidden]") && !document.hidden;
  function plot() {
    if (!inSight()) return;
    const to = Math.max(Date.now() - 86400000, all.at(-1)?.[0] ?? Date.now()), from = to - 1000 * Number(span.value), width = Math.max(240, frame.clientWidth - 4);
    shown = all.filter((point) => point[0] >= from);
    for (const [i, chart] of charts.entries()) chart.draw(shown, { from, to, width, size: sizes[CHARTS[i][0]], running: state?.running });
    choose(chosen < shown.length ? chosen : -1);
  }
  function choose(place) {
    chosen = place;
    const point = shown[place] ?? null;
    for (const chart of charts) chart.point(point);
    const values = point && CHARTS.filter(([, , at]) => point[at] !== null).map(([name, label, at]) => `${label} ${percent(point[at])}${sizes[name] ? ` (${ofWords(name, point[at], sizes[name])})` : ""}`);
    const words = point ? `${clockTime(point[0])}: ${values.join(" · ") || "no values"}` : "Point at a chart, or use the arrow keys, to read its values.";
    if (readout.textContent !== words) readout.textContent = words;
  }
  frame.addEventListener("pointermove", (event) => choose(charts[0].at(event.clientX, shown)));
  frame.addEventListener("pointerleave", () => choose(-1));
  frame.addEventListener("keydown", (event) => {
    if (isShortcut(event) || !shown.length) return;
    const last = shown.length - 1, to = { ArrowRight: Math.min(last, chosen + 1), ArrowLeft: chosen < 0 ? last : Math.max(0, chosen - 1), Home: 0, End: last, Escape: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to);
  });
  const sized = new ResizeObserver(() => requestAnimationFrame(plot));
  sized.observe(el);

  function words() {
    const { stats = {}, running, gone } = state ?? {};
    if (stats.state === "private") return `${stats.error} Nobody can read them, you included, until its visibility is changed; then anyone with the app id can.`;
    if (stats.error) return stats.error;
    if (gone) return all.length ? null : "Deleted: no metrics are kept.";
    if (!running) return all.length ? "Not running. These are from before." : "Not running: no metrics.";
    return all.length ? null : "Loading metrics…";
  }
  function drawn() {
    const text = words();
    note.hidden = !text;
    if (note.textContent !== (text ?? "")) note.textContent = text ?? "";
    bar.hidden = frame.hidden = readout.hidden = !all.length;
    since.textContent = all.length ? `Measured since ${momentText(all[0][0])}, twice a minute while somebody looks; after 15 minutes as means of 5 minutes.` : "";
  }
  return {
    el,
    need() { wanted = true; ask(); requestAnimationFrame(plot); },
    leave() { wanted = false; },
    draw(now) {
      state = now;
      drawn();
      if (wanted && inSight() && (now.stats?.at ?? null) !== asked) ask();
    },
    receive(message) {
      all = message.points; sizes = message.sizes;
      if (!chosenSpan && all.length) { // as much as there is
        chosenSpan = true;
        const age = (all.at(-1)[0] - all[0][0]) / 1000;
        span.value = (CHART_SPANS.find(([seconds]) => seconds >= age) ?? CHART_SPANS.at(-1))[0];
      }
      drawn();
      plot();
    },
    end() { sized.disconnect(); },
  };
}
