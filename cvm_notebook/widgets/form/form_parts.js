// Parts of the form: a field with its error, the answer to the first step, the way to a running CVM, and what is beneath.

/** A control with a label, a line of help, and a place for what is wrong with it. */
function field(label, control, { help = "", wide = false, focus = control, onLine = null, onFix = null, onUse = null } = {}) {
  const id = `cvm-field-${clickId()}`; // other views of this page have fields, too
  const wrong = h("div", { className: "cvm-fault cvm-wrong", id: `${id}-wrong`, hidden: true });
  const hint = help ? h("div", { className: "cvm-help", id: `${id}-help` }, help) : null;
  const group = !("labels" in control);
  const title = group ? h("div", { className: "cvm-label", id: `${id}-label` }, label) : h("label", { className: "cvm-label", htmlFor: id }, label);
  if (group) { if (!control.hasAttribute("role")) control.setAttribute("role", "group"); control.setAttribute("aria-labelledby", `${id}-label`); }
  else control.id = id;
  const named = [hint?.id, wrong.id].filter(Boolean).join(" ");
  control.setAttribute("aria-describedby", named);
  let shown = "";
  return {
    el: h("div", { className: "cvm-field" + (wide ? " cvm-wide" : "") }, title, control, hint, wrong),
    focus() { (typeof focus.focus === "function" ? focus : control).focus(); },
    error(error) {
      const now = JSON.stringify(error ?? null);
      if (now === shown) return false;
      shown = now;
      (group ? focus : control).setAttribute?.("aria-invalid", Boolean(error));
      control.classList.toggle("cvm-invalid", Boolean(error));
      wrong.hidden = !error;
      wrong.replaceChildren(...(error ? errorLines(error, { onLine, onFix, onUse }) : []));
      return Boolean(error);
    },
  };
}

/** An error of the service: the sentence, what to do, and what support asks for; what it names or proposes is a button. */
function errorLines(error, { onLine = null, onFix = null, onUse = null } = {}) {
  const line = onLine && /^line (\d+)/i.exec(error.text);
  const marks = [error.code, error.request_id ? `request ${error.request_id}` : null].filter(Boolean).join(" · ");
  const fix = onFix && error.fix ? h("button", { type: "button", onclick: () => onFix(error.fix[0], error.fix[2]) }, "Correct it")
    : onUse && error.use ? h("button", { type: "button", onclick: () => onUse(error.use) }, `Use ${error.use}`) : null;
  return [
    h("div", {}, ...(line ? [h("button", { type: "button", className: "cvm-jump", onclick: () => onLine(Number(line[1])) }, line[0]), error.text.slice(line[0].length)] : [error.text])),
    ...(error.suggestions ?? []).filter(Boolean).map((text, i) => h("div", { className: "cvm-hint" }, text, i || !fix ? null : " ", i ? null : fix)),
    ...(error.links ?? []).map(([url, text]) => h("div", {}, safeLink(url, text || url))),
    marks ? h("div", { className: "cvm-marks cvm-code" }, marks) : null,
  ].filter(Boolean);
}

/** Copy a text; without a clipboard, as where the page is not secure, select what shows it. */
async function copyOrSelect(text, shown) {
  try { await navigator.clipboard.writeText(text); return true; }
  catch {
    const range = document.createRange();
    range.selectNodeContents(shown);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return false;
  }
}

/** A button that copies what stands before it. */
function copyOf(text, shown, what) {
  const button = h("button", { type: "button", className: "cvm-plain cvm-copy", title: `Copy ${what}`, "aria-label": `Copy ${what}`, onclick: async () => {
    button.textContent = (await copyOrSelect(text, shown)) ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  } }, "Copy");
  return button;
}

/** Dollars an hour, as the kernel writes them. */
const shortUsd = (text) => (Number.isFinite(Number(text)) ? usdText(Number(text)) : text);

