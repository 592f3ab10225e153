"""Templates are compose files that run as they are: pinned, without a secret, of a fitting size."""

import re

import pytest

from cvm_notebook.api.client import Client
from cvm_notebook.api.compose.corrections import misspelt_in
from cvm_notebook.api.compose.validation import read_compose_file
from cvm_notebook.api.compose.yaml_tree import read_yaml
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.secret import Secret
from cvm_notebook.deploy.deployment import Provisioned
from cvm_notebook.deploy.spec import Values
from cvm_notebook.deploy.templates import TEMPLATES, template_of
from cvm_notebook.live.operations.service import OperationService

PORTS = {"nginx": ["80"], "jupyter": ["8888"], "vllm": ["8000"], "postgres": ["5432"]}
PATIENCE = 30.0


@pytest.mark.parametrize("key", TEMPLATES)
def test_a_template_is_pinned_and_holds_no_secret(key):
    text = TEMPLATES[key].compose_file
    for image in read_compose_file(text).images.values():
        assert re.search(r":v?\d+([.-]\d+)+$", image), image
    assert misspelt_in(text) == ()
    for service in read_yaml(text, "compose_file").whole()["services"].whole().values():
        environment = service.whole().get("environment")
        for name, value in environment.whole().items() if environment else ():
            secret = re.search("PASSWORD|TOKEN|KEY", name)
            assert not secret or value.text.startswith(f"${{{name}:"), name


@pytest.mark.parametrize("key", TEMPLATES)
def test_what_is_stored_outlives_an_update_of_the_file(key):
    """A path within a container that is written to is a named volume, and none is left over."""
    root = read_yaml(TEMPLATES[key].compose_file, "compose_file").whole()
    named = set(root["volumes"].whole()) if "volumes" in root else set()
    mounted = {
        mount.text.partition(":")[0]
        for service in root["services"].whole().values()
        for mount in (service.whole().get("volumes").items if "volumes" in service.whole() else ())
    }
    assert mounted == named


def test_the_template_on_a_gpu_asks_for_one_and_has_a_size_with_one():
    vllm = TEMPLATES["vllm"]
    service = read_yaml(vllm.compose_file, "compose_file").whole()["services"].whole()["vllm"]
    reserved = service.whole()["deploy"].whole()["resources"].whole()["reservations"].whole()
    (device,) = reserved["devices"].items
    assert [one.text for one in device.whole()["capabilities"].items] == ["gpu"]
    assert vllm.instance_type.startswith("h")


def test_a_template_that_there_is_not_is_refused_with_the_nearest():
    with pytest.raises(InvalidInput, match="there is no template 'postgresql'") as refused:
        template_of("postgresql")
    assert refused.value.remedy == "Did you mean postgres?"
    with pytest.raises(InvalidInput, match="no template"):
        template_of(["nginx"])


@pytest.mark.parametrize("key", TEMPLATES)
def test_a_template_is_deployed_as_it_is(shared, key):
    template = TEMPLATES[key]
    values = Values(**template.fields(), name=template.name)
    assert not values.problems()
    with Client(api_key=shared.new_workspace()["api_key"], base_url=shared.url) as client:
        names = template.env_names
        operations = OperationService(client)
        offer = Provisioned.request(client, values, names)
        operation = offer.commit(operations, {name: Secret("one-that-is-long") for name in names})
        assert operation.wait(PATIENCE).record.state == "reached"
        made = client.get_cvm_info(operation.made_id)
        operations.close(2.0)
        compose = client.get_cvm_compose_file(made.id)
    assert (made.status, made.resource.instance_type) == ("running", template.instance_type)
    assert (made.public_logs, made.resource.disk_in_gb) == (
        template.public_logs,
        template.disk_size,
    )
    assert compose["docker_compose_file"] == template.compose_file
    assert compose.get("allowed_envs", []) == list(names)
    ports = [re.search(r"-(\d+)\.", one.app)[1] for one in made.endpoints]
    assert ports == PORTS[key]
