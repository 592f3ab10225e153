// What the fleet is charged over time, by app: an SVG that is drawn here of numbers, and the same numbers as tables.
//
//   Python -> view   section costs {window, start, end, step, since: ms, apps: [{name, other, cvms, rates, amount, charged}],
//                    amount, charged, observed: [share of each step], share, unpriced, stopped, stopped_charged}, or null
//   view -> Python   costs {window}

const COST_WINDOWS = [["24h", "24 h"], ["7d", "7 days"], ["30d", "30 days"]];
const PLOT = { height: 230, left: 54, right: 10, top: 10, bottom: 24, ahead: 0.2 };

/** Make an element of a picture. */
function drawing(tag, props = {}, ...kids) {
  const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(props)) el.setAttribute(key, value);
  el.append(...kids);
  return el;
}

/** Up to five round numbers from nothing to at least the highest. */
function roundSteps(highest) {
  const rough = (highest || 1) / 4, size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * size).find((one) => one >= rough);
  return Array.from({ length: Math.ceil((highest || 1) / step - 1e-9) + 1 }, (_, i) => i * step);
}

/** A moment in the words of a window: the time of day in one of a day, else the day. */
function momentWords(ms, window, whole = false) {
  const day = dayText(ms, false), time = clockTime(ms).slice(0, 5);
  return whole ? `${day} ${time}` : window === "24h" ? time : day;
}