/** The answer to step one, and how what is filled in differs from it by now. */
function answerPart() {
  const el = h("div", { className: "cvm-answer" });
  let shown = "";
  return {
    el,
    of: (step) => step.provision,
    isStale: (step) => Boolean(step?.provision?.changed?.length),
    isReady: () => true,
    answered(step) { return { as_provisioned: this.isStale(step) }; },
    focus: () => null,
    price: (step) => step?.provision?.hour ?? null,
    draw({ provision }, waits) {
      el.hidden = !provision || !waits;
      const now = JSON.stringify([provision ?? null, waits]);
      if (now === shown) return;
      shown = now;
      if (!provision) { el.replaceChildren(); return; }
      const until = dayText(provision.until);
      const short = h("code", { className: "cvm-code", title: provision.hash }, `${provision.hash.slice(0, 4)}…${provision.hash.slice(-4)}`);
      const placed = h("div", { className: "cvm-placed" }, h("strong", {}, provision.place ? `Placed on ${provision.place}` : "Placed"), " · compose hash ", short, copyOf(provision.hash, short, "the compose hash"), ` · Offer valid until ${until}`);
      const facts = h("details", { className: "cvm-placed-facts" }, h("summary", {}, "Details"), h("dl", {}, ...provision.rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", { className: "cvm-code" }, value)])));
      const changed = provision.changed.length ? h("div", { className: "cvm-notice", role: "status" }, `Changed since it was checked: ${provision.changed.join(", ")}. Re-check it, or deploy the version checked earlier.`) : null;
      const diff = provision.diff.length ? diffBox(provision.diff, "How the compose file differs from what was checked") : null;
      el.replaceChildren(...[placed, facts, changed, diff].filter(Boolean));
    },
  };
}

const STEP_SIGNS = { done: "✓", now: "◐", next: "·" };

/** From what was sent to a CVM that runs. */
function bootPart(mode) {
  const text = h("div", { className: "cvm-boot-text cvm-status" });
  const steps = h("ol", { className: "cvm-boot-steps", "aria-label": "Boot progress" });
  const links = h("div", { className: "cvm-endpoints" });
  const more = h("ul", { className: "cvm-replicas" });
  const el = h("div", { className: "cvm-boot", tabIndex: -1 }, text, steps, links, more);
  const endpoint = (url) => { const link = safeLink(url); return h("div", {}, link, copyOf(url, link, "the address")); };
  let linked = "";
  return {
    el,
    draw(step, values, at) {
      const boot = step.boot;
      el.hidden = !boot;
      if (!boot) return;
      const stage = mode.stages[step.phase], made = step.made ?? "";
      const phase = { sending: "provisioning", going: "starting", done: boot.status || "running", failed: "failed" }[stage];
      const seconds = Math.max(0, Math.round(((boot.until ?? at) - boot.since) / 1000));
      const word = { sending: "sending", going: boot.status || "starting", done: `is ${boot.status || "running"}`, failed: "failed to start" }[stage];
      const named = made && ["done", "failed"].includes(stage) ? `${made} ${word}` : boot.status || "sent";
      text.replaceChildren(statusGlyph(text, phase), h("strong", {}, named), ["failed", "sending"].includes(stage) ? ` ${boot.text} ` : " ", h("span", { className: "cvm-dim" }, `${seconds} s`));
      steps.hidden = !["going", "failed"].includes(stage) || !boot.steps.length;
      steps.replaceChildren(...boot.steps.map(([name, mark]) => h("li", { className: `cvm-step-${mark}`, ...(mark === "now" ? { "aria-current": "step" } : {}) }, h("span", { "aria-hidden": "true" }, stage === "failed" && mark === "now" ? "✖" : STEP_SIGNS[mark]), ` ${name}`)));
      const urls = (step.endpoints ?? []).map((pair) => pair[0]).filter(Boolean), now = JSON.stringify([stage, step.endpoints, step.python]);
      if (now !== linked) {
        linked = now;
        const code = step.python && stage === "done" ? h("code", { className: "cvm-code cvm-handle" }, step.python) : null;
        links.replaceChildren(...[
          ...(stage !== "done" ? [] : urls.length ? urls.map(endpoint) : step.endpoints ? [h("div", { className: "cvm-dim" }, "No public ports.")] : []),
          code ? h("div", {}, code, copyOf(step.python, code, "the Python of it")) : null,
        ].filter(Boolean));
      }
      more.replaceChildren(...(step.replicas ?? []).map((line) => h("li", {}, line)));
      if (values.replicas > 1 && !step.replicas?.length && ["sending", "going"].includes(stage)) more.replaceChildren(h("li", { className: "cvm-dim" }, `${values.replicas - 1} more ${values.replicas === 2 ? "follows" : "follow"} when this one runs.`));
    },
  };
}

/** What a form shows beneath itself: the card of the CVM that was made, or its logs. */
function beneath(place, store) {
  const own = clickId(), box = h("div", {}), title = h("h4", {});
  const close = h("button", { type: "button", onclick: () => { drop(); opener?.focus(); } }, "Close");
  const el = h("div", { className: "cvm-form-below", role: "region", hidden: true }, h("div", { className: "cvm-form-below-top" }, title, close), box);
  let view = null, logs = null, turn = 0, opener = null;
  // brought into sight as soon as it is drawn: a card comes after its frame
  const drawn = new ResizeObserver(() => {
    if (box.offsetHeight === 0) return;
    drawn.disconnect();
    el.scrollIntoView({ block: "nearest" });
  });
  function drop() {
    turn += 1;
    drawn.disconnect();
    view?.remove();
    if (logs) { store.send({ kind: "log", do: "stop" }); logs.end(); }
    view = logs = null;
    box.replaceChildren();
    el.hidden = true;
  }
  function show(name) { title.textContent = name; el.setAttribute("aria-label", name); el.hidden = false; close.focus({ preventScroll: true }); drawn.observe(box); }
  return {
    el, end: drop,
    openCard(button) { opener = button; if (store.live()) store.send({ kind: "card", view: own }); },
    openLogs(button) {
      drop();
      opener = button;
      logs = logPanel((message) => store.send(message));
      box.append(logs.el);
      show(`Logs of ${store.state.step?.made ?? "the CVM"}`);
      logs.named(store.state.step?.made ?? "cvm");
      logs.live(store.live());
      logs.open(store.state.step?.phase === "running" ? undefined : "serial"); // no container runs before
    },
    async receive({ message, live }) {
      if (live !== undefined) logs?.live(live);
      if (message?.kind === "log") logs?.receive(message);
      if (message?.kind !== "card" || message.view !== own) return;
      drop();
      const thisTurn = turn, made = await hostedView(place, message.card, box);
      if (thisTurn !== turn || !made) { made?.remove(); return; }
      view = made;
      show(`Card of ${store.state.step?.made ?? "the CVM"}`);
    },
  };
}
