// Parts of the form: a field with its error, the compose file, the answer to step one, the way to a running CVM.

let fieldNumber = 0;

/** A control with a label, a line of help, and a place for what is wrong with it. */
function field(label, control, { help = "", wide = false, focus = control, onLine = null } = {}) {
  const id = `cvm-field-${++fieldNumber}`;
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
      wrong.replaceChildren(...(error ? errorLines(error, onLine) : []));
      return Boolean(error);
    },
  };
}

/** What the service said: the sentence, what to do, and what support asks for; a line that it names leads there. */
function errorLines(error, onLine = null) {
  const line = onLine && /^line (\d+)/.exec(error.text);
  const marks = [error.code, error.request_id ? `request ${error.request_id}` : null].filter(Boolean).join(" · ");
  return [
    h("div", {}, ...(line ? [h("button", { type: "button", className: "cvm-jump", onclick: () => onLine(Number(line[1])) }, line[0]), error.text.slice(line[0].length)] : [error.text])),
    ...(error.suggestions ?? []).filter(Boolean).map((text) => h("div", { className: "cvm-hint" }, text)),
    ...(error.links ?? []).map(([url, text]) => h("div", {}, safeLink(url, text || url))),
    marks ? h("div", { className: "cvm-marks cvm-code" }, marks) : null,
  ].filter(Boolean);
}

/** The compose file: typed, uploaded, or read by the kernel from a path. */
function composeEditor(store) {
  const text = h("textarea", { className: "cvm-code cvm-compose-text", rows: 11, spellcheck: false, autocomplete: "off", wrap: "off", placeholder: "services:\n  app:\n    image: nginx:1.27\n    ports:\n      - \"80:80\"" });
  const file = h("input", { type: "file", accept: ".yml,.yaml,text/yaml", hidden: true, tabIndex: -1, "aria-hidden": "true" });
  const upload = h("button", { type: "button", onclick: () => file.click() }, "Upload…");
  const path = h("input", { type: "text", className: "cvm-code", placeholder: "or a path: docker-compose.yml", spellcheck: false, "aria-label": "Path of a compose file on the kernel's machine" });
  const read = h("button", { type: "button", onclick: () => { if (path.value.trim()) store.act("path", { path: path.value.trim() }); } }, "Read");
  const services = h("div", { className: "cvm-services" });
  const wanted = h("div", { className: "cvm-wanted" });
  path.addEventListener("keydown", (event) => { if (isPlain(event, "Enter")) { event.preventDefault(); read.click(); } });
  text.addEventListener("input", () => store.set({ compose_file: text.value }));
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    // the service takes 200 KiB; Python says so, of whatever is longer
    text.value = await chosen.slice(0, 400 * 1024).text();
    file.value = "";
    store.set({ compose_file: text.value }, true);
  });
  const el = h("div", { className: "cvm-compose" }, text, h("div", { className: "cvm-compose-side" }, h("div", { className: "cvm-compose-from" }, upload, path, read), services, wanted));
  return {
    el, text,
    draw(offer) {
      const now = store.value("compose_file") ?? "";
      if (text.value !== now) text.value = now;
      const seen = store.state.seen ?? { services: [], wanted: [] };
      services.replaceChildren(...(seen.services.length ? [
        h("div", { className: "cvm-label" }, seen.services.length === 1 ? "1 service" : `${seen.services.length} services`),
        h("ul", {}, ...seen.services.map(([name, image]) => h("li", {}, h("strong", {}, name), " ", h("span", { className: "cvm-code cvm-dim" }, image || "built")))),
      ] : []));
      wanted.replaceChildren(...(seen.wanted.length ? [
        h("span", {}, "It takes from its environment, and nothing gives it: "),
        ...seen.wanted.map((name) => h("button", { type: "button", className: "cvm-code cvm-offer", onclick: () => offer(name) }, name)),
      ] : []));
    },
    line(number) {
      const rows = text.value.split("\n"), begin = rows.slice(0, number - 1).reduce((sum, row) => sum + row.length + 1, 0);
      text.focus();
      text.setSelectionRange(begin, begin + (rows[number - 1]?.length ?? 0));
      text.scrollTop = (text.scrollHeight / rows.length) * (number - 3); // two lines before it stay in sight
    },
    disable(off) { text.readOnly = off; for (const one of [upload, path, read]) one.disabled = off; },
  };
}

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
    draw({ provision }, waits) {
      const now = JSON.stringify([provision ?? null, waits]);
      if (now === shown) return;
      shown = now;
      if (!provision) { el.replaceChildren(); return; }
      const until = new Date(provision.until).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
      const facts = h("dl", {}, ...provision.rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", { className: "cvm-code" }, value)]), ...(waits ? [h("dt", {}, "held until"), h("dd", {}, `${until} (14 days, as documented)`)] : []));
      const changed = provision.changed.length ? h("div", { className: "cvm-notice", role: "status" }, `Changed since: ${provision.changed.join(", ")}. What would be committed is what was provisioned.`) : null;
      const diff = provision.diff.length ? diffBox(provision.diff, "How the compose file differs from what was provisioned") : null;
      el.replaceChildren(...[facts, changed, diff].filter(Boolean));
    },
  };
}

const STEP_SIGNS = { done: "✓", now: "▸", next: "·" };

/** From what was sent to a CVM that runs. */
function bootPart(mode) {
  const text = h("div", { className: "cvm-boot-text cvm-status" });
  const steps = h("ol", { className: "cvm-boot-steps", "aria-label": "Boot progress" });
  const links = h("div", { className: "cvm-endpoints" });
  const more = h("ul", { className: "cvm-replicas" });
  const el = h("div", { className: "cvm-boot" }, text, steps, links, more);
  return {
    el,
    draw(step, values) {
      const boot = step.boot;
      el.hidden = !boot;
      if (!boot) return;
      const stage = mode.stages[step.phase];
      const phase = { sending: "provisioning", going: "starting", done: boot.status || "running", failed: "failed" }[stage];
      const seconds = Math.max(0, Math.round(((boot.until ?? Date.now()) - boot.since) / 1000));
      text.replaceChildren(statusGlyph(text, phase), h("strong", {}, boot.status || "sent"), ["failed", "sending"].includes(stage) ? ` ${boot.text} ` : " ", h("span", { className: "cvm-dim" }, `${seconds} s`));
      steps.hidden = stage === "sending" || !boot.steps.length;
      steps.replaceChildren(...boot.steps.map(([name, mark]) => h("li", { className: `cvm-step-${mark}`, ...(mark === "now" ? { "aria-current": "step" } : {}) }, h("span", { "aria-hidden": "true" }, STEP_SIGNS[mark]), ` ${name}`)));
      const urls = (step.endpoints ?? []).map((pair) => pair[0]).filter(Boolean);
      links.replaceChildren(...(stage !== "done" ? [] : urls.length ? [h("div", { className: "cvm-label" }, "Endpoints"), ...urls.map((url) => h("div", {}, safeLink(url)))] : step.endpoints ? [h("div", { className: "cvm-dim" }, "It publishes no endpoint.")] : []));
      more.replaceChildren(...(step.replicas ?? []).map((line) => h("li", {}, line)));
      if (values.replicas > 1 && !step.replicas?.length && ["sending", "going"].includes(stage)) more.replaceChildren(h("li", { className: "cvm-dim" }, `${values.replicas - 1} more follow when this one runs.`));
    },
  };
}
