// What the fleet comes to, above its rows: how many CVMs of each status, which are filters too, and what they cost.
const CHIPS = [["running", "Running"], ["stopped", "Stopped"], ["failed", "Failed"]];
const HOURS_A_MONTH = 730, IDLE_S = 1800;

/** How many CVMs have each status, and how many idle. */
function countRows(store) {
  const counts = new Map();
  let idle = 0;
  for (const row of store.rows.values()) {
    counts.set(row.status, (counts.get(row.status) ?? 0) + 1);
    idle += row.idle >= IDLE_S;
  }
  return { counts, idle };
}

/** The condition that shows CVMs of these statuses alone, as somebody would type it. */
const ofStatus = (words) => ofValues("status", words);
/** Whether a condition is what a chip writes: one of them holds at a time. */
const isChips = (part) => valuesIn(part, ["status"]) !== null || part.startsWith("idle_for >= ");

const SVG = "http://www.w3.org/2000/svg", BAR_PX = 4, SPARK_PX = 20;

/** What each of the last 24 hours has cost, as bars in the ink of the text; pale where that is estimated. */
function costBars() {
  const el = document.createElementNS(SVG, "svg");
  el.setAttribute("class", "cvm-cost-bars");
  el.setAttribute("role", "img");
  el.setAttribute("height", SPARK_PX);
  let drawn = null;
  return {
    el,
    draw(spending) {
      el.toggleAttribute("hidden", !spending);
      if (!spending || spending === drawn) return;
      drawn = spending;
      const { bars, seen } = spending, most = Math.max(...bars, 1e-9), words = `Cost of each of the last ${howMany(bars.length, "hour")}: now ${usdText(bars.at(-1))} USD, at most ${usdText(most)}`;
      el.setAttribute("width", bars.length * BAR_PX);
      el.setAttribute("aria-label", words);
      const title = document.createElementNS(SVG, "title");
      title.textContent = `${words}${seen < bars.length ? ". Pale: estimated, before this kernel watched" : ""}`;
      el.replaceChildren(title, ...bars.map((bar, i) => {
        const rect = document.createElementNS(SVG, "rect"), height = Math.max(bar > 0 ? 1 : 0, (bar / most) * SPARK_PX);
        for (const [key, value] of Object.entries({ x: i * BAR_PX, y: SPARK_PX - height, width: BAR_PX - 1, height })) rect.setAttribute(key, value.toFixed(1));
        if (i < bars.length - seen) rect.setAttribute("class", "cvm-estimated");
        return rect;
      }));
    },
  };
}

/** The strip; `draw()` when rows, money or the filter have changed. `onFilter` gets the filter that a chip stands for. */
function summaryStrip(store, onFilter) {
  const chips = h("div", { className: "cvm-statuses", role: "group", "aria-label": "Filter by status" });
  const rate = h("strong", { className: "cvm-rate" }), today = h("span", {}), month = h("span", {}), credit = h("span", {}), bars = costBars();
  const el = h("div", { className: "cvm-summary" }, chips, h("div", { className: "cvm-money" }, bars.el, rate, today, month, credit));
  const made = new Map();
  function chip(key) {
    if (!made.has(key)) {
      const glyph = h("span", { className: "cvm-shape", "aria-hidden": "true" }), text = h("span", {});
      const button = h("button", { type: "button", className: "cvm-status-filter", onclick: () => onFilter(!button.value ? "" : withCondition(store.query, isChips, button.getAttribute("aria-pressed") === "true" ? "" : button.value)) }, glyph, text);
      made.set(key, { button, glyph, text });
      chips.append(button);
    }
    return made.get(key);
  }
  function drawChip(key, label, count, filter, query, always = false) {
    if (!made.has(key) && !always && !count) return;
    const { button, glyph, text } = chip(key);
    button.hidden = !count && !always;
    button.value = filter;
    button.dataset.status = key;
    button.setAttribute("aria-pressed", filter ? hasCondition(query, filter) : !query);
    const hint = key === "idle" ? ". Under 10 % of CPU for half an hour; what a GPU does is not seen" : "";
    button.title = filter ? `Show these alone: ${filter}${hint}` : "Show all";
    glyph.textContent = GLYPHS[key] ?? ({ moving: "◑", idle: "☾" }[key] ?? "");
    glyph.hidden = !glyph.textContent;
    text.textContent = `${label} ${count.toLocaleString("en-US")}`;
  }
  return {
    el,
    draw() {
      el.toggleAttribute("data-unknown", store.reading && !store.rows.size); // no figure is a fact before the first list
      const { counts, idle } = countRows(store), query = store.query.trim();
      drawChip("all", "All", store.rows.size, "", query, true);
      for (const [status, label] of CHIPS) drawChip(status, label, counts.get(status) ?? 0, ofStatus([status]), query, status === "running");
      drawChip("idle", "Idle", idle, `idle_for >= ${IDLE_S / 60}m`, query);
      const moving = [...counts.keys()].filter((status) => MOVING.has(status)).sort();
      drawChip("moving", "Changing", moving.reduce((sum, status) => sum + counts.get(status), 0), moving.length ? ofStatus(moving) : "", query);
      const usd = Number(store.totals.rate), left = store.credit === null ? null : Number(store.credit);
      rate.textContent = `${usdText(usd)} USD/h`;
      rate.title = `Charged now for ${store.rows.size === 1 ? "" : "all "}${howMany(store.rows.size, "CVM")} (${store.totals.rate}): what runs, and the disks of what is stopped`;
      bars.draw(store.spending);
      today.textContent = store.spending ? `${spentText(Number(store.spending.today), store.spending.observed)} USD today` : "";
      today.title = "Since midnight (UTC); when nobody watched, CVMs are taken to have been as they were next seen";
      month.textContent = usd > 0 ? `≈ ${usdText(usd * HOURS_A_MONTH)} USD/month` : "";
      month.title = `If nothing changes: ${HOURS_A_MONTH} hours at this rate`;
      const days = left !== null && usd > 0 ? Math.floor(left / usd / 24) : null;
      credit.textContent = left === null ? "" : `credit ${usdText(left)} USD${days === null ? "" : ` (${howMany(days, "day")})`}`;
      credit.title = "The workspace's balance, and how long it lasts at this rate";
      credit.classList.toggle("cvm-low", days !== null && days < 7);
    },
  };
}
