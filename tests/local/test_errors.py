"""When the server itself fails: it says so, and that the connection ends."""

import sqlite3
from contextlib import closing


def test_a_500_says_that_the_connection_is_closed(new_cloud, tmp_path, monkeypatch, connect):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    path = tmp_path / "broken.sqlite"
    with new_cloud(seed="empty", database=f"sqlite:///{path}") as cloud:
        api = connect(cloud)
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript("ALTER TABLE cvms RENAME TO elsewhere")
        answer = api.get("/cvms")
        assert answer.status_code == 500
        assert answer.headers["Connection"] == "close"
        assert answer.json() == {
            "error": "Internal Server Error",
            "request_id": answer.headers["X-Request-ID"],
        }
        assert api.get("/auth/me").status_code in {200, 500}
        assert "Traceback" in cloud.log_path.read_text()
