"""Templates: compose files to begin a CVM with, and the size that fits each."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from cvm_notebook.api.compose.validation import read_compose_file
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.api.resources.cvm_ref import near_miss
from cvm_notebook.text import clean_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A compose file to begin with, and what fits it; frozen.

    Attributes
    ----------
    key
        Its name in code, and that of its file in ``template_files``.
    title, about
        For people.
    name
        Proposed for the CVM.
    disk_size
        In GB.
    public_logs
        Whether anyone may read the logs: not where they show what users ask or store.
    """

    key: str
    title: str
    about: str
    name: str
    instance_type: str = "tdx.small"
    disk_size: int = 20
    public_logs: bool = True

    @property
    def compose_file(self) -> str:
        """The text of the compose file."""
        folder = files("cvm_notebook.deploy") / "template_files"
        return (folder / f"{self.key}.yml").read_text("utf-8")

    @property
    def env_names(self) -> tuple[str, ...]:
        """The variables that must be given a value, in alphabetical order."""
        return tuple(sorted(read_compose_file(self.compose_file).variables.needed))

    def fields(self) -> dict[str, Any]:
        """Return what a form is filled with, but for the name."""
        return {
            "compose_file": self.compose_file,
            "pre_launch_script": "",
            "instance_type": self.instance_type,
            "disk_size": self.disk_size,
            "public_logs": self.public_logs,
        }


_ALL: Final = (
    Template(key="nginx", title="nginx", about="A web server", name="my-nginx"),
    Template(
        key="jupyter",
        title="Jupyter",
        about="JupyterLab with the scientific Python stack",
        name="my-jupyter",
        instance_type="tdx.medium",
        disk_size=40,
        public_logs=False,
    ),
    Template(
        key="vllm",
        title="vLLM (GPU)",
        about="A language model behind an OpenAI-compatible API, on one H100",
        name="my-vllm",
        instance_type="h100.small",
        disk_size=100,
        public_logs=False,
    ),
    Template(
        key="postgres",
        title="PostgreSQL",
        about="A database with its data in a volume",
        name="my-postgres",
        instance_type="tdx.medium",
        disk_size=40,
        public_logs=False,
    ),
)
TEMPLATES: Final = {template.key: template for template in _ALL}


def template_of(key: object) -> Template:
    """Return a template by its key.

    Raises
    ------
    InvalidInput
        There is no such template; the message has the closest.
    """
    found = TEMPLATES.get(key) if isinstance(key, str) else None
    if found is None:
        shown = clean_text(key, 40)
        meant = near_miss(shown, TEMPLATES, cutoff=0.6)
        remedy = f"Did you mean {meant}?" if meant else f"Choose one of {', '.join(TEMPLATES)}."
        raise InvalidInput("template", f"there is no template {shown!r}", remedy)
    return found
