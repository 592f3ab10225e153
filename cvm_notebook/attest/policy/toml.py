"""Writing of TOML: the values that a policy has; the standard library only reads it."""

import json
from collections.abc import Mapping
from typing import Any


def to_toml(mapping: Mapping[str, Any]) -> str:
    """Write a mapping of texts, numbers, flags, lists, tables and lists of tables."""
    tables = {name: value for name, value in mapping.items() if _is_table(value)}
    lines = [f"{name} = {_value(value)}" for name, value in mapping.items() if name not in tables]
    for name, value in tables.items():
        several = isinstance(value, list)
        for table in value if several else [value]:
            lines += ["", f"[[{name}]]" if several else f"[{name}]"]
            lines += [f"{key} = {_value(one)}" for key, one in table.items()]
    return "\n".join(lines).lstrip("\n") + "\n"


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)
    )


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    # JSON's escapes are TOML's, but for one
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
