"""Bodies of requests about CVMs, as pydantic models: what they may say and within which bounds."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from cvm_notebook.local.core.identifiers import is_name
from cvm_notebook.local.core.keys import MAX_ENVS
from cvm_notebook.local.engine.compose import AppCompose

_INT = 2**31 - 1


def _name(value: str) -> str:
    if not is_name(value):
        raise ValueError(
            "a name has 5 to 63 letters, digits and single hyphens, "
            "begins with a letter and ends with a letter or digit"
        )
    return value


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("a text must not contain NUL")
    return value


Text = Annotated[str, StringConstraints(max_length=1_000_000), AfterValidator(_storable)]
EncryptedEnv = Annotated[
    str, StringConstraints(max_length=8_000_000), AfterValidator(_storable)
]  # hex, of what JSON spells 1 MiB with
Short = Annotated[str, StringConstraints(max_length=500), AfterValidator(_storable)]
EnvName = Annotated[str, StringConstraints(max_length=255), AfterValidator(_storable)]
CvmName = Annotated[
    str,
    Field(
        json_schema_extra={
            "minLength": 5,
            "maxLength": 63,
            "pattern": "^[a-zA-Z](?!.*--)([a-zA-Z0-9-]*[a-zA-Z0-9])?$",
        }
    ),
    AfterValidator(_name),
]
Count = Annotated[int, Field(ge=1, le=_INT)]
NodeId = Annotated[int, Field(ge=0, le=_INT)]


class GpuSpec(BaseModel):
    """One GPU, by its slot."""

    slot: Short
    product_id: Short | None = None


class GpuConfig(BaseModel):
    """The GPUs of a CVM."""

    gpus: list[GpuSpec] = Field(default_factory=list, max_length=16)
    attach_mode: Short = "listed"


class PortMapping(BaseModel):
    """A port of the CVM on its host."""

    protocol: Literal["tcp", "udp"] = "tcp"
    host_port: int = Field(ge=0, le=65535)
    vm_port: int = Field(ge=1, le=65535)
    host_address: Short | None = None


class PortEntry(BaseModel):
    """A port of the CVM that its host shall map to one of its own."""

    vm_port: int = Field(ge=1, le=65535)
    protocol: Literal["tcp", "udp"] = "tcp"


class ProvisionRequest(BaseModel):
    """The request of step one, the provision."""

    model_config = ConfigDict(extra="allow")

    name: CvmName
    compose_file: AppCompose
    instance_type: Short | None = None
    vcpu: Count | None = None
    memory: Count | None = None
    disk_size: Count | None = None
    gpus: GpuConfig | None = None
    image: Short | None = None
    prefer_dev: bool | None = None
    teepod_id: NodeId | None = Field(
        default=None, validation_alias=AliasChoices("teepod_id", "node_id")
    )
    region: Short | None = None
    listed: bool = True
    kms: Short | None = None
    kms_id: Short | None = None
    nonce: Annotated[int, Field(ge=0, le=_INT)] | None = None
    app_id: Short | None = None
    env_keys: list[EnvName] = Field(default_factory=list, max_length=MAX_ENVS)
    encrypted_env: EncryptedEnv | None = None
    user_config: Text | None = None
    ports: list[PortMapping] | None = None


class CommitRequest(BaseModel):
    """Step two: make it. On-chain details pass, since the local KMS needs none."""

    model_config = ConfigDict(extra="allow")

    app_id: Short
    compose_hash: Short
    encrypted_env: EncryptedEnv | None = None
    env_keys: list[EnvName] | None = Field(default=None, max_length=MAX_ENVS)


class ReplicateRequest(BaseModel):
    """The request for a replica: its node, and what differs in it."""

    model_config = ConfigDict(extra="allow")

    node_id: NodeId | None = None
    teepod_id: NodeId | None = None
    encrypted_env: EncryptedEnv | None = None
    compose_hash: Short | None = None
    os_image: Short | None = None


class RestartRequest(BaseModel):
    """The request for a restart."""

    force: bool = False


class BatchStatusRequest(BaseModel):
    """The request for the statuses of several CVMs."""

    vm_uuids: list[Short] = Field(
        max_length=1000, validation_alias=AliasChoices("vm_uuids", "vmUuids")
    )


_ELSEWHERE: Mapping[str, str] = {
    "listed": "PATCH /cvms/{id}/listed",
    "name": "PATCH /cvms/{id}/name",
    "scheduled_delete_at": "PATCH /cvms/{id}/scheduled-delete",
    "ports": "PUT /cvms/{id}/ports",
    "compose_file": "docker_compose_file and pre_launch_script",
    "os_image_name": "image",
}


class UpdateRequest(BaseModel):
    """Anything of a CVM that can be changed in one go.

    The service overlooks what it does not know. What would be meant for another of its operations
    is refused here, rather than lost.
    """

    model_config = ConfigDict(extra="allow")

    docker_compose_file: Text | None = None
    pre_launch_script: Text | None = None
    allowed_envs: list[EnvName] | None = Field(default=None, max_length=MAX_ENVS)
    public_logs: bool | None = None
    public_sysinfo: bool | None = None
    public_tcbinfo: bool | None = None
    encrypted_env: EncryptedEnv | None = None
    user_config: Text | None = None
    gpus: GpuConfig | None = None
    vcpu: Count | None = None
    memory: Count | None = None
    disk_size: Count | None = None
    instance_type: Short | None = None
    image: Short | None = None
    shutdown_timeout: int | None = Field(default=None, ge=10, le=1200)
    allow_force_stop: bool = False

    @model_validator(mode="after")
    def _meant_for_this(self) -> Self:
        for name in (self.model_extra or {}).keys() & _ELSEWHERE.keys():
            raise ValueError(f"{name} is not changed here: use {_ELSEWHERE[name]}")
        return self


class EnvsRequest(BaseModel):
    """New environment variables."""

    encrypted_env: EncryptedEnv
    env_keys: list[EnvName] | None = Field(default=None, max_length=MAX_ENVS)
    compose_hash: Short | None = None
    transaction_hash: Short | None = None


class ComposeProvisionRequest(AppCompose):
    """A new app compose, to be looked at before it is committed."""

    update_env_vars: bool | None = False


class ComposeCommitRequest(BaseModel):
    """Use the app compose that was provisioned under this hash."""

    compose_hash: Short
    encrypted_env: EncryptedEnv | None = None
    env_keys: list[EnvName] | None = Field(default=None, max_length=MAX_ENVS)
    update_env_vars: bool | None = False


class ComposeFileRequest(BaseModel):
    """A new app compose, whose hash is known."""

    compose_file: AppCompose
    compose_hash: Short
    encrypted_env: EncryptedEnv | None = None
    env_keys: list[EnvName] | None = Field(default=None, max_length=MAX_ENVS)


class RedeployRequest(BaseModel):
    """The request for a redeployment: CVMs of an app; its only one where none is named."""

    vm_uuids: list[Short] | None = Field(default=None, max_length=1000)


class CommitTokenRequest(BaseModel):
    """The request that commits a prepared change."""

    token: Short = ""
    compose_hash: Short = ""
    transaction_hash: Short = ""


class ResourcesRequest(BaseModel):
    """A new size."""

    instance_type: Short | None = None
    vcpu: Count | None = None
    memory: Count | None = None
    disk_size: Count | None = None
    allow_restart: int | bool | None = None


class VisibilityRequest(BaseModel):
    """The request for a change of visibility."""

    public_sysinfo: bool
    public_logs: bool
    public_tcbinfo: bool | None = None


class OsImageRequest(BaseModel):
    """Another operating system image."""

    os_image_name: Short


class NameRequest(BaseModel):
    """Another name."""

    name: CvmName


class ListedRequest(BaseModel):
    """Whether it is listed in public."""

    listed: bool


class ScheduledDeleteRequest(BaseModel):
    """The request for a scheduled deletion; null cancels it."""

    scheduled_delete_at: AwareDatetime | None = None


class InstanceIdRequest(BaseModel):
    """The request for refreshing an instance id."""

    overwrite: bool = False
    dry_run: bool = False


class InstanceIdsRequest(InstanceIdRequest):
    """The request for refreshing several instance ids."""

    cvm_ids: list[Short] | None = Field(default=None, max_length=500)
    running_only: bool = True
    missing_only: bool = True
    limit: int = Field(default=100, ge=1, le=500)
