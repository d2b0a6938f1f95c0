"""`migrate cutover`: an application that writes all the time is moved, and no acknowledged write is lost."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import mongo
from tests.acceptance.test_verify_following import FOLLOWING, failed
from tests.cutting import (
    DATABASE,
    MONGO,
    POSTGRES,
    STOPPED,
    Application,
    configure,
    documents,
    dump_schema,
    held_at,
    prepare,
)
from tests.driving import Answer, call, spawn
from tests.killing import wait_for
from tests.mongo import fill
from tests.processes import start

pytestmark = pytest.mark.usefixtures("quick")
MESSAGES = 200


@dataclass
class Moving:
    """A loaded and verified target, and the application that is to be moved."""

    application: Application
    config: Path
    database: str

    @contextmanager
    def following(self) -> Iterator[None]:
        """`follow` in another process."""
        process = start("follow", "-c", self.config)
        try:
            assert wait_for(self.database, FOLLOWING, 1, process)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            out, told = process.communicate(60)
            print(out.decode(), told.decode())

    def killed_at(self, step: str) -> str:
        """Kills a cutover before a step; returns where the application writes then."""
        with held_at(self.database, step) as wait:
            process = start("cutover", "--yes", "-c", self.config)
            try:
                wait()
            finally:
                process.kill()
                out, told = process.communicate(60)
                print(step, out.decode(), told.decode())
        return self.application.route

    def cut_over(self, *options: object) -> Answer:
        return call("cutover", "--yes", "-c", self.config, "--json", *options)

    def read(self, query: str) -> Any:
        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    @property
    def state(self) -> str:
        return str(self.read("SELECT state FROM migrator.sync")[0][0])


@pytest.fixture
def moving(live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> Moving:
    database = new_database()
    application = Application(live_server.url, database, tmp_path, rate=100, first=MESSAGES)
    config = configure(tmp_path, live_server.url, database, application.hooks)
    prepare(live_server.url, config, MESSAGES)
    return Moving(application, config, database)


def test_switch(moving: Moving) -> None:
    """Forward, without a write lost; then only commands that know of the switch; then every trace is removed."""
    before = dump_schema(moving.database)
    with moving.application.writing():
        moving.application.wait_writes(50)
        answer = moving.cut_over()
        assert (answer.code, answer.json["status"]) == (0, "switched"), answer.told
        moving.application.wait_writes(50)
    assert (moving.state, moving.application.route) == ("switched", POSTGRES)
    assert moving.application.lost_in_postgres() == {}
    for command in (("run",), ("verify",), ("rejects", "retry"), ("revert", "--yes"), ("cutover", "--yes")):
        refused = call(*command, "-c", moving.config, "--json")
        assert refused.code in (2, 6), (command, refused.told)
        assert "PostgreSQL" in refused.json["error"]["message"], refused.told
    assert "switched" in call("status", "-c", moving.config).out
    ended = call("complete", "--yes", "-c", moving.config, "--json")
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.told
    assert dump_schema(moving.database) == before
    assert call("follow", "-c", moving.config).code == 2


def test_aborts(moving: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails before the switch, the application goes on with MongoDB, and a later cutover loses nothing."""
    application = moving.application
    with moving.following(), application.writing():
        for name, fault in FAULTS.items():
            application.wait_writes(10)
            with monkeypatch.context() as changed, fault(moving, changed):
                answer = moving.cut_over()
            assert answer.code == 5, (name, answer.told)
            assert answer.json["error"].get("undone"), (name, answer.told)
            assert (moving.state, application.route) == ("following", MONGO), name
        application.wait_writes(10)
        assert moving.killed_at("verify") == STOPPED
        assert "unfinished" in call("status", "-c", moving.config).out
        undone = call("cutover", "--undo", "-c", moving.config, "--json")
        assert (undone.code, application.route) == (0, MONGO), undone.told
        application.wait_writes(10)
        assert moving.killed_at("move the application") == STOPPED  # behind the switch
        answer = moving.cut_over()
        assert (answer.code, application.route) == (0, POSTGRES), answer.told
        application.wait_writes(10)
    assert application.lost_in_postgres() == {}


