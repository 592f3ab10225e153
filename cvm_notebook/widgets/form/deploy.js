// The form for a new CVM: provision, then commit.
//
//   view -> Python   provision, commit {as_provisioned}, again: each with a click of its own

const DEPLOY = {
  begins: "fill",
  stages: { fill: "fill", provisioning: "asking", provisioned: "asked", committing: "sending", booting: "going", running: "done", failed: "failed" },
  words: {
    fill: "Step 1: fill in, then provision", asking: "Provisioning…", asked: "Provisioned. Step 2: commit", sending: "Committing…",
    going: "Made. It boots", done: "Running", failed: "It did not come up",
  },
  title: () => "New CVM",
  fields: ["name", "compose_file", "instance_type", "node", "disk_size", "image", "replicas", "env", "visible", "pre_launch_script"],
  marks: ["Provision", "Commit", "Running"],
  ask: { kind: "provision", word: "Provision", busy: "Provisioning…", again: "Provision again", reads: false },
  send: { kind: "commit", word: "Commit: make the CVM", stale: "Commit as it was provisioned" },
  again: "Another one",
  willBeSent: "2 · What will be committed",
  sent: "2 · What was committed",
  unpaid: "; nothing is paid before the commit",
  envHelp: "Values stay in the kernel's memory until they are encrypted for this app alone; they are not saved, and cannot be read back.",
  answerPart,
};

export default liveWidget((drawn) => renderForm({ ...drawn, mode: DEPLOY }), formStore);
