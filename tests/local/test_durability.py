"""What was acknowledged is kept: kill -9 at any moment, again and again."""

import os
import random
import signal
import threading

import psutil
import requests
from helpers import LONG_PATIENCE


def test_kill_9_loses_nothing_that_was_acknowledged(new_cloud, tmp_path, connect, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    cloud = new_cloud(seed="empty", speed=200, database=f"sqlite:///{tmp_path / 'db.sqlite'}")
    acknowledged, deleted = {}, set()
    chance = random.Random(20260623)
    for round_number in range(3):
        with cloud.start():
            last = chance.randrange(5, 40)  # it is killed during the request after this one
            killer = threading.Timer(chance.uniform(0, 0.03), os.kill, (cloud.pid, signal.SIGKILL))
            process = psutil.Process(cloud.pid)
            api = connect(cloud)
            try:
                for number in range(10_000):
                    name = f"kept-{round_number}-{number}"
                    if number == last:
                        killer.start()
                    acknowledged[api.create(name)["id"]] = name
                    if number % 3 == 2:
                        gone = next(iter(acknowledged.keys() - deleted))
                        assert api("DELETE", f"/cvms/{gone}").status_code == 204
                        deleted.add(gone)
            except requests.RequestException:
                pass
            killer.join()
            process.wait(LONG_PATIENCE)
            cloud.start()
            api = connect(cloud)
            # A deletion that has begun takes its time, and the new server is up before its end.
            there = {item["id"] for item in api.get("/cvms").json() if item["status"] != "deleting"}
            kept = {key: acknowledged[key] for key in acknowledged.keys() - deleted}
            lost = {key: name for key, name in kept.items() if key not in there}
            # A deletion may have been done without having been acknowledged: at most one a kill.
            assert len(lost) <= 1, lost
            deleted |= lost.keys()
            assert not deleted & there
    assert acknowledged


def test_the_places_of_a_killed_servers_streams_come_back(
    new_cloud, tmp_path, connect, monkeypatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    database = f"sqlite:///{tmp_path / 'db.sqlite'}"
    with new_cloud(seed="empty", database=database, speed=0.1) as cloud:
        api = connect(cloud)
        made = api.create()
        path = f"{cloud.url}/cvms/{made['id']}/state"
        streams = [
            requests.get(
                path,
                params={"target": "exited"},
                headers={"X-API-Key": cloud.api_key},
                stream=True,
                timeout=30,
            )
            for _ in range(5)
        ]
        assert {stream.status_code for stream in streams} == {200}
        process = psutil.Process(cloud.pid)
        process.kill()
        process.wait(LONG_PATIENCE)
        for stream in streams:
            stream.close()
        cloud.start()
        assert cloud.open_streams() <= 5
        # The leases of the dead server run out on the machine's clock.
        refused = 0
        while cloud.open_streams():
            refused += 1
            threading.Event().wait(0.1)
            assert refused < 200
        assert connect(cloud).watch(made["id"], "provisioning")[-1][0] == "complete"