@contextmanager
def failing_stop(moving: Moving, changed: pytest.MonkeyPatch) -> Iterator[None]:
    changed.setenv("MIGRATE_CUTOVER__STOP_HOOK", f"{moving.application.hooks['stop_hook']}; echo no; exit 3")
    yield


@contextmanager
def slow_stop(moving: Moving, changed: pytest.MonkeyPatch) -> Iterator[None]:
    changed.setenv("MIGRATE_CUTOVER__MAX_DOWNTIME_SECONDS", "0.5")
    changed.setenv("MIGRATE_CUTOVER__STOP_HOOK", f"{moving.application.hooks['stop_hook']}; sleep 30")
    yield


@contextmanager
def late_writer(moving: Moving, changed: pytest.MonkeyPatch) -> Iterator[None]:
    """A second application, which nothing stops."""
    own = moving.application
    other = Application(own.url, moving.database, own.folder, rate=20, first=10**6, route_file="other")
    with other.writing():
        yield
    moving.application.acknowledged |= other.acknowledged


FAULTS: dict[str, Callable[[Moving, pytest.MonkeyPatch], Any]] = {
    "failing stop": failing_stop,
    "slow stop": slow_stop,
    "late write": late_writer,
}


def test_back_and_forth(moving: Moving) -> None:
    """To PostgreSQL, back, and again, while one `follow` runs: no write is lost anywhere."""
    application = moving.application
    with moving.following(), application.writing():
        for number in range(2):
            application.wait_writes(30)
            if number:
                proof = call("verify", "--level", "roundtrip", "-c", moving.config, "--json")
                assert (failed(proof), proof.code) == ({}, 0)
            answer = moving.cut_over()
            assert (answer.code, application.route) == (0, POSTGRES), answer.told
            application.wait_writes(30)
            rehearsed = moving.cut_over("--back", "--dry-run")
            assert (rehearsed.code, application.route) == (0, POSTGRES), rehearsed.told
            application.wait_writes(30)
            answer = moving.cut_over("--back")
            assert (answer.code, application.route) == (0, MONGO), answer.told
        application.wait_writes(30)
    assert application.lost_in_mongo() == {}
    followed = call("follow", "--until-caught-up", "-c", moving.config)
    assert followed.code == 0, followed.told
    assert application.lost_in_postgres() == {}
    reverted = call("revert", "--yes", "-c", moving.config)  # without --force: MongoDB has all that it deletes
    assert reverted.code == 0, reverted.told


def test_nothing_to_switch(live_server: mongo.Server, database: str, tmp_path: Path) -> None:
    """What a cutover needs: without it, the error says what to do."""
    config = configure(tmp_path, live_server.url, database, {})
    fill(live_server.url, DATABASE, documents(1))
    for command in ("cutover", "complete"):
        assert call(command, "--yes", "-c", config).code == 2
    assert call("run", "-c", config).code == 0
    unfollowed = call("cutover", "--yes", "-c", config)
    assert (unfollowed.code, "never followed" in unfollowed.err) == (2, True), unfollowed.told
    assert call("follow", "--until-caught-up", "-c", config).code == 0
    unverified = call("cutover", "--yes", "-c", config)
    assert (unverified.code, "no full verification" in unverified.err) == (5, True), unverified.told
    assert call("verify", "--level", "roundtrip", "-c", config).code == 0
    silent = call("cutover", "-c", config)
    assert (silent.code, "--yes" in silent.err) == (2, True), silent.told
    blocked = spawn("cutover", "--yes", "-c", config, environment={"MIGRATE_CUTOVER__STOP_WRITES": "block"})
    assert (blocked.code, "write block" in blocked.err) == (5, True), blocked.told
    for options in (("--back",), ("--undo",)):
        assert call("cutover", "--yes", "-c", config, *options).code == 2


def test_rehearsal(moving: Moving) -> None:
    """A dry run stops and resumes the writes, and changes nothing else."""
    with moving.application.writing():
        moving.application.wait_writes(20)
        answer = moving.cut_over("--dry-run")
        assert (answer.code, answer.json["status"]) == (0, "rehearsed"), answer.told
        assert answer.json["downtime_seconds"] > 0
        moving.application.wait_writes(20)
    assert moving.application.route == MONGO
    assert moving.application.lost_in_mongo() == {}
