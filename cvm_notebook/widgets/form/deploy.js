// The form for a new CVM: check, then deploy. The two steps of the service, provision and commit, stay two.
//
//   Python -> view   card {view, card}   log {...}
//   view -> Python   provision, commit {as_provisioned}, again: each with a click of its own; card {view}, log {...},
//                    and what form_start.js sends

const DEPLOY = {
  begins: "fill",
  stages: { fill: "fill", provisioning: "asking", provisioned: "asked", committing: "sending", booting: "going", running: "done", failed: "failed" },
  words: {
    fill: "Step 1: configure, then check", asking: "Checking…", asked: "Checked. Step 2: deploy", sending: "Deploying…",
    going: "Starting…", done: "Running", failed: "Failed to start",
  },
  title: () => "New CVM",
  fields: ["name", "compose_file", "instance_type", "node", "disk_size", "image", "replicas", "env", "visible", "pre_launch_script"],
  marks: ["Configure", "Deploy", "Running"],
  ask: { kind: "provision", word: "Check price and placement", busy: "Checking…", again: "Re-check", reads: false },
  send: { kind: "commit", word: "Deploy", stale: "Deploy the version checked earlier" },
  again: "Deploy another",
  step: "deploy",
  willBeSent: "2 · Review and deploy",
  sent: "2 · Deployed",
  titles: { sending: "2 · Deploying", going: "2 · Deploying", failed: "2 · Failed to start" },
  unpaid: ". You pay nothing until you deploy.",
  envHelp: "Encrypted on this machine for this CVM. Never saved in the notebook; cannot be read back.",
  answerPart,
  start: startRow,
  opens: true,
  back: true,
};

export default liveWidget((drawn) => renderForm({ ...drawn, mode: DEPLOY }), formStore);
