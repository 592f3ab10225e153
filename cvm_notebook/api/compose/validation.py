"""A Docker Compose file, read once for every check before it is sent; errors name the line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cvm_notebook.api.compose.interpolation import Variables, variables_of
from cvm_notebook.api.compose.yaml_tree import YamlNode, read_yaml, texts
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.text import clean_text

LARGEST_BYTES: Final = 200 * 1024  # of the compose file and the pre-launch script together
_SOURCES: Final = ("image", "build", "extends", "provider")
_LONGEST_IMAGE: Final = 1024  # characters; a name, a tag and a digest have half of it
_SERVICES: Final = 'Give it a mapping "services" with one service or more.'


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """A parsed Docker Compose file.

    Attributes
    ----------
    images
        The image of each service; empty where it is built, or stands in another file.
    variables
        What it takes from its environment.
    """

    images: Mapping[str, str]
    variables: Variables


def check_compose_file(text: object, field: str = "compose_file") -> str:
    """Return the text if Docker Compose could run it, as far as can be checked from here.

    Raises
    ------
    InvalidInput
        As `read_compose_file`.
    """
    read_compose_file(text, field)
    return str(text)  # a text of numpy as Python's own


def read_compose_file(text: object, field: str = "compose_file") -> ComposeFile:
    """Read the text of a Docker Compose file.

    Raises
    ------
    InvalidInput
        It is too large, no YAML, has no services, or a service has nothing to run.
    """
    if not isinstance(text, str):
        problem = f"it is {type(text).__name__}, not the text of a Docker Compose file"
        raise InvalidInput(field, problem, "Give pathlib.Path(...).read_text().")
    text = str(text)  # of numpy, as Python's own
    if names_a_file(text):
        problem = "it is a path, not the text of a Docker Compose file"
        raise InvalidInput(field, problem, f"Give pathlib.Path({text.strip()!r}).read_text().")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > LARGEST_BYTES:
        problem = f"it has {size / 1024:,.0f} KiB; the service takes 200"
        raise InvalidInput(field, problem, "Move data into the image.")
    root = read_yaml(text, field)
    if root is None:
        raise InvalidInput(field, "it is empty", 'It begins with "services:".')
    services = _services(root, field)
    found = variables_of(texts(root))
    passed_on = {name for service in services.values() for name in _passed_on(service)}
    needed = found.needed | passed_on
    variables = Variables(needed, found.optional - needed)
    return ComposeFile(_images(services, field), variables)


def names_a_file(text: str) -> bool:
    """Return whether a text is the path of a compose file rather than one."""
    stripped = text.strip()
    return "\n" not in stripped and stripped.endswith((".yml", ".yaml"))


def read_text_file(field: str, path: str, most_bytes: int) -> str:
    """Return a text from the kernel's machine; an error has the file's name, and nothing of it.

    Raises
    ------
    InvalidInput
        It cannot be read, is not a text, or is larger than that.
    """
    shown = clean_text(path, 120)
    try:
        with Path(path).expanduser().open("rb") as file:
            content = file.read(most_bytes + 1)
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        problem = f"{shown} cannot be read ({why})"
        raise InvalidInput(field, problem, "Paths are the kernel's.") from None
    if len(content) > most_bytes:  # before it is decoded: the cut may lie within a character
        raise InvalidInput(field, f"{shown} has more than {most_bytes >> 10:,} KiB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"{shown} is not a text, from line {line} on"
        raise InvalidInput(field, problem, "Save it as UTF-8.") from None


# --- services ----------------------------------------------------------------------------------


def _services(root: YamlNode, field: str) -> Mapping[str, Mapping[str, YamlNode]]:
    """Return the members of each service."""
    if root.kind != "mapping":
        raise InvalidInput(field, f"it is a {root.kind}, not a mapping", _SERVICES)
    services = root.whole().get("services")
    if services is None:
        raise InvalidInput(field, "it has no services", _SERVICES)
    if services.kind != "mapping":
        described = "empty" if services.is_null else f"a {services.kind}, not a mapping"
        raise _wrong(services, f"services is {described}", field, _SERVICES)
    return {
        name: _members(service, f"the service {clean_text(name, 60)!r}", field)
        for name, service in services.whole().items()
    }


def _members(service: YamlNode, named: str, field: str) -> Mapping[str, YamlNode]:
    """Return the members of a service that has something to run."""
    if service.kind != "mapping":
        raise _wrong(service, f"{named} is not a mapping", field)
    members = service.whole()
    if not any(_is_there(members.get(source)) for source in _SOURCES):
        raise _wrong(service, f"{named} has neither image nor build", field)
    image = members.get("image")
    if image is not None and image.kind != "text":
        raise _wrong(image, f"the image of {named} is a {image.kind}, not a text", field)
    if image is not None and len(image.text) > _LONGEST_IMAGE:
        problem = f"the image of {named} has {len(image.text):,} characters"
        raise _wrong(image, problem, field, f"No image has more than {_LONGEST_IMAGE:,}.")
    return members


def _is_there(node: YamlNode | None) -> bool:
    return node is not None and not node.is_null and (node.kind != "text" or bool(node.text))


def _images(services: Mapping[str, Mapping[str, YamlNode]], field: str) -> dict[str, str]:
    """Return the image of each service, its own or that of the service it extends."""
    found: dict[str, str] = {}
    for service in services:
        name, image, chain = service, "", dict[str, None]()
        while name not in found and not (image := _text(services[name].get("image"))):
            chain[name] = None
            extends = services[name].get("extends")
            base = None if extends is None else _extended(extends)
            if extends is None or base is None:
                break
            if base in chain or base not in services:
                why = "which extends it" if base in chain else "which is not a service"
                raise _wrong(extends, f"it extends {clean_text(base, 60)!r}, {why}", field)
            name = base
        image = found.setdefault(name, image)
        found |= dict.fromkeys(chain, image)
    return {service: found[service] for service in services}


def _text(node: YamlNode | None) -> str:
    return node.text if node is not None and not node.is_null else ""


def _extended(extends: YamlNode) -> str | None:
    """Return the service of the same file that is extended; None where it is another file's."""
    if extends.kind == "text":
        return extends.text
    members = extends.whole()
    service = members.get("service")
    return service.text if service is not None and "file" not in members else None


def _passed_on(service: Mapping[str, YamlNode]) -> list[str]:
    """Return the variables that are named without a value: they come from outside."""
    environment = service.get("environment")
    if environment is None:
        return []
    named = [name for name, value in environment.whole().items() if value.is_null]
    return named + [entry.text for entry in environment.items if _has_no_value(entry)]


def _has_no_value(entry: YamlNode) -> bool:
    return entry.kind == "text" and bool(entry.text) and not {"=", "$"} & set(entry.text)


def _wrong(
    node: YamlNode, problem: str, field: str, remedy: str = "Give it an image."
) -> InvalidInput:
    return InvalidInput(field, f"line {node.line}: {problem}", remedy)
