// The table's view: filter, actions, health and totals around the grid.
const ACTIONS = [...VERBS.slice(0, -1), ["follow", "Watch closely"], ["logs", "Logs"], ...VERBS.slice(-1)], COPY_ENDPOINT = "Copy endpoint";

function renderTable({ model, el, host, store }) {
  const liveRegion = h("div", { className: "cvm-visually-hidden", role: "status", "aria-live": "polite" });
  const say = (text) => { liveRegion.textContent = text; };
  const send = (message) => store.live() && store.send(message);
  const confirm = confirmPanel(send);
  const notice = h("div", { className: "cvm-notice", role: "alert", hidden: true }), sign = signInPart(send);
  let logs = logPanel(send), logsOf = h("h4", {});
  const logsClose = h("button", { type: "button", onclick: () => closeLogs() }, "Close");
  const logsFrame = h("div", { className: "cvm-table-logs", hidden: true }, h("div", { className: "cvm-top" }, logsOf, logsClose), logs.el);
  function closeLogs() { send({ kind: "log", do: "stop" }); logsFrame.hidden = true; grid.grid.focus(); }
  function openLogs(name) {
    logs = logPanel(send);
    logsFrame.replaceChildren(logsFrame.firstChild, logs.el);
    logsOf.textContent = `Logs of ${name}`;
    logsFrame.hidden = false;
    logs.live(store.live());
    logs.open();
    logsClose.focus();
  }
  const offline = offlineBar(store, send, say);
  const grid = tableGrid(store, { say, onOpen: open, onMenu: (k, at) => rowMenu(k, at), onKey: (key, k) => keys[key]?.(k), onClear: () => filter("") });
  const toasts = toastStack(send, () => grid.grid.focus());
  grid.el.append(toasts.el);

  // --- the details of one CVM: its card, here or where a dashboard shows it ---
  const own = clickId(), details = detailsFrame({ model, host, store }, () => grid.grid.focus());
  function open(k) {
    if (!store.live()) { show("The kernel does not answer: the details cannot be shown."); return; }
    store.send({ kind: "open", ks: [k], view: own });
    queued();
  }
  function opened({ view, id, of, card }) {
    if (view !== own) return;
    answered();
    say(`The details of ${of} are shown below`);
    if (card) details.open(card, id, of);
    else focusCard(root.parentElement?.closest(".cvm") ?? root, id);
  }

  // --- the bar over the rows ---
  const find = h("input", { type: "search", className: "cvm-find", placeholder: "Search, or e.g. status = running and cost > 1", title: "Press / in the rows to come here", "aria-label": "Filter CVMs by words or by a condition", value: store.query });
  const wrong = h("div", { className: "cvm-fault cvm-table-wrong", role: "alert", hidden: true });
  const count = h("span", { className: "cvm-count" });
  const health = h("span", { className: "cvm-health", tabIndex: 0, role: "note" });
  const picker = columnPicker(store, send), menu = popupMenu("What can be done");
  const byApp = h("button", { type: "button", className: "cvm-by-app", "aria-pressed": "false", title: "CVMs under their apps", onclick: () => store.group(store.by === "app" ? "cvm" : "app") }, "By app");
  const takeAway = h("button", { type: "button", "aria-haspopup": "menu", onclick: () => exportMenu() }, "Export");
  function filter(text, typed) { find.value = text; grid.grid.scrollTop = 0; store.search(text, typed); }
  const summary = summaryStrip(store, filter), facets = facetButtons(store, send, filter), views = viewsButton(store, send, menu, { own, onFilter: (text) => filter(text, false) });
  find.addEventListener("input", () => filter(find.value));
  find.addEventListener("keydown", (event) => {
    if (isPlain(event, "Escape") && find.value) { filter(""); event.preventDefault(); }
    if (isPlain(event, "ArrowDown")) { grid.grid.focus(); event.preventDefault(); }
  });
  const below = (el) => { const { left, bottom } = el.getBoundingClientRect(); return { x: left, y: bottom }; };
  async function copy(text, what) { say((await copyText(text)) ? `${what} copied` : `${what} could not be copied`); }
  function warn(ks) { const lacks = lacksOf(store, ks); if (lacks) show(`The CSV is without ${lacks}.`); }
  function exportMenu() {
    const ks = grid.picked().length ? grid.picked() : grid.ks(), rows = howMany(ks.length, "CVM");
    menu.open(below(takeAway), [
      [`Save ${rows} as CSV`, () => { saveText("fleet.csv", "text/csv", asCsv(store, ks)); warn(ks); }],
      [`Copy ${rows} as CSV`, () => { copy(asCsv(store, ks), "CSV"); warn(ks); }],
      ["Copy as Python", () => copy(asPython(store, grid.picked()), "Python")],
    ]);
  }
  let endpoint = { k: null, url: null };
  function rowMenu(k, at) {
    const row = store.rows.get(k), live = store.live(), acts = live && !store.readOnly;
    if (!row) return; // it has gone, and is drawn until the next frame
    endpoint = { k, url: null };
    send({ kind: "endpoint", ks: [k] });
    menu.open(at, [
      ["Open", () => open(k), "Enter", !live],
      ["Logs", () => send({ kind: "logs", ks: [k] }), "l", !live],
      ...(store.console && row._uuid ? [["Open in console ↗", () => window.open(store.console + encodeURIComponent(row._uuid), "_blank", "noopener,noreferrer")]] : []),
      null,
      ...VERBS.map(([verb, label]) => [label, () => act(verb, [k]), verb === "delete" ? "danger" : verb === "stop" ? "s" : "", !acts]),
      null,
      ["Copy id", () => copy(row.id, "The id")],
      [COPY_ENDPOINT, () => copy(endpoint.url, "The endpoint"), "", true], // until the kernel has sent it
      ["Copy as Python", () => copy(asPython(store, [k]), "Python")],
    ]);
  }
  function help() {
    const keys = [["/", "Filter"], ["j k", "Down, up"], ["x", "Select"], ["Enter", "Open"], ["l", "Logs"], ["s", "Stop what is selected"], ["m", "Menu of the row"], ["Esc", "Select nothing"], ["?", "Show these keys"]];
    const { left, top } = grid.grid.getBoundingClientRect();
    menu.open({ x: left + 40, y: top + 40 }, keys.map(([key, what]) => [what, () => grid.grid.focus(), key]));
  }
  const keys = { "/": () => find.focus(), l: (k) => send({ kind: "logs", ks: [k] }), s: (k) => (hiddenOnes().length ? say(pickedWords()) : act("stop", grid.picked().length ? grid.picked() : [k])), "?": help };

  // --- the bar under the rows: a message there moves no row ---
  const buttons = ACTIONS.map(([verb, label]) => h("button", {
    type: "button", className: verb === "delete" ? "cvm-danger" : "", "data-verb": verb, disabled: true, onclick: () => asked(verb),
  }, label));
  const picked = h("span", {}), costs = h("span", {});
  const unhide = h("button", { type: "button", className: "cvm-plain", hidden: true, onclick: () => filter(""), title: "Clear the filter" }, "Show");
  const unpick = h("button", { type: "button", className: "cvm-plain", hidden: true, onclick: () => store.select(hiddenOnes().length ? grid.picked() : []) }, "Clear");
  /** What is selected and hidden by the filter: no action is possible until it is shown, or selected no more. */
  function hiddenOnes() { const shown = new Set(grid.ks()); return [...store.selected].filter((k) => !shown.has(k)); }
  function pickedWords() {
    const all = store.selected.size, hidden = hiddenOnes().length;
    if (!all) return "Select CVMs to enable actions";
    return `${all} selected${!hidden ? "" : hidden === all ? ", hidden by the filter" : `, ${hidden} of them hidden by the filter`}`;
  }
  const bar = h("div", { className: "cvm-bar", role: "toolbar", "aria-label": "What to do with the selected CVMs" }, h("span", { className: "cvm-picked" }, picked, costs), unhide, unpick, ...buttons);
  function act(verb, ks) {
    notice.hidden = true;
    if (!store.live()) return;
    store.act(verb, ks);
    queued();
  }
  function asked(verb) {
    const ks = grid.picked();
    if (verb === "follow") send({ kind: "follow", ks, on: !ks.every((k) => store.followed.has(k)) });
    else if (verb === "logs") send({ kind: "logs", ks: ks.slice(0, 1) });
    else act(verb, ks);
  }
  const noUndo = { show() {}, hide() {} }; // the toasts show what was sent
  const { show, answer, queued, answered } = answers({ confirm, undo: noUndo, notice, say });

  const root = h("section", { className: "cvm cvm-table", "aria-label": "Fleet" },
    summary.el, h("div", { className: "cvm-top" }, find, ...facets.buttons, byApp, views.button, picker.el, takeAway, h("div", { className: "cvm-totals" }, count, health)), sign.el, wrong,
    offline.el, grid.el, h("div", { className: "cvm-foot" }, notice, confirm.el, bar), details.el, logsFrame, menu.el, facets.list, views.ask, liveRegion);
  const tall = () => { grid.grid.style.maxBlockSize = `${model.get("height")}px`; };
  tall();
  model.on("change:height", tall);

  // --- what changes ---
  function drawHead() {
    const { rows, found } = store, query = store.query.trim();
    summary.draw();
    const selected = grid.picked(), hidden = hiddenOnes();
    const n = grid.ks().length, kernel = store.live(), closed = store.health.state === "closed";
    facets.draw(kernel); views.draw(kernel);
    byApp.setAttribute("aria-pressed", store.by === "app");
    byApp.disabled = !kernel;
    const sum = (ks) => ks.reduce((all, k) => all + Number(rows.get(k).charged_usd_h ?? 0), 0), priced = store.columns.some((column) => column.name === "charged_usd_h");
    count.textContent = n === rows.size ? "" : `showing ${n.toLocaleString("en-US")} of ${rows.size.toLocaleString("en-US")}${priced && n ? ` · ${usdText(sum(grid.ks()))} USD/h` : ""}`;
    wrong.hidden = !found?.error;
    wrong.textContent = found?.error ?? "";
    find.setAttribute("aria-invalid", Boolean(found?.error));
    count.classList.toggle("cvm-waiting", Boolean(query) && !found && LANGUAGE.test(query));
    drawHealth(health, store.health, store.at, kernel);
    sign.draw(store.health, kernel);
    root.toggleAttribute("data-offline", offline.draw());
    const charged = sum(selected);
    costs.textContent = selected.length && charged ? ` · ${usdText(charged)} USD/h` : "";
    picked.textContent = pickedWords();
    picked.title = hidden.slice(0, 20).map((k) => store.rows.get(k)?.name).filter(Boolean).join(", ");
    unhide.hidden = !hidden.length;
    unpick.hidden = !store.selected.size;
    unpick.title = hidden.length ? "Deselect what the filter hides" : "Deselect all";
    for (const button of buttons) {
      const verb = button.dataset.verb, changes = !["follow", "logs"].includes(verb);
      button.disabled = !kernel || closed || !selected.length || hidden.length > 0 || (changes && store.readOnly) || (verb === "logs" && selected.length !== 1);
      button.title = !kernel ? "The kernel does not answer" : closed ? "This fleet is closed: re-run the cell that makes it" : hidden.length ? `${picked.title} hidden by the filter: show or deselect first` : !selected.length ? "Select one or more CVMs first" : changes && store.readOnly ? "This client is read-only"
        : verb === "logs" && selected.length !== 1 ? "Select one CVM to see its logs" : `${button.textContent} ${selected.length} selected`;
      if (verb === "follow") button.textContent = selected.length && selected.every((k) => store.followed.has(k)) ? "Stop watching" : "Watch closely";
    }
  }
  function announce(changed) {
    for (const [k, names] of changed) {
      const row = store.rows.get(k);
      if (row && (names.has("status") || names.has("raw")) && (store.selected.has(k) || changed.size <= 3)) say(`${row.name || row.id} is ${statusWords(row)}`);
    }
  }
  function acts(message) {
    if (answer(message) || sign.receive(message)) return;
    if (message.kind === "logs") openLogs(message.of);
    else if (message.kind === "opened") opened(message);
    else if (message.kind === "log") logs.receive(message);
    else if (message.kind === "endpoint") { if (message.k === endpoint.k) { endpoint.url = message.url; menu.enable(COPY_ENDPOINT, Boolean(message.url)); } }
    else if (message.kind === "facet") facets.receive(message);
    else if (message.kind === "look") views.receive(message);
  }
  function update(what) {
    if (find.value !== store.query) find.value = store.query;
    if (what.columns) { grid.columns(); picker.draw(); }
    if (what.message) acts(what.message);
    if ("live" in what) { logs.live(what.live); toasts.live(what.live); }
    if (what.message?.toasts || what.message?.kind === "toasts") toasts.draw(store.toasts);
    if (what.changed) {
      const turned = [...what.changed].filter(([, names]) => names.has("status") || names.has("raw")).map(([k]) => k);
      grid.flash(turned);
      announce(what.changed);
    }
    const sorting = what.changed && store.sort && [...what.changed.values()].some((names) => names.has(store.sort.name));
    grid.queue(Boolean(what.shape || sorting || (what.changed && ((store.isGrouped() && regroups(what.changed)) || (store.query && !store.found)))));
    headLater();
  }
  let drawing = 0;
  function headLater() { drawing ||= requestAnimationFrame(() => { drawing = 0; requestAnimationFrame(drawHead); }); }
  const clock = setInterval(() => { if (el.isConnected && !document.hidden) grid.queue(); }, 1000);

  if (store.columns.length) { grid.columns(); picker.draw(); }
  toasts.draw(store.toasts);
  grid.queue(true); headLater();
  return store.mount(el, root, update, () => {
    clearInterval(clock); cancelAnimationFrame(drawing); answered(); menu.el.remove(); toasts.end(); offline.end(); model.off("change:height", tall); grid.end(); details.end();
  });
}

