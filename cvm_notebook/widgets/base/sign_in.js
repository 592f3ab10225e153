// Signing in where a fleet is shown whose key was refused: the fleet goes on with the key that is given.
//
//   view -> Python   secret {value}
//   Python -> view   signing {wrong}

function signInPart(send) {
  const why = h("span", {}), status = h("span", { className: "cvm-dim", role: "status" });
  const wrong = h("div", { className: "cvm-fault", role: "alert", hidden: true });
  const key = secretField({ label: "API key", button: "Sign in", onSend(value) { status.textContent = "Checking the key…"; wrong.hidden = true; send({ kind: "secret", value }); } });
  const help = h("div", { className: "cvm-help" }, "It goes to the kernel's memory only: it is not saved, and cannot be read back.");
  const el = h("section", { className: "cvm-sign-in", "aria-label": "Sign in to Phala Cloud", hidden: true }, h("div", {}, h("strong", {}, "Sign in"), " ", why), h("div", { className: "cvm-sign-in-key" }, key.el, status), wrong, help);
  return {
    el,
    draw(health, live) {
      el.hidden = health?.state !== "needs a key";
      if (el.hidden) { status.textContent = ""; wrong.hidden = true; return; }
      if (why.textContent !== health.cause) why.textContent = health.cause;
      key.live(live);
    },
    receive(message) {
      if (message.kind !== "signing") return false;
      status.textContent = message.wrong ? "" : "Signed in. Reading the fleet…";
      wrong.textContent = message.wrong;
      wrong.hidden = !message.wrong;
      return true;
    },
  };
}
