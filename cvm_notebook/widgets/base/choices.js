// Cards of which one is chosen, and switches: real radio buttons and checkboxes, so every key and reader knows them.

/** Cards in groups; `draw([[group, [{id, title, lines, price, note, full, label}]]], chosen)`. */
function radioCards({ label, onChoose }) {
  const name = `cvm-choices-${clickId()}`;
  const el = h("div", { className: "cvm-choices", role: "radiogroup", "aria-label": label });
  let shown = "", off = false;
  const mark = (chosen) => {
    for (const radio of el.querySelectorAll("input")) {
      radio.checked = radio.value === chosen;
      radio.disabled = off;
      radio.closest(".cvm-choice").classList.toggle("cvm-chosen", radio.checked);
    }
  };
  const card = (one) => {
    const radio = h("input", { type: "radio", name, value: one.id, "aria-label": one.label, onchange: () => { mark(one.id); onChoose(one.id); } });
    return h("label", { className: "cvm-choice" + (one.full ? " cvm-full" : "") },
      h("span", { className: "cvm-choice-head" }, radio, h("strong", {}, one.title)),
      ...one.lines.map((line) => h("span", { className: "cvm-choice-line" }, line)),
      ...one.price.map((line, i) => h("span", { className: i ? "cvm-choice-line" : "cvm-choice-price" }, line)),
      one.note ? h("span", { className: "cvm-choice-note" }, one.note) : null);
  };
  return {
    el,
    draw(groups, chosen) {
      const now = JSON.stringify(groups);
      if (now !== shown) {
        const focused = el.contains(document.activeElement) ? document.activeElement.value : null;
        shown = now;
        el.replaceChildren(...groups.flatMap(([title, cards]) => [
          groups.length > 1 ? h("div", { className: "cvm-choice-group", "aria-hidden": "true" }, title) : null,
          h("div", { className: "cvm-choice-row" }, ...cards.map(card)),
        ]).filter(Boolean));
        if (focused) [...el.querySelectorAll("input")].find((radio) => radio.value === focused)?.focus();
      }
      mark(chosen);
    },
    disable(now) { off = now; for (const radio of el.querySelectorAll("input")) radio.disabled = now; },
  };
}

/** A checkbox that reads as a switch. */
function switchBox(label, onChange) {
  const box = h("input", { type: "checkbox", role: "switch", onchange: () => onChange(box.checked) });
  return { el: h("label", { className: "cvm-switch" }, box, h("span", { className: "cvm-slot", "aria-hidden": "true" }), h("span", {}, label)), box };
}

/** Fill a select: `[[value, text, disabled]]`, or `{group: text, of: [...]}` among them. */
function fillSelect(select, options, chosen) {
  const now = JSON.stringify(options);
  if (select.dataset.shown !== now) {
    select.dataset.shown = now;
    const make = ([value, text, off]) => h("option", { value, disabled: Boolean(off) }, text);
    select.replaceChildren(...options.map((one) => (one.group ? h("optgroup", { label: one.group }, ...one.of.map(make)) : make(one))));
  }
  if (select.value !== chosen) select.value = chosen;
  if (select.value !== chosen && chosen) { select.append(h("option", { value: chosen }, chosen)); select.value = chosen; select.dataset.shown = ""; }
}
