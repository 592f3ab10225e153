"""Corrections of slips in a Docker Compose file, each tried before it is proposed; pure.

A slip is a missing colon, or space after it, a tab that indents, or a key that is nearly one of the
`Compose specification <https://github.com/compose-spec/compose-spec/blob/main/spec.md>`_.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cvm_notebook.api.compose.validation import read_compose_file
from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.text import clean_text

_TOP_KEYS: Final = "version name services networks volumes configs secrets include models"
_SERVICE_KEYS: Final = """
    annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs
    container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime
    cpu_shares cpus cpuset credential_spec depends_on deploy develop device_cgroup_rules devices dns
    dns_opt dns_search domainname entrypoint env_file environment expose extends external_links
    extra_hosts gpus group_add healthcheck hostname image init ipc isolation label_file labels links
    logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit models network_mode
    networks oom_kill_disable oom_score_adj pid pids_limit platform ports post_start pre_stop
    privileged profiles provider pull_policy read_only restart runtime scale secrets security_opt
    shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits
    use_api_socket user userns_mode uts volumes volumes_from working_dir
    """
_TOP: Final = frozenset(_TOP_KEYS.split())
_SERVICE: Final = frozenset(_SERVICE_KEYS.split())
_LARGEST: Final = 32 * 1024  # characters; a larger one is read too slowly to be tried often
_MOST_LINES: Final = 12  # that are looked at, and as many are tried again at most
_MOST_REMARKS: Final = 5
_CUTOFF: Final = 0.75
_IN_A_SERVICE: Final = 2  # below "services" and its name
_LINE: Final = re.compile(r"line (\d+)", re.IGNORECASE)
_KEY: Final = r"[A-Za-z_][\w.-]*"
_WORD: Final = re.compile(rf"{_KEY}")
_PAIR: Final = re.compile(rf"({_KEY})([ \t]*=[ \t]*|[ \t]+|:(?=\S))(\S.*)")
_SPELT: Final = re.compile(rf"({_KEY})(\s*:(?:\s.*)?)")
_DASHED: Final = re.compile(r"-([\"'\w].*)")
_WHY: Final = {":": 'missing space after ":"', "=": '"=" instead of ":"', "": 'missing ":"'}


@dataclass(frozen=True, slots=True)
class Correction:
    """A line as it was probably meant; frozen.

    Attributes
    ----------
    line
        Its number, from 1.
    text
        The whole line, with its indentation.
    why
        The slip.
    """

    line: int
    text: str
    why: str

    def applied(self, text: str) -> str:
        """Return a text with it."""
        lines = text.split("\n")
        lines[self.line - 1] = self.text
        return "\n".join(lines)

    def __str__(self) -> str:
        return f"Did you mean `{clean_text(self.text.strip(), 120)}`?"


def correction_of(text: str) -> Correction | None:
    """Return the correction that brings a compose file that is refused furthest towards one.

    Every proposal was tried: with it the file is taken, or the first error stands further down.
    None where no slip is recognised, or the file is taken as it is.
    """
    refused, line = _refused_at(text)
    if not refused or len(text) > _LARGEST:
        return None
    lines = text.split("\n")
    keys, tries = _keys_of(lines), 0
    for number in _suspects(lines, line):
        for proposal in _proposals(lines[number - 1], number, keys[number - 1]):
            tries += 1
            still, then = _refused_at(proposal.applied(text))
            if not still or (then or 0) > (line or 0):
                return proposal
            if tries >= _MOST_LINES:
                return None
    return None


def misspelt_in(text: str) -> tuple[Correction, ...]:
    """Return keys of a compose file that Docker Compose would refuse and that nearly are others."""
    if len(text) > _LARGEST:
        return ()
    lines = text.split("\n")
    found: list[Correction] = []
    for number, (line, keys) in enumerate(zip(lines, _keys_of(lines), strict=True), start=1):
        if keys and len(found) < _MOST_REMARKS:
            found += _closest_keys(line, number, keys)
    return tuple(one for one in found if not _refused_at(one.applied(text))[0])


def line_of(problem: str) -> int | None:
    """Return the number of the line that a problem begins with."""
    found = _LINE.match(problem)
    return int(found[1]) if found else None


def _refused_at(text: str) -> tuple[bool, int | None]:
    """Return whether a text is refused, and the line of the error where it has one."""
    try:
        read_compose_file(text)
    except InvalidInput as error:
        return True, line_of(error.problem)
    return False, None


def _suspects(lines: Sequence[str], line: int | None) -> list[int]:
    """Return the numbers of the lines to look at: the one that is named, those before it, all."""
    near = range(min(line or 0, len(lines)), 0, -1)
    found = [n for n in [*near, *range(len(near) + 1, len(lines) + 1)] if lines[n - 1].strip()]
    return found[:_MOST_LINES]


def _proposals(line: str, number: int, keys: frozenset[str]) -> Iterator[Correction]:
    """Yield what a line may have been meant to be, the likeliest first."""
    body = line.strip(" \t\r")
    lead = line[: len(line) - len(line.lstrip(" \t"))]
    if "\t" in lead:
        for width in (2, 4):
            spaces = lead.replace("\t", " " * width)
            yield Correction(number, spaces + body, "a tab instead of spaces")
    pair = None if body.startswith("#") else _PAIR.fullmatch(body)
    key = _meant(pair[1], keys) if pair is not None else None
    if pair is not None and key is not None:
        yield Correction(number, f"{lead}{key}: {pair[3]}", _WHY[pair[2].strip()])
    key = _meant(body, keys) if _WORD.fullmatch(body) else None
    if key is not None:
        yield Correction(number, f"{lead}{key}:", _WHY[""])
    yield from _closest_keys(line, number, keys)
    if dashed := _DASHED.fullmatch(body):
        yield Correction(number, f"{lead}- {dashed[1]}", 'missing space after "-"')


def _closest_keys(line: str, number: int, keys: frozenset[str]) -> Iterator[Correction]:
    """Yield the line with the closest known key."""
    body = line.strip(" \t\r")
    found = _SPELT.fullmatch(body)
    if found is not None and found[1] not in keys and not found[1].startswith("x-"):
        lead, key = line[: len(line) - len(line.lstrip(" \t"))], _nearest(found[1], keys)
        why = f"Docker Compose has no key `{clean_text(found[1], 40)}`"
        if key is not None:
            yield Correction(number, f"{lead}{key}{found[2]}", why)


def _meant(word: str, keys: frozenset[str]) -> str | None:
    """Return the key that a word is or nearly is; the word where any key may stand."""
    return word if not keys or word in keys else _nearest(word, keys)


def _nearest(word: str, keys: frozenset[str]) -> str | None:
    near = difflib.get_close_matches(word.lower(), sorted(keys), n=1, cutoff=_CUTOFF)
    return near[0] if near else None


def _keys_of(lines: Sequence[str]) -> list[frozenset[str]]:
    """Return for each line the keys that may stand in it; none where any may."""
    found: list[frozenset[str]] = []
    above: list[tuple[int, str]] = []  # what the line is indented under
    for line in lines:
        body, spread = line.strip(), line.replace("\t", "  ")
        if not body or body.startswith("#"):
            found.append(frozenset())
            continue
        width = len(spread) - len(spread.lstrip(" "))
        while above and above[-1][0] >= width:
            above.pop()
        inside = len(above) == _IN_A_SERVICE and _is_services(above[0][1])
        found.append(_SERVICE if inside else frozenset() if above else _TOP)
        above.append((width, body))
    return found


def _is_services(line: str) -> bool:
    return _nearest(line.partition(":")[0], _TOP) == "services"
