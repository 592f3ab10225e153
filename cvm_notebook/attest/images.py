"""OS images that one may trust: the ones known here, and the ones a user has learned."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final

import msgspec

from cvm_notebook.api.errors.tree import InvalidInput
from cvm_notebook.attest.evidence.evidence import Evidence
from cvm_notebook.attest.evidence.fields import MalformedEvidence
from cvm_notebook.text import clean_text, text_table

_REGISTER: Final = re.compile(r"[0-9a-f]{96}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
LEARNED: Final = "learned from one CVM's own evidence (trust on first use)"


@dataclass(frozen=True, slots=True)
class MeasuredImage:
    """An OS image, by what of it is measured into every machine alike; hex in lower case.

    Attributes
    ----------
    mrtd
        Of its firmware; two values where the order of QEMU's pages makes two.
    rtmr1, rtmr2
        Of its kernel; of its command line, which holds the root file system's hash, and its initrd.
    dev
        A development image: one can log in to it.
    provenance
        How these values came about. No list of them is signed by those who make the images.
    """

    name: str
    mrtd: tuple[str, ...]
    rtmr1: str
    rtmr2: str
    dev: bool = False
    os_image_hash: str | None = None
    provenance: str = ""

    def matches(self, mr_td: bytes, rtmr1: bytes, rtmr2: bytes) -> bool:
        """Return whether a quote's registers are this image's."""
        found = (rtmr1.hex(), rtmr2.hex())
        return mr_td.hex() in self.mrtd and found == (self.rtmr1, self.rtmr2)

    @property
    def short_registers(self) -> tuple[str, str, str]:
        """MRTD, RTMR1 and RTMR2, as far as a table shows them."""
        return self.mrtd[0][:8], self.rtmr1[:8], self.rtmr2[:8]

    def as_dict(self) -> dict[str, Any]:
        """Return its fields, as JSON and TOML have them; `image_of` reads them."""
        fields = {name: value for name, value in asdict(self).items() if value not in (None, "")}
        return fields | {"mrtd": list(self.mrtd)}


class KnownImages(tuple[MeasuredImage, ...]):
    """Images, shown as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        head = ("image", "dev", "MRTD", "RTMR1", "RTMR2", "provenance")
        rows = [
            (one.name, "dev" if one.dev else "", *one.short_registers, one.provenance)
            for one in self
        ]
        return text_table(f"{len(self)} known images", head, rows)


def known_images(dev: bool | None = False) -> KnownImages:
    """Return the OS images that are known here; none of their lists is signed by their makers.

    A LocalCloud's images are known, too, where its root is trusted; they are not listed, as no such
    image was ever built.

    Parameters
    ----------
    dev
        Development images, or the others; None is all.

    Examples
    --------
    >>> "dstack-0.5.9" in [image.name for image in cvm.known_images()]
    True
    """
    return KnownImages(image for image in _shipped() if dev is None or image.dev is dev)


@cache
def _shipped() -> tuple[MeasuredImage, ...]:
    text = files("cvm_notebook.attest").joinpath("images.json").read_bytes()
    return tuple(image_of(one) for one in msgspec.json.decode(text)["images"])


@cache
def _by_name() -> Mapping[str, MeasuredImage]:
    return {image.name: image for image in _shipped()}


@lru_cache(maxsize=64)
def images_for(
    trusted: tuple[MeasuredImage, ...] | None, *, simulated: bool
) -> tuple[MeasuredImage, ...]:
    """Return the images that a judgement knows: those that are trusted, or all that are known here.

    Under a development root they are LocalCloud's, too: all of them, or those that have the name of
    an image known here that is trusted. So a policy for the service can be tried on LocalCloud.
    """
    found = _shipped() if trusted is None else trusted
    if not simulated:
        return found
    names = {image.name for image in found if image in _shipped()}
    own = [image for image in _local() if trusted is None or image.name in names]
    return (*own, *found)


