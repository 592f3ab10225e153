"""DataFrames with a constant schema; the only package that imports pandas.

Loading this package gives every DataFrame the accessor ``df.cvm``; each name is loaded when it is
first used.
"""

from typing import TYPE_CHECKING

import pandas as pd

from cvm_notebook._lazy import LOADING, lazy_names

if TYPE_CHECKING:
    from cvm_notebook.frames.accessor import CvmAccessor as CvmAccessor
    from cvm_notebook.frames.deliveries import deliveries_frame as deliveries_frame
    from cvm_notebook.frames.fleet import fleet_columns as fleet_columns
    from cvm_notebook.frames.fleet import fleet_frame as fleet_frame
    from cvm_notebook.frames.io import read_fleet as read_fleet
    from cvm_notebook.frames.io import write_fleet as write_fleet
    from cvm_notebook.frames.metrics import metrics_frame as metrics_frame
    from cvm_notebook.frames.metrics import plot_metrics as plot_metrics
    from cvm_notebook.frames.plots import plot_cost as plot_cost
    from cvm_notebook.frames.plots import plot_fleet as plot_fleet
    from cvm_notebook.frames.plots import plot_timeline as plot_timeline
    from cvm_notebook.frames.reports.attestation import attestation_frame as attestation_frame
    from cvm_notebook.frames.reports.cost import cost_frame as cost_frame
    from cvm_notebook.frames.reports.cost import projection_frame as projection_frame
    from cvm_notebook.frames.reports.diff import diff as diff
    from cvm_notebook.frames.reports.drift import drift_frame as drift_frame
    from cvm_notebook.frames.reports.events import events_frame as events_frame
    from cvm_notebook.frames.reports.gates import GatesFailed as GatesFailed
    from cvm_notebook.frames.reports.gates import assert_fleet as assert_fleet
    from cvm_notebook.frames.reports.gates import gates_frame as gates_frame
    from cvm_notebook.frames.reports.inventory import images_frame as images_frame
    from cvm_notebook.frames.reports.inventory import instance_types_frame as instance_types_frame
    from cvm_notebook.frames.reports.inventory import nodes_frame as nodes_frame
    from cvm_notebook.frames.reports.inventory import quotas_frame as quotas_frame
    from cvm_notebook.frames.reports.operations import operations_frame as operations_frame
    from cvm_notebook.frames.reports.operations import revisions_frame as revisions_frame
    from cvm_notebook.frames.reports.operations import rollout_frame as rollout_frame
    from cvm_notebook.frames.reports.plan import apply_frame as apply_frame
    from cvm_notebook.frames.reports.plan import outcome_frame as outcome_frame
    from cvm_notebook.frames.reports.plan import plan_frame as plan_frame
    from cvm_notebook.frames.reports.plan import update_frame as update_frame
    from cvm_notebook.frames.reports.timeline import timeline_frame as timeline_frame
    from cvm_notebook.frames.workspace.exposure import exposure_frame as exposure_frame
    from cvm_notebook.frames.workspace.logins import ssh_keys_frame as ssh_keys_frame
    from cvm_notebook.frames.workspace.usage import bill_frame as bill_frame
    from cvm_notebook.frames.workspace.usage import usage_frame as usage_frame

# name -> the module that holds it
_HOMES = {
    "CvmAccessor": "accessor",
    "GatesFailed": "reports.gates",
    "apply_frame": "reports.plan",
    "assert_fleet": "reports.gates",
    "attestation_frame": "reports.attestation",
    "bill_frame": "workspace.usage",
    "cost_frame": "reports.cost",
    "deliveries_frame": "deliveries",
    "diff": "reports.diff",
    "drift_frame": "reports.drift",
    "events_frame": "reports.events",
    "exposure_frame": "workspace.exposure",
    "fleet_columns": "fleet",
    "fleet_frame": "fleet",
    "gates_frame": "reports.gates",
    "images_frame": "reports.inventory",
    "instance_types_frame": "reports.inventory",
    "metrics_frame": "metrics",
    "nodes_frame": "reports.inventory",
    "operations_frame": "reports.operations",
    "outcome_frame": "reports.plan",
    "plan_frame": "reports.plan",
    "plot_cost": "plots",
    "plot_fleet": "plots",
    "plot_metrics": "metrics",
    "plot_timeline": "plots",
    "projection_frame": "reports.cost",
    "quotas_frame": "reports.inventory",
    "read_fleet": "io",
    "revisions_frame": "reports.operations",
    "rollout_frame": "reports.operations",
    "ssh_keys_frame": "workspace.logins",
    "timeline_frame": "reports.timeline",
    "update_frame": "reports.plan",
    "usage_frame": "workspace.usage",
    "write_fleet": "io",
}


if not TYPE_CHECKING:  # for a type checker, a name that is not above is a mistake
    __all__ = list(_HOMES)
    __getattr__, __dir__ = lazy_names(__name__, __all__, _HOMES)


@pd.api.extensions.register_dataframe_accessor("cvm")  # type: ignore[type-var]  # a maker will do
def _accessor(frame: pd.DataFrame) -> "CvmAccessor":
    """Give a DataFrame its ``df.cvm``, when it is first asked for."""
    with LOADING:
        from cvm_notebook.frames.accessor import CvmAccessor  # noqa: PLC0415 - rarely needed

    return CvmAccessor(frame)
