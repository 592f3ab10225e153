"""The timeline frame: an interval of one status of one CVM a row."""

from decimal import localcontext
from typing import Final

import pandas as pd

from cvm_notebook.api import checks
from cvm_notebook.api.money import EXACT
from cvm_notebook.api.status import STATUSES
from cvm_notebook.frames.schema import (
    DURATION,
    FLAG,
    INSTANT,
    MONEY,
    TEXT,
    Field,
    Money,
    Table,
    fixed,
)
from cvm_notebook.live.costs.intervals import StatusInterval, status_intervals
from cvm_notebook.live.store.changelog import Log

TIMELINE: Final[Table[StatusInterval]] = Table(
    "timeline/1",
    (
        Field("cvm_id", TEXT, lambda s: s.cvm_id, "the CVM"),
        Field("began_at", INSTANT, lambda s: s.start, "when it was first seen so"),
    ),
    (
        Field("ended_at", INSTANT, lambda s: s.end, "when it was first seen otherwise, or now"),
        Field("name", TEXT, lambda s: s.name, "its name then"),
        Field("app_id", TEXT, lambda s: s.app_id, "its app"),
        Field("region", TEXT, lambda s: s.region, "its region"),
        Field("status", fixed(STATUSES), lambda s: s.status, "its status"),
        Field("lasted", DURATION, lambda s: s.end - s.start, "how long"),
        Field(
            "charged_usd_h",
            MONEY,
            lambda s: s.charged,
            "US dollars an hour: computing and disk, or of what is stopped the disk",
        ),
        Field("amount_usd", MONEY, lambda s: s.amount, "US dollars in all"),
        Field(
            "observed",
            FLAG,
            lambda s: s.observed,
            "whether the fleet was live; else the status is the last one seen before",
        ),
    ),
)


@TIMELINE.documents
def timeline_frame(log: Log, *, money: Money = "float") -> pd.DataFrame:
    """List the statuses of every CVM, one after another, as far back as the history is kept.

    Where nobody was looking (the fleet was idle, or could not reach the service), the last status
    goes on, with ``observed`` False. `money` as of `cost_frame`.
    """
    checks.instance("log", log, Log, "Give fleet.store.log().")
    with localcontext(EXACT):
        return TIMELINE.frame(status_intervals(log), money=money)
