"""Activity of a fleet: its operations, the newest first, and which of them can be retried."""

from collections.abc import Mapping
from typing import Any, Final

from cvm_notebook.live.operations.service import OperationService
from cvm_notebook.widgets.card.activity import ledger_lines, open_records

_SHOWN: Final = 100


def activity_of(operations: OperationService, settled: Mapping[str, str]) -> dict[str, Any]:
    """Return the last hundred entries of the ledger, and how many need a look.

    Parameters
    ----------
    settled
        What was found out about operations since they ended, by id.
    """
    records = operations.records()
    return {
        "lines": ledger_lines(records[-_SHOWN:], operations, settled),
        "failed": len(open_records(records, settled)),
        "more": max(0, len(records) - _SHOWN),
    }
