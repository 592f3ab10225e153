"""Deployment without a widget, and with the magic's boxes, on a real LocalCloud."""

import subprocess
import sys
import threading

import pytest
from helpers import until

from cvm_notebook import Client, CvmError, Fleet
from cvm_notebook.api.secret import Secret
from cvm_notebook.deploy.deployment import Deployment, Provisioned
from cvm_notebook.deploy.environment import EnvTable
from cvm_notebook.deploy.pricing import Offer
from cvm_notebook.deploy.spec import Values
from cvm_notebook.live.clock import SystemClock
from cvm_notebook.live.workers import Workers
from cvm_notebook.magics.deploy import PendingDeployment

COMPOSE = "services:\n  web:\n    image: nginx:1.27\n"
REFUSED = {"kind": "status", "route": "commit", "arg": 403}
PATIENCE = 30.0


@pytest.fixture
def fleet(fresh_cloud):
    with (
        Client(api_key=fresh_cloud.api_key, base_url=fresh_cloud.url) as client,
        Fleet(client) as made,
    ):
        yield made


@pytest.fixture
def begin(fleet):
    """Begin a deployment whose changes can be waited for."""
    crashes, opened = [], []

    def make(env=None, **more):
        changes = threading.Condition()

        def changed():
            with changes:
                changes.notify_all()

        workers = Workers(SystemClock(), 2, "test-deploy", crashes.append)
        deployment = Deployment(
            fleet.client,
            EnvTable(env),
            operations=lambda: fleet.operator,
            workers=workers,
            changed=changed,
            **more,
        )

        def reach(*phases):
            with changes:
                assert changes.wait_for(lambda: deployment.phase in phases, PATIENCE), (
                    deployment.phase,
                    deployment.errors,
                )

        opened.append((deployment, workers))
        return deployment, reach

    yield make
    for deployment, workers in opened:
        deployment.close()
        workers.close(2.0)
    assert crashes == []


def commits(cloud):
    return sum(
        one["method"] == "POST" and one["path"].endswith("/cvms") for one in cloud.requests()
    )


def test_it_needs_neither_widgets_nor_pandas():
    code = (
        "import sys, cvm_notebook.deploy.deployment, cvm_notebook.deploy.script\n"
        "sys.exit(str({'IPython', 'ipywidgets', 'pandas'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.stderr.strip() == ""


def test_a_deployment_runs_and_keeps_no_value_and_no_hook(begin, fleet):
    values = Values(name="deploy-runs", compose_file=COMPOSE)
    hooks = fleet.operator._hooks
    deployment, reach = begin({"TOKEN": "of-a-test"})
    assert deployment.provision(values)
    reach("provisioned")
    assert not deployment.commit(Values(name="another-name", compose_file=COMPOSE))
    assert "name" in deployment.errors["general"]["text"]
    assert deployment.commit(values)
    assert not deployment.commit(values)  # once
    reach("running")
    until(lambda: deployment.cvm is not None)
    assert deployment.cvm.name == "deploy-runs"
    assert deployment._env.missing == ("TOKEN",)
    until(lambda: fleet.operator._hooks == hooks)


def test_a_refused_commit_can_be_sent_again_and_leaves_no_hook(begin, fleet, fresh_cloud):
    values = Values(name="deploy-refused", compose_file=COMPOSE)
    provisioned = Provisioned.request(fleet.client, values, ())
    hooks = fleet.operator._hooks
    deployment, reach = begin(provisioned=provisioned)
    fresh_cloud.inject(REFUSED)
    assert deployment.commit(values)
    reach("provisioned")
    assert deployment.errors
    assert fleet.operator._hooks == hooks
    assert deployment.commit(values)
    reach("running")
    assert deployment.provisioned is provisioned
    assert commits(fresh_cloud) == 2


def test_an_environment_that_cannot_be_encrypted_is_an_error_of_the_commit(begin, fleet):
    values = Values(name="deploy-pubkey", compose_file=COMPOSE)
    env = {"TOKEN": "of-a-test"}
    answer = Provisioned.request(fleet.client, values, tuple(env))
    bad = answer.answer.__class__(app_id=answer.answer.app_id, app_env_encrypt_pubkey="00")
    provisioned = Provisioned(bad, answer.body, answer.env_names, answer.at)
    with pytest.raises(CvmError):
        provisioned.commit(fleet.operator, EnvTable(env).values())
    deployment, reach = begin(env, provisioned=provisioned)
    assert deployment.commit(values)
    reach("provisioned")
    until(lambda: deployment.errors)
    assert deployment.operation is None
    assert fleet.operator.records() == ()


def test_a_dry_run_has_the_price_and_the_place(fleet, fresh_cloud):
    values = Values(name="deploy-offer", compose_file=COMPOSE)
    provisioned = Provisioned.request(fleet.client, values, ("A", "B"))
    offer = Offer.read(fleet.client, values, provisioned.answer, provisioned.env_names)
    rows = dict(offer.rows)
    assert rows["environment"] == "A, B"
    assert rows["price"].endswith("USD a month")
    assert rows["node"]
    assert offer.usd_h > 0
    assert commits(fresh_cloud) == 0


def test_boxes_commit_after_the_last_value_and_again_only_when_it_was_refused(fleet, fresh_cloud):
    values = Values(name="deploy-boxed", compose_file=COMPOSE)
    env = EnvTable.of({"A": None, "B": None})
    provisioned = Provisioned.request(fleet.client, values, env.names)
    pending = PendingDeployment(fleet, values, provisioned, env)
    assert repr(pending) == "<Deployment of 'deploy-boxed': waits for A, B>"
    assert "B" in pending._repr_mimebundle_()["text/plain"]
    fresh_cloud.inject(REFUSED)
    assert pending._give("A", Secret("1")) is None
    assert pending._give("B", Secret("2")) == "sent; deploy-boxed is being made"
    until(lambda: pending.operation is not None and pending.operation.done)
    until(lambda: pending._deployment.phase == "provisioned")
    assert "403" in pending._problem
    assert pending._give("B", Secret("2")) == "sent; deploy-boxed is being made"
    assert pending._give("B", Secret("3")) in {"sent; deploy-boxed is being made", None}
    until(lambda: pending._deployment.phase == "running")
    assert pending.missing == ("A", "B")  # no value is kept
    assert commits(fresh_cloud) == 2
