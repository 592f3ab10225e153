// The account: whose key is used, a box for another, and the profiles.
function renderLogin({ el, store }) {
  const send = (message) => { if (store.live()) store.send(message); };
  const state = h("strong", {}), rows = h("dl"), then = h("p", { role: "status", hidden: true });
  const wrong = h("div", { className: "cvm-fault", role: "alert", hidden: true });
  const busy = h("span", { className: "cvm-dim", role: "status" });
  const key = secretField({ label: "API key", button: "Sign in", onSend: (value) => { busy.textContent = "Checking the key…"; send({ kind: "secret", value }); } });
  const note = h("div", { className: "cvm-help" }, "It goes to the kernel's memory only: it is not saved, and cannot be read back.");
  const other = h("details", {}, h("summary", {}, "Use another key"));
  const place = h("div", {});
  const profile = h("select", { "aria-label": "Profile", onchange: () => { busy.textContent = "Asking…"; send({ kind: "profile", profile: profile.value }); } });
  const choose = h("label", { className: "cvm-profile" }, "Profile ", profile);
  const root = h("section", { className: "cvm cvm-login", "aria-label": "Sign in to Phala Cloud" }, h("div", { className: "cvm-login-top" }, state, choose, busy), wrong, then, rows, place, other);

  function draw() {
    const account = store.state, live = store.live();
    state.replaceChildren(h("span", { className: "cvm-shape", "aria-hidden": "true" }, account.in ? "●" : "○"), account.in ? `Signed in to ${account.local ? "a cloud on this machine" : "Phala Cloud"}` : "Not signed in to Phala Cloud");
    root.dataset.status = account.in ? "in" : "out";
    rows.replaceChildren(...account.rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
    then.hidden = !account.in || !account.then;
    then.textContent = account.then;
    wrong.hidden = !account.wrong;
    wrong.textContent = account.wrong ?? "";
    const home = account.in ? other : place; // without a key the box stands open
    if (key.el.parentElement !== home) home.append(key.el, note);
    other.hidden = !account.in;
    choose.hidden = !account.profiles.length;
    profile.replaceChildren(h("option", { value: "" }, "Default"), ...account.profiles.map((name) => h("option", { value: name }, name)));
    profile.value = account.profile ?? "";
    profile.disabled = !live || account.busy;
    key.live(live && !account.busy);
    busy.textContent = account.busy ? "Checking the key…" : live ? "" : "waiting for the kernel";
  }
  function update({ message }) {
    if (message?.kind === "pulse") return; // the list of profiles may be open
    draw();
    if (message?.kind === "notice") { wrong.hidden = false; wrong.textContent = message.text; }
  }
  draw();
  return store.mount(el, root, update);
}

export default liveWidget(renderLogin);
