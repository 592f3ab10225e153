// The official JS SDK changes what runs in each of its ways; prints what it saw as JSON.
import * as cloud from "@phala/cloud";

const client = cloud.createClient({ apiKey: process.env.KEY, baseURL: process.env.URL });
const name = process.argv[2];
const who = { id: name };
const seen = {};
const compose = (version) => `services:\n  app:\n    image: nginx:${version}\n`;
const settled = () =>
  cloud.watchCvmState(client, { ...who, target: "running", timeout: 60 });
const image = async () => {
  await settled();
  return (await client.getCvmDockerCompose(who)).split("nginx:")[1].trim();
};

const planned = await client.provisionCvm({
  name,
  compose_file: { docker_compose_file: compose("1.25") },
  instance_type: "tdx.small",
});
await client.commitCvmProvision({ app_id: planned.app_id, compose_hash: planned.compose_hash });
await settled();
await client.updateDockerCompose({ ...who, docker_compose_file: compose("1.26") });
seen.docker_compose = await image();
await client.updatePreLaunchScript({ ...who, pre_launch_script: "echo hello\n" });
await settled();
seen.script = await client.getCvmPreLaunchScript(who);
await client.updateCvmResources({ ...who, vcpu: 2, memory: 4096, allow_restart: true });
await settled();
await client.updateCvmVisibility({ ...who, public_sysinfo: false, public_logs: false });
await settled();
const now = await client.getCvmInfo(who);
seen.info = [now.resource.vcpu, now.resource.memory_in_gb, now.public_logs];
const patched = await cloud.patchCvm(client, { ...who, docker_compose_file: compose("1.27") });
seen.patch = [patched.requiresOnChainHash, await image()];
const plan = await client.provisionCvmComposeFileUpdate({
  ...who,
  app_compose: { ...(await client.getCvmComposeFile(who)), docker_compose_file: compose("1.28") },
});
await client.commitCvmComposeFileUpdate({ ...who, compose_hash: plan.compose_hash });
seen.compose_file = await image();
const key = await client.getAppEnvEncryptPubKey({ app_id: planned.app_id, kms: "phala-prod" });
const sealed = await cloud.encryptEnvVars([{ key: "GREETING", value: "hello" }], key.public_key);
const envs = { ...who, encrypted_env: sealed, env_keys: ["GREETING"] };
seen.envs = (await client.updateCvmEnvs(envs)).status;
await settled();
seen.allowed = (await client.getCvmComposeFile(who)).allowed_envs;
await cloud.createAppInstance(client, { appId: planned.app_id, node_id: 5 });
await cloud.replicateCvm(client, { ...who, node_id: 6 });
const made = await cloud.getAppRevisions(client, { appId: planned.app_id });
const newest = { appId: planned.app_id, revisionId: made.revisions[0].revision_id };
const detail = await cloud.getAppRevisionDetail(client, newest);
seen.instances = (await client.getCvmList({ page: 1, page_size: 100 })).items.filter(
  (one) => one.app_id === planned.app_id,
).length;
seen.newest = detail.compose_file.docker_compose_file === compose("1.28");
console.log(JSON.stringify(seen));
