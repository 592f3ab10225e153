"""The check of a Docker Compose file, before it is sent: it names the line that is wrong."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from cvm_notebook.api.envelopes import clean_text
from cvm_notebook.api.errors import InvalidInput

if TYPE_CHECKING:
    import yaml

LARGEST_BYTES: Final = 200 * 1024  # of the compose file and the pre-launch script together
_MOST_NODES: Final = 100_000
_DEEPEST: Final = 60
_SOURCES: Final = frozenset({"image", "build", "extends", "provider"})
_PLAIN_TAGS: Final = "tag:yaml.org,2002:"
_REMEDY: Final = "`docker compose config` shows how Docker reads it."


def check_compose_file(text: object, field: str = "compose_file") -> str:
    """Return the text if Docker Compose could run it, as far as can be told from here.

    Raises
    ------
    InvalidInput
        It is too large, no YAML, has no services, or a service has nothing to run.
    """
    if not isinstance(text, str):
        problem = f"it is {type(text).__name__}, not the text of a Docker Compose file"
        raise InvalidInput(field, problem, "Give pathlib.Path(...).read_text().")
    if "\n" not in text.strip() and text.strip().endswith((".yml", ".yaml")):
        problem = "it is a path, not the text of a Docker Compose file"
        raise InvalidInput(field, problem, f"Give pathlib.Path({text.strip()!r}).read_text().")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > LARGEST_BYTES:
        problem = f"it has {size / 1024:,.0f} KiB; the service takes 200"
        raise InvalidInput(field, problem, "Move data into the image.")
    root = _parse(text, field)
    if root is None:
        raise InvalidInput(field, "it is empty", 'It begins with "services:".')
    _check_services(root, field)
    return text


def _parse(text: str, field: str) -> "yaml.Node | None":
    """Return the tree of the file; nothing in it is constructed, so no tag can act."""
    import yaml  # noqa: PLC0415 - dear to import, needed by this function only

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_events(yaml.parse(text, Loader=loader), field)
        root: yaml.Node | None = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in (error.problem or ""):  # newer parsers count for themselves
            raise _too_large("", field) from None
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        said = ", ".join(part for part in (error.context, error.problem) if part)
        problem = clean_text(said or "it is not YAML", 160)
        raise InvalidInput(field, f"{line}{problem}", "Correct the YAML there.") from None
    except yaml.YAMLError as error:
        problem = f"it is not YAML ({clean_text(str(error).partition(chr(10))[0], 120)})"
        raise InvalidInput(field, problem, _REMEDY) from None
    except UnicodeEncodeError:
        raise InvalidInput(field, "it holds characters that are no text", _REMEDY) from None
    return root


def _check_events(events: Any, field: str) -> None:
    """Refuse tags and what would grow without bound, while the file is still flat."""
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str, int]] = [("", 0)]  # the anchor, and the nodes inside so far
    for event in events:
        _check_tag(event, field)
        kind, anchor, size = type(event).__name__, getattr(event, "anchor", None) or "", 0
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            open_nodes.append((anchor, 0))
            continue
        if kind in ("MappingEndEvent", "SequenceEndEvent"):
            anchor, size = open_nodes.pop()
        elif kind == "AliasEvent":
            # An alias inside of what it stands for has no end.
            within = any(name == anchor for name, _ in open_nodes)
            anchor, size = "", _MOST_NODES if within else sizes.get(anchor, 0)
        sizes[anchor] = size + 1
        name, total = open_nodes[-1]
        open_nodes[-1] = (name, total + size + 1)
        if total + size >= _MOST_NODES or len(open_nodes) > _DEEPEST:
            raise _too_large(_line(event), field)


def _too_large(where: str, field: str) -> InvalidInput:
    problem = f"{where}its aliases or nesting make it too large"
    return InvalidInput(field, problem, "Write it out with fewer aliases.")


def _check_tag(event: Any, field: str) -> None:
    tag = (getattr(event, "tag", None) or "").replace(_PLAIN_TAGS, "!!")
    if "python" in tag or (tag != "!" and not tag.startswith("!!") and tag):
        problem = f"{_line(event)}the tag {clean_text(tag, 60)} is not taken"
        raise InvalidInput(field, problem, "Write the value without a tag.")


def _check_services(root: Any, field: str) -> None:
    members = dict(_members(root)) if root.id == "mapping" else None
    if members is None:
        raise InvalidInput(field, f"it is a {_KINDS[root.id]}, not a mapping", _SERVICES_REMEDY)
    services = members.get("services")
    if services is None:
        raise InvalidInput(field, "it has no services", _SERVICES_REMEDY)
    if services.id != "mapping" or not services.value:
        raise InvalidInput(field, f"{_line(services)}services is empty", _SERVICES_REMEDY)
    for name, service in _members(services):
        shown = clean_text(name, 60)
        if service.id != "mapping":
            problem = f"{_line(service)}the service {shown!r} is no mapping"
            raise InvalidInput(field, problem, "Give it an image.")
        if not _SOURCES & {key for key, _ in _members(service)}:
            problem = f"{_line(service)}the service {shown!r} has neither image nor build"
            raise InvalidInput(field, problem, "Give it an image.")


_KINDS: Final = {"scalar": "text", "sequence": "list"}
_SERVICES_REMEDY: Final = 'Give it a mapping "services" with one service or more.'


def _members(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of a mapping, those it merges with ``<<`` too."""
    for key, value in node.value:
        name = str(key.value)
        if name == "<<":
            for merged in value.value if value.id == "sequence" else [value]:
                if merged.id == "mapping":
                    yield from _members(merged)
        else:
            yield name, value


def _line(node: Any) -> str:
    return f"line {node.start_mark.line + 1}: "
