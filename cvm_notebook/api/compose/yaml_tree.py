"""Read YAML as a tree of the text that stands there, within bounds; nothing is constructed."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.text import clean_text

if TYPE_CHECKING:
    import yaml

Kind = Literal["text", "list", "mapping"]

_MOST_NODES: Final = 100_000  # with every alias written out
_DEEPEST: Final = 60
_CORRECT: Final = "Correct the YAML there."
_MERGE: Final = "<<"
_RESET: Final = "!reset"  # Docker Compose: the member is taken out
_STANDARD: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset({"", "!", _RESET, "!override"}) | {
    f"{_STANDARD}{name}"
    for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp", "binary")
}
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
# what neither libyaml nor go-yaml takes
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]|(?<!^)\ufeff"
)


@dataclass(slots=True, eq=False)
class YamlNode:
    """A value of the file; where it is named again by an alias it is the same node.

    Attributes
    ----------
    text
        A scalar as it stands there: ``2024-13-45``, ``=`` and ``0o17`` are texts.
    plain
        Whether a scalar stands without quotes and without a tag.
    members
        Of a mapping, without what it merges.
    merged
        The mappings that a ``<<`` names, the strongest first.
    size, height
        Of what is below it, every alias written out.
    """

    kind: Kind
    line: int
    tag: str = ""
    text: str = ""
    plain: bool = False
    items: list["YamlNode"] = field(default_factory=list)
    members: dict[str, "YamlNode"] = field(default_factory=dict)
    merged: tuple["YamlNode", ...] = ()
    size: int = 1
    height: int = 1

    @property
    def is_null(self) -> bool:
        """Whether the value is empty, or an unquoted null."""
        return self.kind == "text" and self.plain and self.text in _NULLS

    def whole(self) -> Mapping[str, "YamlNode"]:
        """Return the members of a mapping with its merge keys resolved; its own take precedence."""
        found: dict[str, YamlNode] = {}
        for part in self.merged:
            found = {**part.whole(), **found}
        found |= self.members
        return {name: node for name, node in found.items() if node.tag != _RESET}


def read_yaml(text: str, argument: str) -> YamlNode | None:
    """Return the tree of a YAML text; None where it is empty.

    Raises
    ------
    InvalidInput
        It is no YAML, holds a second document, a name twice, a tag, or is too large with its
        aliases written out. The message names the line and `argument`.
    """
    _check_characters(text, argument)
    import yaml  # noqa: PLC0415 - slow to import, needed by this function only

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = _Tree(argument).grow(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error, argument) from None
    except yaml.YAMLError as error:
        problem = f"it is not YAML ({clean_text(str(error).partition(chr(10))[0], 120)})"
        raise InvalidInput(argument, problem, _CORRECT) from None
    return None if root is None or root.is_null else root


def _check_characters(text: str, argument: str) -> None:
    strange = _CONTROL.search(text)
    if strange is not None:
        line, code = text.count("\n", 0, strange.start()) + 1, f"U+{ord(strange[0]):04X}"
        half = "\ud800" <= strange[0] <= "\udfff"
        problem = f"{code}, a lone surrogate, is not a text" if half else f"{code} is not YAML"
        raise InvalidInput(argument, f"line {line}: {problem}", "Save it as UTF-8 text.")


def _not_yaml(error: "yaml.MarkedYAMLError", argument: str) -> InvalidInput:
    mark = error.problem_mark or error.context_mark
    line = f"line {mark.line + 1}: " if mark else ""
    if "nesting depth" in (error.problem or ""):  # newer parsers count for themselves
        return _too_large(line, argument)
    reported = ", ".join(part for part in (error.context, error.problem) if part)
    problem = clean_text(reported or "it is not YAML", 160)
    return InvalidInput(argument, f"{line}{problem}", _CORRECT)


def _too_large(line: str, argument: str) -> InvalidInput:
    problem = f"{line}its aliases or nesting make it too large"
    return InvalidInput(argument, problem, "Write it out with fewer aliases and levels.")


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come; of a mapping, the name whose value comes next."""

    node: YamlNode
    name: tuple[str, bool] | None = None  # and whether it is a merge
    lines: dict[tuple[str, bool], int] = field(default_factory=dict)


