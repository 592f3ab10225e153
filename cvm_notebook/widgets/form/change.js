// The form that changes a CVM: preview, then one update.
//
//   view -> Python   preview, update {confirm}, again: each with a click of its own; env_keep

const CHANGE = {
  begins: "reading",
  stages: { reading: "reading", unread: "unread", fill: "fill", previewing: "asking", previewed: "asked", sending: "sending", updating: "going", done: "done", failed: "failed" },
  words: {
    reading: "What runs is read…", unread: "What runs could not be read", fill: "Step 1: change it, then preview", asking: "The preview is made…",
    asked: "Previewed. Step 2: send", sending: "Sending…", going: "Accepted. It is updated", done: "Updated", failed: "The update failed",
  },
  title: (state) => `Change ${state.of ?? "this CVM"}`,
  fields: ["compose_file", "instance_type", "disk_size", "image", "env", "visible", "pre_launch_script"],
  marks: ["Preview", "Send", "Updated"],
  ask: { kind: "preview", word: "Preview", busy: "Previewing…", again: "Preview again", reads: true },
  send: { kind: "update", word: "Send: update the CVM", stale: "Preview again first" },
  again: "Change it again",
  step: "update",
  willBeSent: "2 · What would be sent",
  sent: "2 · What was sent",
  unpaid: ". Nothing is sent before the preview.",
  envHelp: "They stay as they are until you give one or take one out: then all of them are replaced, and those not given again are lost. Values cannot be read back.",
  answerPart: previewPart,
};

export default liveWidget((drawn) => renderForm({ ...drawn, mode: CHANGE }), formStore);
