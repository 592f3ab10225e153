"""Serve apps that are made of a template: Eliza agents, and models on GPUs."""

import json
from typing import Any

from fastapi import Response
from pydantic import AwareDatetime, BaseModel, Field

from cvm_notebook.local.answers import cvms as answers
from cvm_notebook.local.answers.cvm_views import Shapes
from cvm_notebook.local.answers.provisioned import provisioned
from cvm_notebook.local.core.context import Auth, Ctx, json_answer
from cvm_notebook.local.core.errors import ApiError, coded, detail, documented, documented_422
from cvm_notebook.local.core.keys import MAX_ENVS
from cvm_notebook.local.engine.compose import AppCompose, columns_of, complete
from cvm_notebook.local.engine.placement import instance_type_of
from cvm_notebook.local.engine.provisioning import commit, provision
from cvm_notebook.local.engine.requests import (
    CommitRequest,
    CvmName,
    EnvName,
    NodeId,
    ProvisionRequest,
    Short,
    Text,
)
from cvm_notebook.local.routing import api_router

router = api_router(tags=["templates"])

_ELIZA = "phala/eliza:latest"
_SERVER = "vllm/vllm-openai:latest"


class ElizaRequest(BaseModel):
    """An agent, by its character."""

    name: CvmName
    characterfile: Text
    env_keys: list[EnvName] = Field(max_length=MAX_ENVS)
    teepod_id: NodeId | None = None
    image: Short | None = None
    kms_id: Short | None = None


class WorkloadRequest(BaseModel):
    """A model on a GPU."""

    name: CvmName
    instance_type: Short
    model_id: Short
    scheduled_delete_at: AwareDatetime | None = None


def _compose(service: str, image: str, **more: Any) -> str:
    """Return a compose file of one service. JSON is YAML, and quotes what others have written."""
    return json.dumps({"services": {service: {"image": image, **more}}}, indent=2)


@router.post(
    "/cvms/provision/eliza", response_model=answers.Provisioned, responses=documented(403, 409)
)
def provision_eliza(ctx: Ctx, caller: Auth, body: ElizaRequest) -> Response:
    """Plan the CVM of an agent."""
    environment = {"CHARACTER": body.characterfile.replace("$", "$$")}
    environment |= {name: f"${{{name}}}" for name in body.env_keys}
    app_compose = AppCompose(
        name=body.name,
        docker_compose_file=_compose("eliza", _ELIZA, environment=environment),
        allowed_envs=body.env_keys,
    )
    asked = ProvisionRequest(
        name=body.name,
        compose_file=app_compose,
        teepod_id=body.teepod_id,
        image=body.image,
        kms_id=body.kms_id,
        env_keys=body.env_keys,
    )
    columns = columns_of(complete(app_compose))
    with ctx.database.write() as session:
        kept = provision(session, ctx, caller, asked, columns)
    return json_answer(provisioned(Shapes(ctx, caller), kept))


@router.post(
    "/cvms/eliza",
    response_model=answers.Action,
    responses=documented(403, 409) | documented_422(),
)
def commit_eliza(ctx: Ctx, caller: Auth, body: CommitRequest) -> Response:
    """Make the CVM of an agent that was planned; 422 where no plan waits."""
    try:
        with ctx.database.write() as session:
            cvm = commit(session, ctx, caller, body)
    except ApiError as error:
        if error.body is not None and error.body["error_code"] == "ERR-01-006":
            raise ApiError(422, error.detail, body=error.body) from None
        raise
    return json_answer(Shapes(ctx, caller).action(cvm))


@router.post("/cvms/workload", response_model=answers.Action, responses=documented(403, 409))
def make_workload(ctx: Ctx, caller: Auth, body: WorkloadRequest) -> Response:
    """Make a CVM that serves a model on a GPU, on whichever node has room."""
    if instance_type_of(body.instance_type).gpus == 0:
        raise coded(
            "ERR-02-009",
            f"{body.instance_type} has no GPU.",
            details=[detail("instance_type", body.instance_type, "has no GPU")],
            suggestions=["List the instance types of family gpu and take one of them."],
        )
    at = body.scheduled_delete_at
    if at is not None and at.timestamp() <= caller.now:
        raise ApiError(400, "scheduled_delete_at lies in the past.")
    command = ["--model", body.model_id.replace("$", "$$")]
    text = _compose("model", _SERVER, command=command, ports=["8000:8000"])
    app_compose = AppCompose(name=body.name, docker_compose_file=text)
    asked = ProvisionRequest(
        name=body.name, compose_file=app_compose, instance_type=body.instance_type
    )
    columns = columns_of(complete(app_compose))
    with ctx.database.write() as session:
        kept = provision(session, ctx, caller, asked, columns)
        pair = CommitRequest(app_id=kept.app_id, compose_hash=kept.compose_hash)
        cvm = commit(session, ctx, caller, pair)
        cvm.scheduled_delete_at = None if at is None else at.timestamp()
    return json_answer(Shapes(ctx, caller).action(cvm))