function costsPage({ send }) {
  const buttons = COST_WINDOWS.map(([name, label]) => h("button", { type: "button", "data-window": name, "aria-pressed": false, onclick: () => send({ kind: "costs", window: name }) }, label));
  const sums = h("p", { className: "cvm-cost-sums" }), basis = h("p", { className: "cvm-dim" }), stopped = h("p", {});
  const picture = h("div", { className: "cvm-cost-plot", tabIndex: 0, role: "slider", "aria-label": "Cost over time: left and right arrows read the values" });
  const values = h("output", { className: "cvm-cost-values cvm-num", "aria-hidden": "true" });
  const apps = h("div", { className: "cvm-dashboard-rows" });
  const overTime = h("div", { className: "cvm-dashboard-rows", tabIndex: 0, role: "region", "aria-label": "Values over time" });
  const more = h("details", { ontoggle: () => drawValues() }, h("summary", {}, "Values over time"), overTime);
  const waiting = h("p", { className: "cvm-dim", role: "status" }, "Working out costs…");
  const shown = h("div", { hidden: true }, sums, picture, values, basis, apps, stopped, more);
  const el = h("div", { className: "cvm-costs" }, h("div", { className: "cvm-cost-windows", role: "group", "aria-label": "Window" }, ...buttons), waiting, shown);
  let costs = null, at = null, cursor = null, scale = null;
  const windowLabel = () => COST_WINDOWS.find(([name]) => name === costs.window)[1];
  const totalAt = (i) => costs.apps.reduce((sum, app) => sum + app.rates[i], 0);

  // --- the picture ---
  function area(base, rates) {
    const { x, y } = scale, top = rates.map((rate, i) => base[i] + rate);
    const up = top.flatMap((usd, i) => [`${x(i)} ${y(usd)}`, `${x(i + 1)} ${y(usd)}`]);
    const down = base.flatMap((usd, i) => [`${x(i)} ${y(usd)}`, `${x(i + 1)} ${y(usd)}`]).reverse();
    return [`M${up.join("L")}L${down.join("L")}Z`, top];
  }
  function axes(width, ticks) {
    const { x, y } = scale, n = costs.observed.length, marks = [];
    for (const usd of ticks) {
      marks.push(drawing("line", { class: "cvm-cost-grid", x1: PLOT.left, x2: width - PLOT.right, y1: y(usd), y2: y(usd) }));
      marks.push(Object.assign(drawing("text", { x: PLOT.left - 6, y: y(usd) + 4, "text-anchor": "end" }), { textContent: usdText(usd) }));
    }
    const count = width < 560 ? 3 : 6;
    for (let i = 0; i <= count; i += 1) {
      const step = (n * i) / count;
      marks.push(Object.assign(drawing("text", { x: x(step), y: PLOT.height - 6, "text-anchor": i ? "middle" : "start" }), { textContent: i === count ? "now" : momentWords(costs.start + step * costs.step, costs.window) }));
    }
    return marks;
  }
  /** Where most of a step was not observed, the areas are pale. */
  function unseen() {
    const runs = [];
    costs.observed.forEach((share, i) => {
      if (share >= 0.5) return;
      if (runs.at(-1)?.[1] === i) runs.at(-1)[1] = i + 1; else runs.push([i, i + 1]);
    });
    return runs.map(([from, to]) => drawing("rect", { class: "cvm-cost-unseen", x: scale.x(from), width: scale.x(to) - scale.x(from), y: PLOT.top, height: PLOT.height - PLOT.top - PLOT.bottom }));
  }
  function drawPicture() {
    const width = Math.max(280, picture.clientWidth || 0), n = costs.observed.length, now = Number(costs.charged);
    const ticks = roundSteps(Math.max(now, ...costs.observed.map((_, i) => totalAt(i)))), highest = ticks.at(-1);
    const across = (width - PLOT.left - PLOT.right) / (n * (1 + PLOT.ahead)), up = (PLOT.height - PLOT.top - PLOT.bottom) / highest;
    const round = (number) => Math.round(number * 10) / 10;
    scale = { across, x: (i) => round(PLOT.left + i * across), y: (usd) => round(PLOT.height - PLOT.bottom - usd * up) };
    let base = Array(n).fill(0);
    const areas = costs.apps.map((app, k) => {
      const [path, top] = area(base, app.rates);
      base = top;
      return drawing("path", { class: "cvm-cost-area", "data-place": app.other ? "other" : k, d: path });
    });
    const ahead = drawing("line", { class: "cvm-cost-ahead", x1: scale.x(n), x2: scale.x(n * (1 + PLOT.ahead)), y1: scale.y(now), y2: scale.y(now) });
    const end = drawing("line", { class: "cvm-cost-now", x1: scale.x(n), x2: scale.x(n), y1: PLOT.top, y2: PLOT.height - PLOT.bottom });
    cursor = drawing("line", { class: "cvm-cost-cursor", y1: PLOT.top, y2: PLOT.height - PLOT.bottom });
    picture.replaceChildren(drawing("svg", { width, height: PLOT.height, viewBox: `0 0 ${width} ${PLOT.height}`, "aria-hidden": "true" }, ...axes(width, ticks), ...areas, ...unseen(), ahead, end, cursor));
    point(at);
  }
  function point(i) {
    const n = costs.observed.length;
    at = i === null ? null : Math.max(0, Math.min(n - 1, i));
    cursor.style.display = at === null ? "none" : "";
    const index = at ?? n - 1, from = costs.start + index * costs.step;
    const parts = costs.apps.filter((app) => app.rates[index] > 0).map((app) => `${app.name} ${usdText(app.rates[index])}`);
    const text = `${momentWords(from, costs.window, true)}: ${usdText(totalAt(index))} USD/h${costs.observed[index] < 0.5 ? ", estimated" : ""}${parts.length ? ` · ${parts.join(", ")}` : ""}`;
    values.textContent = text;
    picture.setAttribute("aria-valuemin", 0); picture.setAttribute("aria-valuemax", n - 1);
    picture.setAttribute("aria-valuenow", index); picture.setAttribute("aria-valuetext", text);
    if (at !== null) for (const end of ["x1", "x2"]) cursor.setAttribute(end, scale.x(at + 0.5));
  }
  picture.addEventListener("pointermove", (event) => { if (scale) point(Math.floor((event.clientX - picture.getBoundingClientRect().left - PLOT.left) / scale.across)); });
  picture.addEventListener("pointerleave", () => { if (scale) point(null); });
  picture.addEventListener("keydown", (event) => {
    if (!costs || isShortcut(event)) return;
    const last = costs.observed.length - 1, now = at ?? last;
    const to = { ArrowLeft: now - 1, ArrowRight: now + 1, ArrowDown: now - 1, ArrowUp: now + 1, PageDown: now - 8, PageUp: now + 8, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    point(to);
  });

  // --- the same as text ---
  const cells = (names, kind = "td") => names.map((name, i) => h(kind, { className: i ? "cvm-num" : "", ...(kind === "th" ? { scope: "col" } : {}) }, name));
  function drawApps() {
    const all = Number(costs.amount), share = (usd) => (all ? `${Math.round((100 * usd) / all)} %` : "–");
    const line = (app, k) => h("tr", {}, h("th", { scope: "row" }, h("span", { className: "cvm-cost-key", "data-place": app.other ? "other" : k, "aria-hidden": "true" }), app.name),
      ...[app.cvms, usdText(Number(app.charged)), usdText(Number(app.amount)), share(Number(app.amount))].map((cell) => h("td", { className: "cvm-num" }, cell)));
    const cvms = costs.apps.reduce((sum, app) => sum + app.cvms, 0);
    apps.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, ...cells(["App", "CVMs", "USD/h now", `USD in ${windowLabel()}`, "Share"], "th"))),
      h("tbody", {}, ...costs.apps.map(line)),
      h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "Total"), ...[cvms, usdText(Number(costs.charged)), usdText(all), all ? "100 %" : "–"].map((cell) => h("td", { className: "cvm-num" }, cell))))));
  }
  function drawValues() {
    if (!more.open || !costs) return;
    const every = { "24h": 4, "7d": 12, "30d": 3 }[costs.window], mean = (rates, from) => rates.slice(from, from + every).reduce((sum, rate) => sum + rate, 0) / every;
    const lines = [];
    for (let from = 0; from + every <= costs.observed.length; from += every) {
      const rates = costs.apps.map((app) => mean(app.rates, from));
      lines.push(h("tr", {}, h("th", { scope: "row" }, momentWords(costs.start + from * costs.step, costs.window, true)), ...[rates.reduce((sum, rate) => sum + rate, 0), ...rates].map((rate) => h("td", { className: "cvm-num" }, usdText(rate)))));
    }
    overTime.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, ...cells(["From", "USD/h", ...costs.apps.map((app) => app.name)], "th"))), h("tbody", {}, ...lines)));
  }
  function drawText() {
    const rate = Number(costs.charged), off = Number(costs.stopped_charged);
    sums.replaceChildren(h("strong", {}, `${usdText(rate)} USD/h`), ` now · ${usdText(Number(costs.amount))} USD in the last ${windowLabel()} · ≈ ${usdText(rate * MONTH_H)} USD/month if nothing changes (dashed)`);
    stopped.textContent = costs.stopped ? `Stopped but billed: ${howMany(costs.stopped, "CVM")}, ${usdText(off)} USD/h (${usdText(off * MONTH_H)} USD/month) for their disks.` : "No stopped CVM is billed.";
    const seen = costs.share >= 0.9995 ? "Observed all of this time." : `Observed ${costs.share < 0.01 ? "less than 1" : Math.floor(costs.share * 100)} % of this time, since ${momentWords(costs.since, costs.window, true)}. Pale: estimated from each CVM's next known status, at current prices, from its creation on.`;
    basis.textContent = `${seen} Rates times time; fleet.bill() reads what was metered.${costs.unpriced ? ` ${howMany(costs.unpriced, "CVM")} without a known price not counted.` : ""}`;
  }
  function redraw() {
    if (!costs || !el.isConnected || !picture.clientWidth) return;
    drawPicture();
  }
  const sized = new ResizeObserver(redraw);
  sized.observe(picture);
  return {
    el,
    end() { sized.disconnect(); },
    draw(now, live) {
      for (const button of buttons) button.disabled = !live;
      if (!now || now === costs) return;
      if (costs && costs.window !== now.window) at = null;
      costs = now;
      waiting.hidden = true; shown.hidden = false;
      for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.window === costs.window);
      drawText(); drawApps(); drawValues(); redraw();
    },
  };
}
