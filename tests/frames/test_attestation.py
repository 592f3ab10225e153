"""attestation_frame: one schema, the reasons, and what should run compared with what runs."""

import pandas as pd
import pandera.pandas as pa
import pytest

import cvm_notebook as cvm
from cvm_notebook.api.errors.tree import AuthError, InvalidInput, NotFoundError
from cvm_notebook.attest.policy.policy import CHECK_NAMES
from cvm_notebook.frames.reports.attestation import ATTESTATION, CHECKS, attestation_frame

TEXT = pd.StringDtype()
MOMENT = pd.DatetimeTZDtype("us", "UTC")
HASHES = ("compose_hash_live", "compose_hash_expected", "os_image_hash")
SCHEMA = pa.DataFrameSchema(
    {
        **{name: pa.Column(TEXT, pa.Check.str_length(64), nullable=True) for name in HASHES},
        **{
            name: pa.Column(TEXT, pa.Check.str_length(96), nullable=True)
            for name in ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
        },
        "event_count": pa.Column("Int64", nullable=True),
        "cert_not_after": pa.Column(MOMENT, nullable=True),
        "quote_present": pa.Column("boolean", nullable=True),
        "checked": pa.Column(pd.CategoricalDtype(["fetched", "hash_matched", "failed"])),
        "checked_at": pa.Column(MOMENT),
        "verdict": pa.Column(
            pd.CategoricalDtype(["VERIFIED", "PARTIAL", "SIMULATED", "FAILED"]), nullable=True
        ),
        "ok": pa.Column("boolean", nullable=True),
        "verdict_age": pa.Column("timedelta64[us]", nullable=True),
        "repeatable_until": pa.Column(MOMENT, nullable=True),
        **{
            name: pa.Column(pd.CategoricalDtype(["pass", "fail", "skip", "info"]), nullable=True)
            for name in CHECK_NAMES
        },
    },
    index=pa.Index(TEXT, name="cvm_id", unique=True),
    strict=True,
    ordered=True,
)
COMPOSE = "services:\n  web:\n    image: nginx:1.29\n"


@pytest.fixture(scope="module")
def client(cloud):
    with cvm.Client(cloud.api_key, cloud.url) as client:
        yield client


@pytest.fixture(scope="module")
def pair(client):
    """The records of one that runs, and of one that was stopped."""
    names = ("shows-1", "shows-2")
    made = [
        client.commit_cvm_provision(client.provision_cvm(name=name, compose_file=COMPOSE))
        for name in names
    ]
    for one in made:
        client.watch_cvm_state(one.id, target="running")
    client.stop_cvm(made[1].id)
    client.watch_cvm_state(made[1].id, target="stopped")
    return [client.get_cvm_info(one.id) for one in made]


def test_the_whole_workspace_has_the_schema(client, pair):
    frame = attestation_frame(client)
    SCHEMA.validate(frame)
    runs, stopped = (frame.loc[one.id] for one in pair)
    assert runs["checked"] == "hash_matched"
    assert runs["compose_hash_live"] == runs["compose_hash_expected"] == pair[0].compose_hash
    assert stopped["checked"] == "failed"
    assert pd.isna(stopped["compose_hash_live"])
    assert "not running" in frame.attrs["cvm"]["why"][pair[1].id]
    assert pair[0].id not in frame.attrs["cvm"]["why"]


def test_the_schema_is_the_same_for_none(client):
    empty = attestation_frame(client, [])
    SCHEMA.validate(empty)
    assert len(empty) == 0
    assert (empty.dtypes == attestation_frame(client, "shows-1").dtypes).all()


def test_each_is_there_once_however_it_is_called(client, pair):
    one = pair[0]
    frame = attestation_frame(client, [one, one.name, {"id": one.id}, one.vm_uuid])
    assert list(frame.index) == [one.id]


def test_what_should_run_is_compared_with_what_runs(client, pair, tmp_path):
    one, path = pair[0], tmp_path / "docker-compose.yml"
    path.write_text(COMPOSE)
    whole = client.get_cvm_compose_file(one.id)
    fitting = [COMPOSE, path, one.compose_hash, whole, {one.name: COMPOSE}, {one.app_id: path}]
    for expected in fitting:
        frame = attestation_frame(client, one, expected=expected)
        assert frame["checked"].tolist() == ["hash_matched"], expected
    other = COMPOSE.replace("1.29", "1.28")
    for expected in [other, "0" * 64, whole | {"name": "another"}, {one.id: other}]:
        frame = attestation_frame(client, one, expected=expected)
        assert frame["checked"].tolist() == ["failed"], expected
        assert "another" in frame.attrs["cvm"]["why"][one.id]


def test_what_should_run_is_read_before_anything_is_asked(cloud):
    with cvm.Client("phak_of-nobody", cloud.url) as nobody:
        with pytest.raises(InvalidInput, match="not a declaration"):
            attestation_frame(nobody, expected=12)
        with pytest.raises(AuthError):
            attestation_frame(nobody)


def test_a_name_that_means_nothing_is_refused(client, pair):
    with pytest.raises(InvalidInput, match="no CVM that was asked for: web-x"):
        attestation_frame(client, pair, expected={"web-x": COMPOSE})
    with pytest.raises(NotFoundError):
        attestation_frame(client, "no-such-cvm")


def test_every_column_stands_in_the_docstring():
    assert tuple(SCHEMA.columns["checked"].dtype.type.categories) == CHECKS
    for column, row in ATTESTATION.describe().iterrows():
        assert f"{column} : {row['dtype']}\n        {row['meaning']}" in attestation_frame.__doc__
