// Fields for what must not be seen. What is typed goes to the kernel in one message, and the field is empty
// before that message has left: it is in no trait, no other view, and no saved notebook.

/** A masked field with a button; `onSend(text)` is given what was typed, once. */
function secretField({ label, button, onSend, multi = false, placeholder = "" }) {
  const id = `cvm-secret-${clickId()}`;
  // a name that is never the same, and one-time-code: no password manager offers to keep it
  const box = h(multi ? "textarea" : "input", {
    id, className: "cvm-secret-box", placeholder, autocomplete: multi ? "off" : "new-password", spellcheck: false, name: id,
    "data-1p-ignore": "", "data-lpignore": "true",
  });
  if (multi) box.rows = 3; else box.type = "password";
  const send = () => {
    const text = box.value;
    box.value = "";
    look();
    if (text) onSend(text);
  };
  const yes = h("button", { type: "button", onclick: send }, button);
  let live = false;
  const look = () => { yes.disabled = !live || !box.value; };
  box.addEventListener("input", look);
  box.addEventListener("keydown", (event) => {
    const sends = multi ? event.key === "Enter" && (event.ctrlKey || event.metaKey) : isPlain(event, "Enter");
    if (sends) { event.preventDefault(); if (!yes.disabled) send(); }
  });
  look();
  return { el: h("div", { className: "cvm-secret" }, h("label", { htmlFor: id }, label), box, yes), box, live(now) { live = now; look(); } };
}

// a variable whose value is not here: it was used, or it stays as it is in the CVM, or it is lost as all are replaced
const WITHOUT_VALUE = { used: "Already used. Enter it again, or remove the variable.", needed: "no value yet", kept: "kept as it is", lost: "would be LOST: give its value again" };

/** The environment: names that are shown, values that are given and never come back. */
function envTable(send) {
  const rows = h("tbody");
  const table = h("table", { className: "cvm-env-rows" }, h("thead", {}, h("tr", {}, ...["Name", "Value", ""].map((text) => h("th", { scope: "col" }, text || h("span", { className: "cvm-visually-hidden" }, "Remove"))))), rows);
  const name = h("input", { type: "text", className: "cvm-code cvm-env-name", placeholder: "NAME", autocomplete: "off", spellcheck: false, "aria-label": "Name of a variable" });
  const value = h("input", { type: "password", placeholder: "value", autocomplete: "new-password", spellcheck: false, "aria-label": "Value of the variable", name: `cvm-env-${clickId()}`, "data-1p-ignore": "", "data-lpignore": "true" });
  const add = h("button", { type: "button", onclick: () => put() }, "Add");
  const keep = h("button", { type: "button", hidden: true, onclick: () => { send({ kind: "env_keep" }); name.focus(); } }, "Keep them all as they are");
  const file = h("input", { type: "file", hidden: true, tabIndex: -1, "aria-hidden": "true" });
  const upload = h("button", { type: "button", onclick: () => file.click() }, "Upload .env…");
  const paste = secretField({ label: "Lines of a .env file", button: "Add all", multi: true, placeholder: "NAME=value", onSend: (text) => send({ kind: "env_file", text }) });
  const pasted = h("details", { className: "cvm-env-paste" }, h("summary", {}, "Paste a .env file"), paste.el);
  const wrong = h("div", { className: "cvm-fault", role: "alert", hidden: true });
  let live = false, shown = "[]";
  const look = () => { add.disabled = !live || !name.value.trim(); upload.disabled = keep.disabled = !live; };

  /** Offer a name whose value is wanted. */
  function offer(called) { name.value = called; look(); value.focus(); }
  function put() {
    if (add.disabled) return;
    const text = value.value, called = name.value;
    value.value = ""; name.value = "";
    send({ kind: "env", name: called, value: text });
    look();
    name.focus();
  }
  async function read() {
    const [chosen] = file.files;
    if (!chosen) return;
    if (chosen.size > 1 << 20) { fault(`${chosen.name} is too large to be a .env file.`); return; }
    const text = await chosen.text();
    file.value = "";
    send({ kind: "env_file", text });
  }
  file.addEventListener("change", read);
  name.addEventListener("input", look);
  for (const box of [name, value]) box.addEventListener("keydown", (event) => { if (isPlain(event, "Enter")) { event.preventDefault(); put(); } });
  function fault(text) { wrong.textContent = text ?? ""; wrong.hidden = !text; }
  look();

  const el = h("div", { className: "cvm-env" }, table, h("div", { className: "cvm-env-new" }, name, value, add, upload, file, keep), pasted, wrong);
  return {
    el, name, offer,
    draw(section) {
      const now = JSON.stringify([section.rows, section.without]);
      if (now !== shown) {
        shown = now;
        rows.replaceChildren(...section.rows.map(([called, there]) => h("tr", {},
          h("td", { className: "cvm-code" }, called),
          h("td", {}, there ? h("span", { title: "In the kernel's memory only" }, "••••") : h("span", { className: "cvm-dim" }, WITHOUT_VALUE[section.without] ?? WITHOUT_VALUE.used)),
          h("td", {}, there ? null : h("button", { type: "button", "aria-label": `Enter a value for ${called}`, onclick: () => offer(called) }, "Enter"), " ", h("button", { type: "button", "aria-label": `Remove ${called}`, onclick: () => send({ kind: "env_remove", name: called }) }, "Remove")))));
      }
      keep.hidden = section.without !== "lost";
      table.hidden = section.rows.length === 0;
      fault(section.problem);
    },
    live(now) { live = now; paste.live(now); look(); for (const one of rows.querySelectorAll("button")) one.disabled = !now; },
  };
}
