"""`migrate status` during a run, and throttling."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migrator.targets.bundled import program_path
from tests.archive_writer import write_folder
from tests.driving import call, digest_database
from tests.killing import PATIENCE
from tests.mongo import fill, mongo
from tests.processes import Command, start
from tests.proxy import proxy_to
from tests.scenarios import write_config
from tests.talks import make_talks

pytestmark = pytest.mark.usefixtures("quick")

SMALL = {"batch_rows": 100, "part_bytes": 40_000, "workers": 2}


@contextmanager
def running(config: Path) -> Iterator[Command]:
    """Start `migrate run`, and kill it at the end of the block."""
    process = start("run", "-c", config, "--json")
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)


def until(config: Path, wanted: Callable[[Any], object], seconds: float = PATIENCE) -> Any:
    """Return the first status that meets the condition."""
    deadline = time.monotonic() + seconds
    found: Any = None
    while time.monotonic() < deadline:
        answer = call("status", "-c", config, "--json")
        found = answer.json
        if answer.code == 0 and wanted(found):
            return found
        time.sleep(0.1)
    raise AssertionError(found)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "dump", make_talks())


def test_a_run_is_watched(dump: Path, database: str, tmp_path: Path) -> None:
    """Status shows step, time left, process and waits; `interrupted` after a kill, and `finished` at the end."""
    settings = {"engine": {**SMALL, "max_rows_per_second": 800}}
    config = write_config(tmp_path / "migrate.toml", f"dump:{dump}", database, settings)
    with running(config) as process:
        found = until(config, lambda found: found.get("seconds_left") and step_of(found).startswith("load"))
        assert found["status"] == "running"
        assert f"process {process.pid} on" in found["holder"]
        until(config, lambda found: "limited by engine.max_rows_per_second" in found["waiting"])
        locker = psycopg.connect(database)
        locker.execute("LOCK TABLE messages")
        found = until(config, lambda found: any("for a lock held by" in each for each in found["waiting"]))
        told = call("status", "-c", config)
        assert "Waiting: " in told.out
        locker.close()
    assert until(config, lambda found: found["status"] != "running")["status"] == "interrupted"
    assert "`migrate run` resumes it" in call("status", "-c", config).out
    settings["engine"]["max_rows_per_second"] = 2000
    config = write_config(tmp_path / "migrate.toml", f"dump:{dump}", database, settings)
    with running(config):
        watched = call("status", "--watch", "-c", config)
    assert watched.code == 0
    assert "Run 1: done" in watched.out
    assert call("status", "--watch", "--json", "-c", config).json["slowest"]["seconds"] > 0


@pytest.mark.long
def test_max_rows_per_second_is_for_all(dump: Path, database: str, tmp_path: Path) -> None:
    """The rate limit applies to all workers together."""
    settings = {"engine": {**SMALL, "max_rows_per_second": 1000}}
    config = write_config(tmp_path / "migrate.toml", f"dump:{dump}", database, settings)
    assert call("run", "-c", config).code == 0
    with psycopg.connect(database) as connection:
        query = "SELECT sum(documents), extract(epoch FROM max(committed) - min(committed)) FROM migrator.batches"
        documents, seconds = connection.execute(query).fetchone() or (0, 0)
    assert float(documents) / float(seconds) < 1500  # a burst of one second is allowed


@pytest.mark.long
def test_a_replica_that_lags_holds_a_run_back(dump: Path, database: str, tmp_path: Path) -> None:
    """Loading pauses while a replica lags too far, reports this in the terminal and the status, and then continues."""
    follower = subprocess.Popen(
        [str(program_path("pg_receivewal")), "-d", f"{database}", "-D", str(tmp_path), "-s", "1", "--synchronous"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PGAPPNAME": "follower"},
    )  # fmt: skip
    try:
        limits = {"max_rows_per_second": 500, "max_replication_lag_seconds": 2}
        config = write_config(tmp_path / "m.toml", f"dump:{dump}", database, {"engine": {**SMALL, **limits}})
        with running(config) as process:
            until(config, lambda found: found.get("current"))
            assert follower.poll() is None, follower.communicate()
            follower.send_signal(signal.SIGSTOP)
            found = until(config, lambda found: any("replica follower" in each for each in found["waiting"]))
            time.sleep(1)
            before = call("status", "-c", config, "--json").json
            time.sleep(2)
            after = call("status", "-c", config, "--json").json
            assert counts(before) == counts(after), found
            follower.send_signal(signal.SIGCONT)
            _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told.decode()
        assert "throttled: replica follower is" in told.decode()
        assert "no longer throttled" in told.decode()
    finally:
        follower.kill()
        follower.communicate()


def step_of(found: Any) -> str:
    return str(found["current"][0]["step"]) if found["current"] else ""


def counts(found: Any) -> list[int]:
    return [each["documents"] for each in found["collections"]]


@pytest.mark.long
def test_a_source_that_is_slow_holds_a_run_back(new_database: Callable[[], str], tmp_path: Path) -> None:
    """Loading pauses while the latency of the live source is too high."""
    made, database = make_talks(messages=600), new_database()
    with mongo(tmp_path / "mongo") as url:
        fill(url, "talks", made)
        host, _, port = url.removeprefix("mongodb://").partition(":")
        with proxy_to((host, int(port))) as proxy:
            limits = {"max_rows_per_second": 300, "max_source_latency_ms": 150}
            source = f"mongodb://127.0.0.1:{proxy.port}/talks?directConnection=true"
            config = write_config(tmp_path / "m.toml", source, database, {"engine": {**SMALL, **limits}})
            with running(config) as process:
                until(config, lambda found: found.get("current"))
                proxy.delay = 0.4
                until(config, lambda found: any("source latency is" in each for each in found["waiting"]))
                proxy.delay = 0
                _, told = process.communicate(timeout=60)
            assert process.returncode == 0, told.decode()
            assert "throttled: source latency is" in told.decode()
    whole = new_database()
    dump = write_folder(tmp_path / "dump", made)
    assert call("run", "-c", write_config(tmp_path / "w.toml", f"dump:{dump}", whole)).code == 0
    assert digest_database(database) == digest_database(whole)
