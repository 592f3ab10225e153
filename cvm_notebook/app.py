"""dashboard(): a whole fleet in one view, in a notebook or as an app of its own."""

from typing import TYPE_CHECKING

from cvm_notebook.api.client import Client
from cvm_notebook.fleet import Fleet

if TYPE_CHECKING:
    from cvm_notebook.widgets.dashboard import Dashboard


def dashboard(of: Client | Fleet) -> "Dashboard":
    """Show a fleet: its table, the CVM that is selected, the form for a new one, costs, ledger.

    Parameters
    ----------
    of
        A client, whose fleet is then made here, and ends with the dashboard; or a fleet there is
        already, which goes on without it.

    Raises
    ------
    CvmError
        What prevented the first list.

    Examples
    --------
    >>> board = cvm.dashboard(client)
    >>> board.fleet["my-app"].status
    'running'
    >>> board.close()
    """
    from cvm_notebook.widgets.dashboard import dashboard_of  # noqa: PLC0415 - widgets on demand

    fleet = of if isinstance(of, Fleet) else Fleet(of)
    fleet.snapshot()  # what prevents the first list is told here
    return dashboard_of(fleet, owns_fleet=fleet is not of)
