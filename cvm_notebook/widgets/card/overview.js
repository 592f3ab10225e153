// The head of a card: what the CVM costs, what could be saved, how its boot stands, and that it was deleted.

/** What it costs: an hour, today, a month. `draw(state, clock, passed)`: seconds since the kernel's clock was read. */
function costLine() {
  const el = h("span", { className: "cvm-card-costs" });
  return {
    el,
    draw({ money, gone }, { at, today, today_at: counted }, passed) {
      const hour = money?.hour ?? null, parts = [];
      if (hour !== null) parts.push(`${usdText(hour)} USD/h`);
      if (today !== null && today !== undefined) {
        const spent = today + ((hour ?? 0) * Math.max(0, (at - counted) / 1000 + passed)) / 3600;
        parts.push(`${spentText(spent)} today`);
      }
      if (hour !== null && money.month > 0) parts.push(`≈ ${usdText(money.month)}/month`);
      const text = parts.join(" · ");
      if (el.textContent !== text) el.textContent = text;
      el.title = gone ? "US dollars since midnight (UTC), until it was deleted" : "US dollars: charged now an hour; since midnight (UTC), by the prices and statuses that were seen; and for 730 hours if nothing changes. The bill is the service's.";
    },
  };
}

/** The button that begins a rule for this CVM, and the rules that may shut it down. */
function autoStop({ send, live }) {
  const begin = h("button", { type: "button", className: "cvm-autostop-begin", onclick: () => send({ kind: "autostop", do: "begin" }) }, "Auto-stop after 1 h idle");
  const list = h("ul", { className: "cvm-autostop-rules" });
  const el = h("div", { className: "cvm-autostop" }, begin, list);
  let drawn = "";
  return {
    el,
    /** Returns whether there is something to see. */
    draw({ rules = [], running, read_only: reads, verbs = {} }) {
      begin.hidden = rules.length > 0 || !running;
      begin.disabled = !live() || reads || !verbs.shutdown?.[0];
      begin.title = reads ? "This client is read-only" : "Shut it down once its CPU was under 10 % for an hour, with a minute to take it back. Acts only while this kernel runs. GPU use is not measured.";
      const text = JSON.stringify([rules, live()]);
      if (text !== drawn) {
        drawn = text;
        list.replaceChildren(...rules.map(({ id, text: sentence, own }) => h("li", {}, `Auto-stop (${id}): ${sentence}. `,
          own ? h("button", { type: "button", disabled: !live(), onclick: () => send({ kind: "autostop", do: "end", rule: id }) }, "Cancel auto-stop") : null)));
      }
      return rules.length > 0;
    },
  };
}

/** What an idle CVM costs in vain, and what to do about it. */
function idleTip({ send, live, queued }) {
  const text = h("span", {}), rules = autoStop({ send, live });
  const stop = h("button", { type: "button", className: "cvm-idle-stop", onclick: () => { send({ kind: "act", verb: "stop", click: clickId() }); queued(); } }, "Stop");
  const line = h("div", { className: "cvm-idle-line" }, h("span", { "aria-hidden": "true" }, "☾"), text, stop), el = h("div", { className: "cvm-idle", hidden: true }, line, rules.el);
  return {
    el,
    draw(state) {
      const { idle, gpus, money, verbs = {} } = state, some = rules.draw(state);
      el.hidden = !idle && !some;
      line.hidden = !idle;
      if (!idle) { rules.el.firstChild.hidden = true; return; }
      const saves = money?.saves ? ` Stopping saves ${usdText(money.saves)} USD/h; the disk is kept and still billed.` : "";
      const words = `Idle for ${ageWords(idle)}: CPU under 10 %.${gpus ? " GPU use is not measured." : ""}${saves}`;
      if (text.textContent !== words) text.textContent = words;
      stop.disabled = !live() || !verbs.stop?.[0];
      stop.title = verbs.stop?.[1] ?? "";
    },
  };
}

/** How far it has booted; of one that failed, where, with the line of its log. */
function bootStrip(onLogs) {
  const steps = h("ol", { className: "cvm-steps", "aria-label": "Boot", hidden: true });
  const errorList = h("div", { className: "cvm-errors", hidden: true });
  const line = h("code", { className: "cvm-code cvm-boot-line" }), logs = h("button", { type: "button", className: "cvm-boot-logs", onclick: onLogs }, "Show the boot log");
  const why = h("div", { className: "cvm-boot-why", hidden: true }, line, logs);
  return {
    el: [steps, errorList, why],
    draw({ steps: boot, errors = [], boot: failed }) {
      errorList.hidden = !errors.length;
      errorList.replaceChildren(...errors.map((text) => h("div", { className: "cvm-fault" }, text)));
      why.hidden = !failed;
      line.hidden = !failed?.line;
      line.textContent = failed?.line ?? "";
      steps.hidden = !boot;
      if (!boot) return;
      steps.replaceChildren(...boot.words.map((word, i) => {
        const at = boot.at ?? -1, state = i < at ? "done" : i > at ? "todo" : boot.failed ? "failed" : "now";
        const mark = { done: "✓", now: "◑", failed: "✖", todo: "○" }[state];
        return h("li", { "data-step": state, "aria-current": state === "now" ? "step" : null }, h("span", { "aria-hidden": "true" }, mark), h("span", {}, word), h("span", { className: "cvm-visually-hidden" }, { done: "done", failed: "failed", now: "now", todo: "to come" }[state]));
      }));
    },
  };
}

/** When a CVM was deleted, and by whom as far as is known here. */
function goneWords({ at, by_you: byYou }) {
  if (at === null) return "Deleted";
  return byYou ? `Deleted at ${listedText(at)} by you` : `Deleted, noticed at ${listedText(at)}`;
}
