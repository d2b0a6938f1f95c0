"""`migrate cutover`: an application that writes all the time is moved, and no acknowledged write is lost."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pymongo import MongoClient

from migrator.sources.ttl import LONGEST_SECONDS
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
    message,
    message_id,
    prepare,
)
from tests.driving import Answer, call
from tests.follow_killing import KEY
from tests.killing import wait_for
from tests.mongo import fill
from tests.processes import finish, start

pytestmark = pytest.mark.usefixtures("quick")
MESSAGES = 200
TTL = 10**6
MOVE = "move the application"


@dataclass
class Moving:
    """A loaded and verified target, and the application that is to be moved."""

    application: Application
    config: Path
    database: str
    late_writers: int = 0

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

    def killed_at(self, step: str, *options: object) -> str:
        """Kills a cutover before a step; returns where the application writes then."""
        with held_at(self.database, step) as wait:
            process = start("cutover", "--yes", "-c", self.config, *options)
            try:
                wait()
            finally:
                process.kill()
                out, told = process.communicate(60)
                print(step, out.decode(), told.decode())
        return self.application.route

    def interrupted_at(self, step: str, *options: object) -> str:
        """Interrupts a cutover before a step, as Ctrl-C does; returns where the application writes then."""
        with held_at(self.database, step) as wait:
            process = start("cutover", "--yes", "-c", self.config, *options)
            wait()
            process.send_signal(signal.SIGINT)
            out, told = process.communicate(60)
            assert process.returncode == 5, (out.decode(), told.decode())
        return self.application.route

    def disconnected_at(self, step: str, *options: object) -> str:
        """Ends the session of a cutover in PostgreSQL before a step; returns where the application writes then."""
        with held_at(self.database, step) as wait:
            process = start("cutover", "--yes", "-c", self.config, *options)
            wait()
            waiting = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE objid = %s AND NOT granted"
            self.read(waiting, KEY)
            out, told = process.communicate(60)
            assert process.returncode == 7, (out.decode(), told.decode())
        return self.application.route

    @property
    def is_verified(self) -> bool:
        return bool(self.read("SELECT FROM migrator.steps WHERE step = 'full verification'"))

    @property
    def ttl(self) -> int:
        """The seconds of the TTL index."""
        with MongoClient[Any](self.application.url) as client:
            found = client[DATABASE]["settings"].index_information()
        return int(found["at_1"]["expireAfterSeconds"])

    def attempt(self, chance: random.Random, monkeypatch: pytest.MonkeyPatch, *, is_back: bool) -> str:
        """Makes an attempt, and a fault in most cases. The application goes on afterwards; returns what was done."""
        options = ("--back",) if is_back else ()
        there, other = (POSTGRES, MONGO) if is_back else (MONGO, POSTGRES)
        kind = chance.choice(["none", "kill", "kill", "interrupt", "disconnect", "fault"])
        if kind == "disconnect":
            step = chance.choice([each for each in STEPS[is_back] if each not in (MOVE, "restore MongoDB")])
            assert self.disconnected_at(step, *options) == there, step
            return f"disconnected before {step!r}"
        if kind == "interrupt":
            step = chance.choice([each for each in STEPS[is_back] if each not in (MOVE, "restore MongoDB")])
            assert self.interrupted_at(step, *options) == there, step
            return f"interrupted before {step!r}"
        if kind == "kill":
            step = chance.choice(STEPS[is_back])
            kind = f"kill before {step!r}"
            self.killed_at(step, *options)
            if chance.random() < 0.5 and self.state != ("switched" if not is_back else "following"):
                undone = call("cutover", "--undo", "-c", self.config, "--json")
                assert undone.code in (0, 2), undone.told
                assert self.application.route == there, undone.told
                return f"{kind}, undone"
            answer = self.cut_over(*options)
            assert (answer.code, self.application.route) == (0, other), (kind, answer.told)
            return f"{kind}, again"
        if kind == "fault":
            kind = chance.choice(["failing stop", "slow stop"] if is_back else list(FAULTS))
            with monkeypatch.context() as changed, FAULTS[kind](self, changed):
                answer = self.cut_over(*options)
            assert (answer.code, self.application.route) == (4 if kind == "damage" else 5, there), (kind, answer.told)
            return kind
        answer = self.cut_over(*options)
        assert (answer.code, self.application.route) == (0, other), answer.told
        return f"to {other}"

    def cut_over(self, *options: object) -> Answer:
        return call("cutover", "--yes", "-c", self.config, "--json", *options)

    def read(self, query: str, *values: object) -> Any:
        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(query.encode(), values).fetchall()

    @property
    def state(self) -> str:
        return str(self.read("SELECT state FROM migrator.sync")[0][0])


@pytest.fixture
def moving(live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> Moving:
    database = new_database()
    application = Application(live_server.url, database, tmp_path, rate=40, first=MESSAGES)
    config = configure(tmp_path, live_server.url, database, application.hooks)
    prepare(live_server.url, config, MESSAGES, ttl=TTL)
    return Moving(application, config, database)


def test_aborts(moving: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails before the switch, the application goes on with MongoDB. A later cutover loses nothing.

    Its end leaves no trace.
    """
    application, before = moving.application, dump_schema(moving.database)
    with moving.following(), application.writing():
        for name, fault in FAULTS.items():
            application.wait_writes(10)
            with monkeypatch.context() as changed, fault(moving, changed):
                answer = moving.cut_over()
            assert answer.code == (4 if name == "damage" else 5), (name, answer.told)
            assert answer.json["error"].get("undone"), (name, answer.told)
            assert (moving.state, application.route, moving.ttl) == ("following", MONGO, TTL), name
        application.wait_writes(10)
        assert moving.interrupted_at("switch") == MONGO
        assert moving.disconnected_at("verify") == MONGO
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
    assert moving.ttl == LONGEST_SECONDS
    for command in (("run",), ("verify",), ("rejects", "retry"), ("revert", "--yes"), ("cutover", "--yes")):
        refused = call(*command, "-c", moving.config, "--json")
        assert refused.code in (2, 6), (command, refused.told)
        assert "PostgreSQL" in refused.json["error"]["message"], refused.told
    assert "switched" in call("status", "-c", moving.config).out
    ended = call("complete", "--yes", "-c", moving.config, "--json")
    assert (ended.code, ended.json["status"]) == (0, "complete"), ended.told
    assert (dump_schema(moving.database), moving.ttl) == (before, TTL)
    assert call("follow", "-c", moving.config).code == 2


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
    moving.late_writers += 1
    first = 10**6 * moving.late_writers
    other = Application(own.url, moving.database, own.folder, rate=20, first=first, route_file="other")
    with other.writing():
        yield
    moving.application.acknowledged |= other.acknowledged


