"""Tampering with evidence: what the faults in force change in an attestation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from cvm_notebook.local.attestation.attester import Faults
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.core.identifiers import hashid

STATE = "tampering"
"""Where a request's state has the faults, as pairs of a kind and the CVM it is about, or None."""


@dataclass(frozen=True, slots=True)
class Tampering:
    """The faults of evidence that a request has met."""

    faults: Sequence[tuple[str, str | None]] = ()

    def of(self, cvm: Cvm | None) -> Faults:
        """Return those that are about a CVM, or about whatever there is."""
        names = set() if cvm is None else _names(cvm)
        return frozenset(kind for kind, about in self.faults if about is None or about in names)


def _names(cvm: Cvm) -> set[str]:
    return {
        cvm.name,
        cvm.vm_uuid,
        cvm.app_id,
        f"app_{cvm.app_id}",
        cvm.instance_id,
        hashid("cvm", cvm.id),
    }


async def tampering_of(request: Request) -> Tampering:
    """Return what this request has met."""
    return Tampering(getattr(request.state, STATE, ()))


Tampered = Annotated[Tampering, Depends(tampering_of)]
