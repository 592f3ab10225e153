// The account: whose key is used, a box for another, and the profiles.
function renderLogin({ model, el }) {
  let said = model.get("_boot"), live = false;
  const send = (message) => { if (live) tellKernel(model, { ...message, token: said.token }); };
  const state = h("strong", {}), rows = h("dl");
  const wrong = h("div", { className: "cvm-fault", role: "alert", hidden: true });
  const busy = h("span", { className: "cvm-dim", role: "status" });
  const key = secretField({ label: "API key", button: "Sign in", onSend: (value) => { busy.textContent = "Asking whose key it is…"; send({ kind: "secret", value }); } });
  const note = h("div", { className: "cvm-help" }, "It goes to the kernel's memory only: it is not saved, and cannot be read back.");
  const other = h("details", {}, h("summary", {}, "Use another key"));
  const place = h("div", {});
  const profile = h("select", { "aria-label": "Profile", onchange: () => { busy.textContent = "Asking…"; send({ kind: "profile", profile: profile.value }); } });
  const choose = h("label", { className: "cvm-profile" }, "Profile ", profile);
  const root = h("section", { className: "cvm cvm-login", "aria-label": "Sign in to Phala Cloud" }, h("div", { className: "cvm-login-top" }, state, choose, busy), wrong, rows, place, other);
  keepKeys(root);

  function draw() {
    state.replaceChildren(h("span", { className: "cvm-shape", "aria-hidden": "true" }, said.in ? "●" : "○"), said.in ? "Signed in to Phala Cloud" : "Not signed in to Phala Cloud");
    root.dataset.status = said.in ? "in" : "out";
    rows.replaceChildren(...said.rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
    wrong.hidden = !said.wrong;
    wrong.textContent = said.wrong ?? "";
    const home = said.in ? other : place; // without a key the box stands open
    if (key.el.parentElement !== home) home.append(key.el, note);
    other.hidden = !said.in;
    choose.hidden = !said.profiles.length;
    profile.replaceChildren(h("option", { value: "" }, "none: as it is found"), ...said.profiles.map((name) => h("option", { value: name }, name)));
    profile.value = said.profile ?? "";
    profile.disabled = !live || said.busy;
    key.live(live && !said.busy);
    busy.textContent = said.busy ? "Asking the service…" : live ? "" : "waiting for the kernel";
  }
  const hear = (message) => { if (message.kind !== "account") return; said = message; live = true; draw(); };
  model.on("msg:custom", hear);
  draw();
  el.replaceChildren(root);
  tellKernel(model, { kind: "hello" });
  return () => model.off("msg:custom", hear);
}

export default () => ({ render: renderLogin });