@contextmanager
def damage(moving: Moving, changed: pytest.MonkeyPatch) -> Iterator[None]:
    """A row is not what its document says, which changed after the verification."""
    text = f"touched {moving.application.writes}"
    with MongoClient[Any](moving.application.url) as client:
        client[DATABASE]["messages"].update_one({"_id": message(0, "")["_id"]}, {"$set": {"text": text}})
    query = "UPDATE messages SET content = %s WHERE id = %s AND content = %s"
    with psycopg.connect(moving.database, autocommit=True) as connection:
        end = time.monotonic() + 20
        while connection.execute(query, ("damaged", message_id(0), text)).rowcount == 0:
            assert time.monotonic() < end, "not applied"
            time.sleep(0.02)
        yield
        connection.execute(query, (text, message_id(0), "damaged"))


STEPS = {  # before which a cutover is killed, by direction
    False: ("suspend TTL", "stop writes", "prove the stop", "apply the last changes", "verify", "switch", MOVE),
    True: ("stop writes", "refuse writes", "return the last changes", "verify", "switch", "restore MongoDB", MOVE),
}
FAULTS: dict[str, Callable[[Moving, pytest.MonkeyPatch], Any]] = {
    "failing stop": failing_stop,
    "slow stop": slow_stop,
    "late write": late_writer,
    "damage": damage,
}


def test_there_and_back(moving: Moving) -> None:
    """To PostgreSQL and back: no write is lost. Then a revert deletes nothing that MongoDB does not have."""
    application = moving.application
    with application.writing():
        for options, route in ((("--dry-run",), MONGO), ((), POSTGRES), (("--back", "--dry-run"), POSTGRES)):
            application.wait_writes(20)
            answer = moving.cut_over(*options)
            assert (answer.code, application.route) == (0, route), answer.told
            assert answer.json["downtime_seconds"] > 0
        application.wait_writes(20)
        answer = moving.cut_over("--back")
        assert (answer.code, application.route, moving.ttl) == (0, MONGO, TTL), answer.told
        application.wait_writes(20)
    assert application.lost_in_mongo() == {}
    followed = call("follow", "--until-caught-up", "-c", moving.config)
    assert followed.code == 0, followed.told
    assert application.lost_in_postgres() == {}
    proof = call("verify", "--level", "roundtrip", "-c", moving.config, "--json")
    assert (failed(proof), proof.code) == ({}, 0)
    reverted = call("revert", "--yes", "-c", moving.config)
    assert reverted.code == 0, reverted.told


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_many_switches(moving: Moving, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Attempts in both directions, most of which fail at random steps: no acknowledged write is lost, and in the end
    the target is what a run on the source makes."""
    application, chance = moving.application, random.Random(seed)
    done: list[str] = []
    with moving.following(), application.writing():
        for _ in range(25):
            application.wait_writes(chance.randrange(1, 30))
            is_back = application.route == POSTGRES
            if not is_back and not moving.is_verified:
                proof = call("verify", "--level", "roundtrip", "-c", moving.config, "--json")
                assert (failed(proof), proof.code) == ({}, 0), (seed, done)
            done.append(moving.attempt(chance, monkeypatch, is_back=is_back))
        if application.route == POSTGRES:
            answer = moving.cut_over("--back")
            assert answer.code == 0, (seed, done, answer.told)
    print(seed, done)
    assert application.lost_in_mongo() == {}, (seed, done)
    followed = call("follow", "--until-caught-up", "-c", moving.config)
    assert followed.code == 0, followed.told
    assert application.lost_in_postgres() == {}, (seed, done)


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
    blocked = finish("cutover", "--yes", "-c", config, environment={"MIGRATE_CUTOVER__STOP_WRITES": "block"})
    assert (blocked.code, "write block" in blocked.err) == (5, True), blocked.told
    for options in (("--back",), ("--undo",)):
        assert call("cutover", "--yes", "-c", config, *options).code == 2
