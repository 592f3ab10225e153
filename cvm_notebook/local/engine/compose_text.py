"""Read a Docker Compose text as Docker does: scalars are text, and aliases are bounded."""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_NODES = 100_000
"""How many values a file may have once its aliases are written out."""
MAX_DEPTH = 60

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORBIDDEN = re.compile(
    "[^\\t\\n\\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|(?<=.)\ufeff", re.DOTALL
)
_TAGS = {"!", "!reset", "!override"} | {
    "tag:yaml.org,2002:" + name
    for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp", "binary")
}
_NULL = {"", "~", "null", "Null", "NULL"}


class ComposeTextError(ValueError):
    """A text that Docker Compose would refuse; it says in which line."""


class Members(dict[str, Any]):
    """A mapping that knows in which line each of its names stands."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


@dataclass
class _Value:
    """A value that has been read: text, None, list or `Members`."""

    data: Any
    line: int
    text: str = ""
    weight: int = 1
    depth: int = 1
    plain: bool = False
    reset: bool = False


@dataclass
class _Frame:
    """A list or mapping that has not ended."""

    value: _Value
    anchor: str | None
    key: str | None = None
    merges: bool = False
    given: dict[tuple[str, bool], int] = field(default_factory=dict)
    merged: list[Members] = field(default_factory=list)
    reset: set[str] = field(default_factory=set)


def read(text: str) -> Any:
    """Return the data of the one document in a text; None where it has none.

    Raises
    ------
    ComposeTextError
        It can't be read, or is not what Docker takes.
    """
    bad = _FORBIDDEN.search(text)
    if bad is not None:
        line = text.count("\n", 0, bad.start()) + 1
        raise ComposeTextError(f"line {line}: character U+{ord(bad[0]):04X} is not allowed in YAML")
    try:
        return _Builder().build(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise ComposeTextError(f"{where}not YAML: {error.problem or 'broken'}") from None
    except yaml.YAMLError:
        raise ComposeTextError("not YAML") from None


class _Builder:
    """Follows the parser's events; nothing is built but text, lists and mappings."""

    def __init__(self) -> None:
        self.root: Any = None
        self.frames: list[_Frame] = []
        self.anchors: dict[str, _Value | None] = {}

    def build(self, text: str) -> Any:
        began = False
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.DocumentStartEvent):
                if began:
                    raise _error(_line(event), "a second document begins here")
                began = True
            elif isinstance(event, yaml.NodeEvent):
                self._node(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end()
        return self.root

    def _node(self, event: Any) -> None:
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            self._add(self._aliased(str(event.anchor), line), line)
            return
        tag = event.tag
        if tag is not None and tag not in _TAGS:
            raise _error(line, f"tag {str(tag)[:60]!r} is not supported")
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, line)
            if event.anchor:
                self.anchors[event.anchor] = value
            self._add(value, line)
            return
        data = Members() if isinstance(event, yaml.MappingStartEvent) else []
        value = _Value(data, line, reset=tag == "!reset")
        if event.anchor:
            self.anchors[event.anchor] = None  # not to be used within itself
        self.frames.append(_Frame(value, event.anchor))
        if len(self.frames) > MAX_DEPTH:
            raise _error(line, "nested too deep")

    @staticmethod
    def _scalar(event: Any, line: int) -> _Value:
        plain = not event.style and event.tag is None
        data = None if plain and event.value in _NULL else event.value
        return _Value(data, line, event.value, plain=plain, reset=event.tag == "!reset")

    def _aliased(self, anchor: str, line: int) -> _Value:
        if anchor not in self.anchors:
            raise _error(line, f"unknown alias {anchor[:60]!r}")
        value = self.anchors[anchor]
        if value is None:
            raise _error(line, f"alias {anchor[:60]!r} contains itself")
        return value

    def _end(self) -> None:
        frame = self.frames.pop()
        value = frame.value
        if isinstance(value.data, Members):
            for part in frame.merged:
                for name in part.keys() - value.data.keys():
                    value.data[name] = part[name]
                    value.data.lines[name] = part.lines[name]
            for name in frame.reset:
                value.data.pop(name, None)
        if frame.anchor:
            self.anchors[frame.anchor] = value
        self._add(value, value.line)

    def _add(self, value: _Value, line: int) -> None:
        if not self.frames:
            self.root = value.data
            return
        frame = self.frames[-1]
        frame.value.weight += value.weight
        frame.value.depth = max(frame.value.depth, value.depth + 1)
        if frame.value.weight > MAX_NODES or len(self.frames) + value.depth > MAX_DEPTH:
            raise _error(line, "too large with its aliases written out")
        if isinstance(frame.value.data, list):
            frame.value.data.append(value.data)
        elif frame.key is None:
            self._key(frame, value, line)
        else:
            self._member(frame, frame.key, value, line)

    @staticmethod
    def _key(frame: _Frame, value: _Value, line: int) -> None:
        if isinstance(value.data, list | dict):
            raise _error(line, "a key is not text; a template has to be filled in first")
        name, merges = value.text, value.plain and value.text == "<<"
        if (name, merges) in frame.given:
            first = frame.given[name, merges] + 1
            raise _error(line, f"key {name[:60]!r} is already defined at line {first}")
        frame.given[name, merges] = line
        frame.key, frame.merges = name, merges

    @staticmethod
    def _member(frame: _Frame, name: str, value: _Value, line: int) -> None:
        frame.key = None
        if frame.merges:
            parts = value.data if isinstance(value.data, list) else [value.data]
            if not all(isinstance(part, Members) for part in parts):
                raise _error(line, "<< merges something that is not a mapping")
            frame.merged += parts
            return
        frame.value.data[name] = value.data
        frame.value.data.lines[name] = line + 1
        if value.reset:
            frame.reset.add(name)


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line


def _error(line: int, message: str) -> ComposeTextError:
    return ComposeTextError(f"line {line + 1}: {message}")
