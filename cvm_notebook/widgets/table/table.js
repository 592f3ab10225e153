// The table's view: filter, actions, health and totals around the grid.
const ACTIONS = [...VERBS.slice(0, -1), ["follow", "Follow"], ["logs", "Logs"], ...VERBS.slice(-1)];

function renderTable({ model, el, host, store }) {
  const said = h("div", { className: "cvm-said", role: "status", "aria-live": "polite" });
  const say = (text) => { said.textContent = text; };
  const send = (message) => store.live() && store.send(message);
  const confirm = confirmPanel(send), undo = undoStrip(send);
  const notice = h("div", { className: "cvm-notice", role: "alert", hidden: true }), sign = signInPart(send);
  let logs = logPanel(send), logsOf = h("h4", {});
  const logsClose = h("button", { type: "button", onclick: () => closeLogs() }, "Close the logs");
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
  const grid = tableGrid(store, { say, onOpen: open });

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

  // --- the bar ---
  const find = h("input", { type: "search", className: "cvm-find", placeholder: "Filter: words, or status = 'running' and rate_usd_h > 1", "aria-label": "Filter CVMs by words or by a condition", value: store.query });
  const wrong = h("div", { className: "cvm-fault cvm-table-wrong", role: "alert", hidden: true });
  const count = h("span", { className: "cvm-count" });
  const health = h("span", { className: "cvm-health", tabIndex: 0, role: "note" });
  const picker = columnPicker(store, send);
  const byApp = h("button", { type: "button", className: "cvm-by-app", "aria-pressed": "false", title: "CVMs under their apps", onclick: () => store.group(store.by === "app" ? "cvm" : "app") }, "By app");
  find.addEventListener("input", () => { grid.grid.scrollTop = 0; store.search(find.value); });
  find.addEventListener("keydown", (event) => {
    if (isPlain(event, "Escape") && find.value) { find.value = ""; store.search(""); event.preventDefault(); }
    if (isPlain(event, "ArrowDown")) { grid.grid.focus(); event.preventDefault(); }
  });

  const buttons = ACTIONS.map(([verb, label]) => h("button", {
    type: "button", className: verb === "delete" ? "cvm-danger" : "", "data-verb": verb, disabled: true, onclick: () => asked(verb),
  }, label));
  const picked = h("span", { className: "cvm-picked" });
  const bar = h("div", { className: "cvm-bar", role: "toolbar", "aria-label": "What to do with the selected CVMs" }, picked, ...buttons);
  function asked(verb) {
    const ks = grid.picked();
    notice.hidden = true;
    if (verb === "follow") send({ kind: "follow", ks, on: !ks.every((k) => store.followed.has(k)) });
    else if (verb === "logs") send({ kind: "logs", ks: ks.slice(0, 1) });
    else if (store.live()) {
      store.act(verb, ks);
      queued();
    }
  }
  const { show, answer, queued, heard: answered } = answers({ confirm, undo, notice, say });

  const root = h("section", { className: "cvm cvm-table", "aria-label": "Fleet" },
    h("div", { className: "cvm-top" }, find, picker.el, byApp, h("div", { className: "cvm-totals" }, count, health)), sign.el, wrong, bar, undo.el, notice, confirm.el, grid.el, details.el, logsFrame, said);
  const tall = () => { grid.grid.style.maxBlockSize = `${model.get("height")}px`; };
  tall();
  model.on("change:height", tall);

  // --- what changes ---
  function drawHead() {
    const { totals, rows, found } = store, query = store.query.trim();
    const selected = grid.picked(), hidden = store.selected.size - selected.length;
    const n = grid.state.ks.length, kernel = store.live(), closed = store.health.state === "closed";
    const part = n === rows.size ? `${n} CVMs` : `showing ${n} of ${rows.size}`;
    byApp.setAttribute("aria-pressed", store.by === "app");
    byApp.disabled = !kernel;
    count.textContent = `${part} · ${totals.running} running · ${Number(totals.rate).toFixed(2)} USD/h`;
    count.title = `${totals.rate} USD an hour, of all ${rows.size} CVMs: what runs, and the disks of what is stopped`;
    wrong.hidden = !found?.error;
    wrong.textContent = found?.error ?? "";
    find.setAttribute("aria-invalid", Boolean(found?.error));
    count.classList.toggle("cvm-waiting", Boolean(query) && !found && LANGUAGE.test(query));
    drawHealth(health, store.health, store.at, kernel);
    sign.draw(store.health, kernel);
    picked.textContent = store.selected.size ? `${selected.length} selected${hidden ? `, ${hidden} hidden by the filter` : ""}` : "select CVMs to act on them";
    for (const button of buttons) {
      const verb = button.dataset.verb, changes = !["follow", "logs"].includes(verb);
      button.disabled = !kernel || closed || !selected.length || (changes && store.readOnly) || (verb === "logs" && selected.length !== 1);
      button.title = !kernel ? "The kernel does not answer" : closed ? "This fleet is closed: re-run the cell that makes it" : !selected.length ? (hidden ? "The filter hides what is selected" : "Select one or more CVMs first") : changes && store.readOnly ? "This client is read-only"
        : verb === "logs" && selected.length !== 1 ? "Select one CVM to see its logs" : `${button.textContent} ${selected.length} selected`;
      if (verb === "follow") button.textContent = selected.length && selected.every((k) => store.followed.has(k)) ? "Unfollow" : "Follow";
    }
  }
  function announce(changed) {
    for (const [k, names] of changed) {
      const row = store.rows.get(k);
      if (row && (names.has("status") || names.has("raw")) && (store.selected.has(k) || changed.size <= 3)) say(`${row.name || row.id} is ${row.raw ?? row.status}`);
    }
  }
  function acts(message) {
    if (answer(message) || sign.heard(message)) return;
    if (message.kind === "logs") openLogs(message.of);
    else if (message.kind === "opened") opened(message);
    else if (message.kind === "log") logs.heard(message);
  }
  function heard(what) {
    if (find.value !== store.query) find.value = store.query;
    if (what.columns) { grid.columns(); picker.draw(); }
    if (what.message) acts(what.message);
    if ("live" in what) logs.live(what.live);
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
  grid.queue(true); headLater();
  return store.mount(el, root, heard, () => {
    clearInterval(clock); cancelAnimationFrame(drawing); answered(); model.off("change:height", tall); grid.end(); details.end();
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
      const mine = turn, made = await hostedView(place, card, box);
      if (mine !== turn || !made) { made?.remove(); return; }
      view = made;
      title.textContent = `Details of ${of}`;
      el.hidden = false;
      close.focus();
      focusCard(box, id);
    },
  };
}

/** Put the focus on the name in the card of a CVM as soon as that is drawn, if it is within five seconds. */
function focusCard(within, id, until = performance.now() + 5000) {
  const card = [...within.querySelectorAll("[data-cvm]")].find((one) => one.dataset.cvm === id && one.checkVisibility());
  if (card) { card.scrollIntoView({ block: "nearest" }); card.querySelector("h3").focus({ preventScroll: true }); }
  else if (within.isConnected && performance.now() < until) setTimeout(() => focusCard(within, id, until), 50);
}

/** Which columns are shown: a button and the list that it opens. */
function columnPicker(store, send) {
  const list = h("div", { className: "cvm-columns", role: "group", "aria-label": "Columns", tabIndex: -1, hidden: true }); // a click on a name leaves the focus in it
  const button = h("button", { type: "button", "aria-expanded": "false", onclick: () => open(list.hidden) }, "Columns");
  const el = h("div", { className: "cvm-picker" }, button, list);
  function open(yes) { list.hidden = !yes; button.setAttribute("aria-expanded", yes); if (yes) list.querySelector("input:enabled")?.focus(); }
  el.addEventListener("keydown", (event) => { if (isPlain(event, "Escape") && !list.hidden) { open(false); button.focus(); event.preventDefault(); } });
  el.addEventListener("focusout", (event) => { if (event.relatedTarget && !el.contains(event.relatedTarget)) open(false); });
  function draw() {
    const on = new Set(store.columns.map((column) => column.name));
    const focused = list.contains(document.activeElement) ? document.activeElement.value : null;
    list.replaceChildren(...store.more.map(([name, label]) => h("label", {}, h("input", {
      type: "checkbox", value: name, checked: on.has(name), disabled: name === "name" || name === "status", onchange: chosen,
    }), " ", label)));
    if (focused) [...list.querySelectorAll("input")].find((box) => box.value === focused)?.focus();
  }
  function chosen() {
    const kept = store.columns.map((column) => column.name);
    const ticked = [...list.querySelectorAll("input:checked")].map((box) => box.value);
    send({ kind: "columns", names: [...kept.filter((name) => ticked.includes(name)), ...ticked.filter((name) => !kept.includes(name))] });
  }
  return { el, draw };
}

export default liveWidget(renderTable, tableStore);
