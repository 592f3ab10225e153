"""Fixed words for what the service says of a CVM beside its status; see `status` for that."""

from typing import Final

# In the order in which a CVM reports them while it boots; then it says "done".
BOOT_STEPS: Final = (
    "setting up dstack-gateway",
    "setting up docker",
    "initializing data disk",
    "mounting data disk",
    "requesting app keys",
    "init-script",
    "pre-launch",
    "starting containers",
)
KMS_TYPES: Final = ("phala", "ethereum", "base", "legacy", "unknown")
BILLING_PERIODS: Final = ("skip", "hourly", "monthly", "unknown")
SOURCES: Final = ("list", "get", "batch", "stream", "action")
