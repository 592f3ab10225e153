"""Secret: a string that does not show itself; and where the service sends one."""

import hmac
import re
from typing import Any, Final, NoReturn, Self, final

MASK: Final = "••••"


@final
class Secret:
    """A string that must be asked for by name: ``secret.reveal()``.

    Printing, formatting, logging, ``vars()`` and JSON show a mask or refuse; pickling refuses.

    Parameters
    ----------
    value
        What must not be shown.
    """

    __slots__ = ("_value",)
    _value: str

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            # The value is not named: it may be the secret in a wrong type, such as bytes.
            raise TypeError(f"Secret takes a str, not {type(value).__name__}.")
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """Return the value itself. Hand it to what needs it and keep no copy."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str, /) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self._value), _bytes(other._value))

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any], /) -> Self:
        return self

    def __setattr__(self, name: str, value: object, /) -> NoReturn:
        raise AttributeError("A Secret does not change; make a new one.")

    def __delattr__(self, name: str, /) -> NoReturn:
        raise AttributeError("A Secret does not change; make a new one.")

    def __getstate__(self) -> NoReturn:
        raise TypeError(_NO_PICKLE)

    def __reduce_ex__(self, protocol: object, /) -> NoReturn:
        raise TypeError(_NO_PICKLE)


_GRANTS: Final = re.compile(
    r"token$|secret|passw(or)?d|api_?key|private_?key|credential|device_code"
    r"|log_endpoint|syslog_endpoint|commit_url|login_url|authorization",
    re.IGNORECASE,
)
_IN_ADDRESS: Final = re.compile(
    r"[?&#][\w-]*(token|key|sig|signature|secret|passw\w*)=", re.IGNORECASE
)
_DEEPEST: Final = 20


def sealed(value: Any, name: str = "", depth: int = 0) -> Any:
    """Return JSON of the service in which each text that grants access is a Secret.

    Its name says so, or it is an address with a token in its query. A list takes the name of its
    member; what is nested deeper than any answer is left out.
    """
    if isinstance(value, str):
        grants = _GRANTS.search(name) or ("://" in value and _IN_ADDRESS.search(value))
        return Secret(value) if grants else value
    if depth > _DEEPEST:
        return None
    if isinstance(value, dict):
        return {k: sealed(v, str(k), depth + 1) for k, v in value.items()}
    return [sealed(v, name, depth + 1) for v in value] if isinstance(value, list) else value


def masked(value: Any) -> Any:
    """Return what `sealed` made with a mask in the place of each Secret, to be kept in a file."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, dict):
        return {k: masked(v) for k, v in value.items()}
    return [masked(v) for v in value] if isinstance(value, list) else value


_NO_PICKLE: Final = (
    "A Secret is not pickled: the pickle would hold it in the clear. "
    "Give the other process its key by its environment (PHALA_CLOUD_API_KEY) or a profile."
)


def _bytes(value: str) -> bytes:
    """Encode for the comparison; a lone surrogate must not make it fail."""
    return value.encode("utf-8", "surrogatepass")
