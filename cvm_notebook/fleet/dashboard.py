"""dashboard: a fleet, the CVM that is selected, costs and activity in one widget."""

from typing import TYPE_CHECKING

from cvm_notebook._lazy import LOADING
from cvm_notebook.api.client import Client
from cvm_notebook.api.errors.tree import CvmError
from cvm_notebook.fleet.fleet import Fleet

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
        What prevented the first list; in a notebook the table says it, and asks for a key.

    Examples
    --------
    >>> board = cvm.dashboard(client)
    >>> board.fleet["my-app"].status
    'running'
    >>> board.close()
    """
    with LOADING:
        from cvm_notebook.widgets.base.mimebundle import has_kernel  # noqa: PLC0415 - widgets on demand
        from cvm_notebook.widgets.dashboard import dashboard_of  # noqa: PLC0415 - widgets on demand

    fleet = of if isinstance(of, Fleet) else Fleet(of)
    try:
        fleet.snapshot()
    except CvmError:
        if not has_kernel():
            raise
    return dashboard_of(fleet, fleet.table(), owns_fleet=fleet is not of)
