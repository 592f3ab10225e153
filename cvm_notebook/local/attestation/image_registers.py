"""The registers of LocalCloud's images, by which a verifier on this machine knows them.

They follow from the images' names, and no server is asked for them: it could name those of whatever
it has started.
"""

from typing import Any

from cvm_notebook.local.attestation.event_log import STABLE_MEMORY, boot_events, replay
from cvm_notebook.local.core.catalogue import IMAGES, Image

_PROVENANCE = "an image of LocalCloud, of which nothing was ever built"


def image_registers() -> list[dict[str, Any]]:
    """Return name, registers (hex) and hash of each image, and whether it is a development one.

    Of machines with less than 2.75 GiB of memory, and not 2, RTMR1 is another.
    """
    return [_described(image) for image in IMAGES.values()]


def _described(image: Image) -> dict[str, Any]:
    log = boot_events(image.parts, "any machine", STABLE_MEMORY, named=image.lite)
    return {
        "name": image.name,
        "mrtd": [image.parts.firmware.hex()],
        "rtmr1": replay(log, 1).hex(),
        "rtmr2": replay(log, 2).hex(),
        "dev": image.is_dev,
        "os_image_hash": image.os_image_hash,
        "provenance": _PROVENANCE,
    }