@cache
def _local() -> tuple[MeasuredImage, ...]:
    from cvm_notebook.local.attestation.image_registers import (  # noqa: PLC0415 - rarely needed
        image_registers,
    )

    return tuple(image_of(one) for one in image_registers())


def learn_image(evidence: object, *, name: str, dev: bool = False) -> MeasuredImage:
    """Take the image that a CVM shows as one to trust from now on: trust on first use.

    Nothing proves that it is the image of that name. It tells later when another one runs. Verify
    the hardware first, of which a quote without a genuine signature says nothing.

    Parameters
    ----------
    evidence
        A verdict, or evidence: an answer of the service or of a guest agent, or a quote.
    name
        What to call it.

    Raises
    ------
    InvalidInput
        The evidence has no quote that can be read.

    Examples
    --------
    >>> image = cvm.learn_image(verdict, name="what agent-alpha runs")
    >>> policy = cvm.Policy(images=[image])
    """
    try:
        report = Evidence.of(getattr(evidence, "evidence", evidence)).report
    except MalformedEvidence as error:
        raise InvalidInput("evidence", str(error), "Give evidence with a quote.") from None
    return MeasuredImage(
        name=clean_text(name, 80),
        mrtd=(report.mr_td.hex(),),
        rtmr1=report.rtmrs[1].hex(),
        rtmr2=report.rtmrs[2].hex(),
        dev=dev,
        provenance=LEARNED,
    )


def images_of(images: object) -> tuple[MeasuredImage, ...]:
    """Read what a policy trusts: images, names of known ones, or the fields of some.

    Raises
    ------
    InvalidInput
        It is none of these, or a name is not known.
    """
    if isinstance(images, str | MeasuredImage | Mapping):
        images = [images]
    if not isinstance(images, Iterable):
        raise InvalidInput("images", f"{type(images).__name__} is not a list", _REMEDY)
    return tuple(_each(images))


_REMEDY: Final = "Give cvm.known_images(), names of those, or what cvm.learn_image returns."


def _each(images: Iterable[object]) -> Iterator[MeasuredImage]:
    for one in images:
        if isinstance(one, MeasuredImage):
            yield one
        elif isinstance(one, Mapping):
            yield image_of(one)
        elif isinstance(one, str) and one in _by_name():
            yield _by_name()[one]
        else:
            shown = clean_text(repr(one), 60)
            raise InvalidInput("images", f"{shown} is not an image that is known here", _REMEDY)


def image_of(fields: Mapping[str, Any]) -> MeasuredImage:
    """Read the fields of an image.

    Raises
    ------
    InvalidInput
        One is missing, or no register.
    """
    mrtd = fields.get("mrtd")
    registers = [*(mrtd if isinstance(mrtd, list | tuple) else [mrtd])]
    registers += [fields.get("rtmr1"), fields.get("rtmr2")]
    if len(registers) < 3 or not all(  # noqa: PLR2004
        isinstance(one, str) and _REGISTER.fullmatch(one.lower()) for one in registers
    ):
        problem = "an image has no mrtd, rtmr1 and rtmr2 of 96 hex digits each"
        raise InvalidInput("images", problem, _REMEDY)
    digest = fields.get("os_image_hash")
    if digest is not None and not (isinstance(digest, str) and _HASH.fullmatch(digest.lower())):
        raise InvalidInput("images", "an os_image_hash is not 64 hex digits", _REMEDY)
    *mrtds, rtmr1, rtmr2 = (str(one).lower() for one in registers)
    return MeasuredImage(
        name=clean_text(fields.get("name") or "unnamed", 80),
        mrtd=tuple(mrtds),
        rtmr1=rtmr1,
        rtmr2=rtmr2,
        dev=bool(fields.get("dev", False)),
        os_image_hash=digest.lower() if digest else None,
        provenance=clean_text(fields.get("provenance") or "", 200),
    )
