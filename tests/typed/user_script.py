"""What a typed script of a user says, checked by mypy --strict: nothing here is run."""

from decimal import Decimal
from typing import assert_type

import pandas as pd

import cvm_notebook as cvm
from cvm_notebook.errors import QueryError, UnknownCvm
from cvm_notebook.fleet.handle import CvmHandle
from cvm_notebook.fleet.selection import Selection


def frames(fleet: cvm.Fleet) -> pd.DataFrame:
    fleet.frame(("name", "status"))
    fleet.frame(["name"])
    fleet.frame("wide")
    fleet.where(status="running").frame(("name", "status"))
    fleet.selection.frame(("name",))
    fleet.table(("name", "region"))
    return fleet.frame()


def handles(fleet: cvm.Fleet) -> None:
    one = fleet["my-app"]
    assert_type(one, CvmHandle)
    assert_type(fleet.get("my-app"), CvmHandle | None)
    assert_type(fleet.get("my-app", 5), CvmHandle | int)
    assert_type(one == fleet[one], bool)
    assert_type(one in fleet, bool)
    assert_type({handle: handle.name for handle in fleet}, dict[CvmHandle, str])
    one.replicate().wait()
    for operation in one.replicate(count=3):
        operation.wait()


def selections(fleet: cvm.Fleet) -> None:
    chosen = fleet.where(region="us-*", vcpu=[1, 2]).search("web")
    assert_type(chosen, Selection)
    assert_type(chosen[0], CvmHandle)
    assert_type(chosen["web-1"], CvmHandle)
    assert_type(chosen[:2], Selection)
    assert_type(chosen | fleet.selection, Selection)
    assert_type(fleet.selection & chosen, Selection)
    fleet.selection = chosen
    fleet.selection = chosen[:2] | chosen[3:]
    fleet.wait(*chosen.names, status="stopped")


def many(client: cvm.Client, fleet: cvm.Fleet, frame: pd.DataFrame) -> None:
    client.batch_stop_cvms(list(fleet))
    client.batch_stop_cvms(["one", "two"])
    client.batch_stop_cvms(client.list_cvms())
    client.batch_stop_cvms(frame.index)
    client.get_cvm_status_batch(list(fleet))
    client.get_cvm_info(fleet["my-app"])
    client.get_cvm_logs("my-app", since=pd.Timestamp("2026-01-01"))
    fleet.at(pd.Timestamp("2026-01-01"))


def errors(client: cvm.Client) -> str | None:
    try:
        client.watch_cvm_state("my-app", target="running", timeout=60)
    except cvm.WatchTimeout as late:
        return late.state.status if late.state is not None else late.target
    except cvm.errors.TargetUnreachable as lost:
        return lost.state.boot_error if lost.state else None
    except (QueryError, UnknownCvm, cvm.NotFoundError) as error:
        return error.hint
    except cvm.ApiError as error:
        return error.error_code
    return None


def money(fleet: cvm.Fleet) -> Decimal:
    cvm.assert_fleet(fleet.frame("wide"), max_rate_usd_h="2.50", regions=("us-west-1",))
    return Decimal(str(fleet.cost("24h")["amount_usd"].sum()))


def local() -> None:
    with (
        cvm.LocalCloud(seed="demo") as cloud,
        cvm.Client(api_key=cloud.api_key, base_url=cloud.url) as client,
        cvm.Fleet(client) as fleet,
    ):
        frames(fleet)
    print(cvm.no_such_name)  # type: ignore[attr-defined]  # a slip is told
