"""What every request asks the database is looked up by indexes, however many CVMs there are."""

import pytest

from cvm_notebook.local import auth
from cvm_notebook.local.core.database import Database
from cvm_notebook.local.core.schema import bring_up


@pytest.fixture
def connection(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    bring_up(database)
    with database.engine.connect() as opened:
        yield opened
    database.close()


def test_who_calls_and_what_is_due_is_found_without_reading_a_whole_table(connection):
    asked = str(auth._CALLER.compile(dialect=connection.dialect))
    places = asked.count("?")
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", ("x",) * places)
    steps = [step for *_, step in plan]
    assert [step for step in steps if step.startswith("SCAN")] == []
    used = [step.partition("USING ")[2].partition(" (")[0] for step in steps if "cvms" in step]
    # they hold the few CVMs with such a time; any other index holds every CVM
    assert used == ["INDEX cvms_to_be_deleted", "INDEX cvms_being_deleted"]
