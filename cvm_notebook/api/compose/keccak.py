"""Keccak-256, as Ethereum and dstack's key services hash: SHA3-256 with the padding of before.

The standard library has only SHA3; a library for this one hash of a few bytes would be a dependency
of every install.
"""

from typing import Final

_RATE: Final = 136
_LANES: Final = 25
_MASK: Final = (1 << 64) - 1


def _constants() -> tuple[int, ...]:
    """Return the round constants of FIPS 202, section 3.2.5."""
    found, state = [], 1
    for _ in range(24):
        constant = 0
        for bit in range(7):
            if state & 1:
                constant |= 1 << ((1 << bit) - 1)
            state = (state << 1) ^ (0x171 if state & 0x80 else 0)
        found.append(constant)
    return tuple(found)


def _walk() -> tuple[tuple[int, int], ...]:
    """Return where each lane goes, and how far it turns (sections 3.2.2 and 3.2.3)."""
    x, y, steps = 1, 0, []
    for step in range(24):
        x, y = y, (2 * x + 3 * y) % 5
        steps.append((x + 5 * y, (step + 1) * (step + 2) // 2 % 64))
    return tuple(steps)


_CONSTANTS: Final = _constants()
_WALK: Final = _walk()


def keccak256(data: bytes) -> bytes:
    """Return the Keccak-256 of some bytes.

    Examples
    --------
    >>> keccak256(b"").hex()[:16]
    'c5d2460186f7233c'
    """
    padded = bytearray(data) + b"\1" + bytes(-(len(data) + 1) % _RATE)
    padded[-1] |= 0x80
    state = [0] * _LANES
    for begin in range(0, len(padded), _RATE):
        for lane in range(_RATE // 8):
            at = begin + 8 * lane
            state[lane] ^= int.from_bytes(padded[at : at + 8], "little")
        state = _permuted(state)
    return b"".join(lane.to_bytes(8, "little") for lane in state[:4])


def _permuted(state: list[int]) -> list[int]:
    for constant in _CONSTANTS:
        column = [
            state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20]
            for x in range(5)
        ]
        turned = [column[x - 1] ^ _turn(column[(x + 1) % 5], 1) for x in range(5)]
        state = [lane ^ turned[at % 5] for at, lane in enumerate(state)]
        carried = state[1]
        for at, by in _WALK:
            state[at], carried = _turn(carried, by), state[at]
        state = [
            state[at] ^ (~state[at - at % 5 + (at + 1) % 5] & state[at - at % 5 + (at + 2) % 5])
            for at in range(_LANES)
        ]
        state[0] ^= constant
    return [lane & _MASK for lane in state]


def _turn(lane: int, by: int) -> int:
    lane &= _MASK
    return (lane << by | lane >> (64 - by)) & _MASK
