"""What is measured at a boot is what dstack's firmware and kernel measure on hardware."""

import pytest

from cvm_notebook.local.attestation.event_log import (
    boot_events,
    replay,
    runtime_event,
    stripped,
    td_hob_digest,
)
from cvm_notebook.local.core.catalogue import IMAGES
from cvm_notebook.local.core.image_parts import TD_HOB, document

GIB = 1 << 30
# Of machines with dstack 0.5 and 0.6 that have shown their logs.
ON_HARDWARE = {
    2 * GIB: (
        "0b8772e5b0b41b83e6044a68397e02f49fb47066b4fbe4917ea2c45c64f323fd"
        "acbb37948f821ebaf8bc9c938ba8a749"
    ),
    64 * GIB: (
        "8ae1e425351df7992c444586eff99d35af3b779aa2b0e981cb4b73bc5b279f2a"
        "de19b6a62a203fc3c3bbdaae80af596d"
    ),
}
SECURE_BOOT = (
    "9dc3a1f80bcec915391dcda5ffbb15e7419f77eab462bbf72b42166fb70d5032"
    "5e37b36f93537a863769bcf9bedae6fb"
)
EXITED = (
    "0a2e01c85deae718a530ad8c6d20a84009babe6c8989269e950d8cf440c6e997"
    "695e64d455c4174a652cd080f6230b74"
)
SYSTEM_PREPARING = (
    "f9974020ef507068183313d0ca808e0d1ca9b2d1ad0c61f5784e7157c362c065"
    "36f5ddacdad4451693f48fcc72fff624"
)


def booted(memory, machine="1 vCPU"):
    return boot_events(IMAGES["dstack-0.6.0"].parts, machine, memory, named=True)


@pytest.mark.parametrize("memory", ON_HARDWARE)
def test_the_list_of_memory_is_measured_as_on_hardware(memory):
    assert td_hob_digest(TD_HOB, memory).hex() == ON_HARDWARE[memory]


def test_what_is_alike_on_all_machines_is_alike_here():
    log = booted(2 * GIB)
    assert len(log) == 20
    assert (log[2]["digest"], log[-1]["digest"]) == (SECURE_BOOT, EXITED)
    assert runtime_event("system-preparing", b"")["digest"] == SYSTEM_PREPARING


def test_memory_changes_the_first_register_and_below_a_bound_the_kernel():
    seen = {
        size: [replay(booted(size * GIB // 4), n) for n in range(3)] for size in (8, 10, 12, 16)
    }
    assert len({registers[0] for registers in seen.values()}) == 4
    assert seen[8][1] == seen[12][1] == seen[16][1] != seen[10][1]
    assert len({registers[2] for registers in seen.values()}) == 1


def test_what_the_host_makes_the_machine_of_changes_the_first_register_alone():
    one, other = (booted(4 * GIB, machine) for machine in ("1 vCPU", "2 vCPU"))
    assert [replay(one, n) == replay(other, n) for n in range(3)] == [False, True, True]


def test_a_stripped_log_keeps_what_it_takes_to_add_it_up():
    log = [*booted(2 * GIB), runtime_event("app-id", b"\x01")]
    bare = stripped(log)
    assert [replay(bare, n) for n in range(3)] == [replay(log, n) for n in range(3)]
    assert bare[-1] == log[-1] | {"digest": ""}
    assert [event["event"] for event in bare if event["event_payload"]] == [
        "acpi-loader",
        "acpi-rsdp",
        "acpi-tables",
        "app-id",
    ]
    assert log[-1]["digest"]  # the log itself is as it was


def test_a_document_has_the_size_of_those_of_dstack():
    assert {len(document(image.parts)) for image in IMAGES.values() if image.lite} == {384}