class _Tree:
    """Makes nodes of a parser's events, and ends at the first that is wrong."""

    def __init__(self, argument: str) -> None:
        self._argument = argument
        self._root: YamlNode | None = None
        self._open: list[_Open] = []
        self._anchors: dict[str, YamlNode] = {}

    def grow(self, events: Iterable[Any]) -> YamlNode | None:
        """Return the root of the only document; None where there is none."""
        documents = 0
        for event in events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    problem = "expected a single document, and a second one begins"
                    raise self._wrong(_line(event), problem, "Give one document.")
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                node = self._open.pop().node
                self._put(node, node.line)
            elif kind == "AliasEvent":
                self._put(self._named(event), _line(event))
            elif kind in _KINDS:
                self._begin(event, _KINDS[kind])
        return self._root

    def _begin(self, event: Any, kind: Kind) -> None:
        line, tag = _line(event), event.tag or ""
        if tag not in _TAGS:
            shown = clean_text(tag.replace(_STANDARD, "!!"), 60)
            raise self._wrong(line, f"the tag {shown} is not taken", "Write it without a tag.")
        node = YamlNode(kind, line, tag)
        if event.anchor:
            self._anchors[event.anchor] = node
        if kind == "text":
            node.text, node.plain = event.value, not event.style and not tag
            self._put(node, line)
            return
        self._open.append(_Open(node))
        if len(self._open) > _DEEPEST:
            raise _too_large(f"line {line}: ", self._argument)

    def _named(self, event: Any) -> YamlNode:
        node, shown = self._anchors.get(event.anchor), clean_text(event.anchor, 60)
        if node is None:
            problem = f"undefined alias: no &{shown} stands before *{shown}"
            raise self._wrong(_line(event), problem)
        if any(part.node is node for part in self._open):
            raise _too_large(f"line {_line(event)}: ", self._argument)  # it would have no end
        return node

    def _put(self, node: YamlNode, line: int) -> None:
        """Put a node that is whole where it belongs."""
        if not self._open:
            self._root = node
            return
        part = self._open[-1]
        parent = part.node
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        if parent.size > _MOST_NODES or len(self._open) + node.height > _DEEPEST:
            raise _too_large(f"line {line}: ", self._argument)
        if parent.kind == "list":
            parent.items.append(node)
        elif part.name is None:
            part.name = self._name(part, node, line)
        else:
            (name, merges), part.name = part.name, None
            if merges:
                parent.merged = self._merged(node, line)
            else:
                parent.members[name] = node

    def _name(self, part: _Open, node: YamlNode, line: int) -> tuple[str, bool]:
        """Return the name of the member to come, and whether it is a merge."""
        if node.kind != "text":
            remedy = "Fill templates such as {{ name }} in first, or put the value in quotes."
            raise self._wrong(line, f"a {node.kind} stands where a name should", remedy)
        name = node.text, node.plain and node.text == _MERGE
        if name in part.lines:
            shown, first = clean_text(node.text, 60), part.lines[name]
            problem = f"{shown!r} is given twice, first in line {first}"
            remedy = "Merge a list: <<: [*a, *b]." if name[1] else "Give it once."
            raise self._wrong(line, problem, remedy)
        part.lines[name] = line
        return name

    def _merged(self, node: YamlNode, line: int) -> tuple[YamlNode, ...]:
        parts = tuple(node.items) if node.kind == "list" else (node,)
        if any(part.kind != "mapping" for part in parts):
            remedy = "Name a mapping, or a list of them: <<: *base."
            raise self._wrong(line, "<< merges what is not a mapping", remedy)
        return parts

    def _wrong(self, line: int, problem: str, remedy: str = _CORRECT) -> InvalidInput:
        return InvalidInput(self._argument, f"line {line}: {problem}", remedy)


_KINDS: Final[Mapping[str, Kind]] = {
    "ScalarEvent": "text",
    "SequenceStartEvent": "list",
    "MappingStartEvent": "mapping",
}


def _line(event: Any) -> int:
    line: int = event.start_mark.line + 1
    return line


def texts(root: YamlNode) -> Iterator[str]:
    """Yield each text of the tree that is a value, once; names are none."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.kind == "text":
            yield node.text
        waiting += [*node.items, *node.members.values(), *node.merged]