/** The card of one CVM under the table; the card is a widget of its own. */
function detailsFrame(place, onClose) {
  const title = h("h4", {}), box = h("div", {}), close = h("button", { type: "button", onclick: () => { drop(); onClose(); } }, "Close the details");
  const el = h("div", { className: "cvm-table-details", role: "region", "aria-label": "Details of one CVM", hidden: true }, h("div", { className: "cvm-top" }, title, close), box);
  let view = null, turn = 0;
  function drop() { turn += 1; view?.remove(); view = null; box.replaceChildren(); el.hidden = true; }
  return {
    el, end: drop,
    async open(card, id, of) {
      drop();
      const thisTurn = turn, made = await hostedView(place, card, box);
      if (thisTurn !== turn || !made) { made?.remove(); return; }
      view = made;
      title.textContent = `Details of ${of}`;
      el.hidden = false;
      close.focus();
      focusCard(box, id);
    },
  };
}

/** Put the focus on the name in the card of a CVM as soon as that is drawn, if it is within five seconds. */
function focusCard(within, id) {
  function focused() {
    const card = [...within.querySelectorAll("[data-cvm]")].find((one) => one.dataset.cvm === id && one.checkVisibility());
    if (!card) return false;
    card.scrollIntoView({ block: "nearest" });
    card.querySelector("h3").focus({ preventScroll: true });
    return true;
  }
  if (focused()) return;
  const drawn = new MutationObserver(() => { if (focused()) end(); }), late = setTimeout(end, 5000);
  function end() { drawn.disconnect(); clearTimeout(late); }
  drawn.observe(within, { childList: true, subtree: true, attributes: true, attributeFilter: ["hidden", "data-cvm"] });
}

export default liveWidget(renderTable, tableStore);
