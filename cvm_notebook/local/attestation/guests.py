"""CVMs as guests that attest: from their rows, with the certificates that they were given."""

import functools

from cvm_notebook.local.attestation.attester import NONE, Evidence, Faults, Guest, attester_of
from cvm_notebook.local.attestation.certificates import Chain, chain
from cvm_notebook.local.core.catalogue import IMAGES, NODES
from cvm_notebook.local.core.database import Cvm
from cvm_notebook.local.engine.compose import canonical, measured


def guest_of(cvm: Cvm) -> Guest:
    """Return a CVM as what it attests to be. Needs the compose file."""
    return Guest(
        app_id=cvm.app_id,
        instance_id=cvm.instance_id,
        app_compose=canonical(measured(cvm.compose_file)),
        image=IMAGES[cvm.image],
        node=NODES[cvm.node_id],
        vcpu=cvm.vcpu,
        memory=cvm.memory,
        gpus=cvm.gpus,
        storage_fs=cvm.storage_fs,
    )


def certified(secret: bytes, cvm: Cvm, faults: Faults = NONE) -> Chain:
    """Return a CVM's certificate with the quote of its boot. Needs the compose file."""
    guest = guest_of(cvm)

    def attest(report_data: bytes) -> Evidence:
        return attester_of(secret, faults).attest(guest, report_data, faults)

    return chain(secret, cvm.vm_uuid, cvm.created_at, attest)


@functools.lru_cache(maxsize=16)
def service_certified(secret: bytes, guest: Guest) -> Chain:
    """Return the certificate of one of LocalCloud's own services."""

    def attest(report_data: bytes) -> Evidence:
        return attester_of(secret).attest(guest, report_data)

    return chain(secret, guest.app_id, 0.0, attest)
