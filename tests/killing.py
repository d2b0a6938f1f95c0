"""kill -9 in tests: a PostgreSQL that may be killed, victims of every kind, moments planned for every stage of a run.

A plan of kills follows from its seed: the same stages, kinds and shares of the work each time.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psutil  # type: ignore[import-untyped]
import psycopg

from migrator.errors import TargetError
from migrator.targets.embedded import EmbeddedTarget
from tests import mongo
from tests.processes import Command, start

TALLY: Counter[tuple[str, str]] = Counter()  # of this session: (victim, phase of the run)
STAGES = ("prepare", "load", "reconcile", "embed", "post-data")
KINDS = ("command", "worker", "session", "postmaster")
PATIENCE = 240  # seconds until a run that neither ends nor goes on is a failure


@dataclass
class Server:
    """A PostgreSQL of the test's own, that may be killed: nobody else's tests run in it."""

    target: EmbeddedTarget
    databases: int = 0

    def new_database(self) -> str:
        self.databases += 1
        name = f"killed_{self.databases}"
        with self.target.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://{self.address['user']}@/{name}?host={self.address['host']}&port={self.address['port']}"

    def revive(self) -> None:
        """Starts PostgreSQL again where it was killed, and waits until it answers."""
        said, deadline = "", time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.target.connect().close()
            except (TargetError, psycopg.Error) as error:  # it recovers, and how long that takes others decide
                said = str(error)
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"PostgreSQL does not come back: {said}")

    @property
    def address(self) -> dict[str, str]:
        parts = dict(pair.split("=", 1) for pair in self.target.dsn.split())
        return {name: value.strip("'") for name, value in parts.items()}


@dataclass(frozen=True, slots=True)
class Progress:
    """What a run has done: the stage it is in, and how much of every stage is committed."""

    stage: str
    done: dict[str, int]


@dataclass(frozen=True, slots=True)
class Aim:
    """When to kill what: in a stage, when this share of the stage is committed, so many seconds after that."""

    stage: str
    kind: str
    share: float
    delay: float


def plan_kills(seed: int, stages: Sequence[str], kinds: Sequence[str]) -> list[Aim]:
    """Returns one kill for each of `stages`, in the order of a run; the kinds follow each other, from the seed on."""
    chance = random.Random(seed)
    first = chance.randrange(len(kinds))
    ordered = sorted(stages, key=STAGES.index)
    return [
        Aim(stage, kinds[(first + number) % len(kinds)], chance.uniform(0, 0.9), chance.uniform(0, 0.05))
        for number, stage in enumerate(ordered)
    ]


_PROGRESS = """
    SELECT (SELECT count(*) FROM migrator.batches),
      (SELECT count(*) FROM migrator.batches WHERE collection = 'messages'),
      (SELECT count(*) FROM migrator.batches WHERE collection = 'messages' AND last)
        = (SELECT nullif(count(*), 0) FROM migrator.partitions WHERE collection = 'messages'),
      EXISTS (SELECT FROM migrator.steps WHERE step = 'reconcile messages'),
      (SELECT count(embedding) FROM document_chunks),
      EXISTS (SELECT FROM document_chunks WHERE embedding IS NULL),
      (SELECT count(*) FROM migrator.schema_changes)
"""


@dataclass
class Watcher:
    """Looks at the records of a run, on one connection that is opened again where its server was killed."""

    database: str
    connection: psycopg.Connection[Any] | None = None

    def look(self) -> Progress:
        """Returns where the run is; "prepare" while there are no records, or no server."""
        row = self.ask(_PROGRESS)
        if row is None:
            return Progress("prepare", dict.fromkeys(STAGES, 0))
        batches, messages, read, reconciled, filled, missing, changes = row
        done = {"prepare": changes, "load": messages, "reconcile": 0, "embed": filled, "post-data": changes}
        if reconciled:
            return Progress("embed" if missing else "post-data", done)
        return Progress("reconcile" if read else "load" if batches else "prepare", done)

    def ask(self, query: LiteralString) -> tuple[Any, ...] | None:
        """Returns the first row of an answer; None where relations are missing, or the server is gone."""
        try:
            if self.connection is None:
                self.connection = psycopg.connect(self.database, autocommit=True, connect_timeout=5)
            return self.connection.execute(query).fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return None
        except psycopg.Error:
            self.close()
            return None

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None


# What a run has committed so far. Entries grow in every stage, commits only from load to reconcile.
COMMITS: LiteralString = "SELECT (SELECT count(*) FROM migrator.batches) + (SELECT count(*) FROM migrator.steps)"
ENTRIES: LiteralString = COMMITS + " + (SELECT count(*) FROM migrator.schema_changes)"  # noqa: S608


def count(database: str, query: LiteralString) -> int:
    """Returns a count of a run's records; 0 where there are none yet."""
    with closing(Watcher(database)) as watcher:
        row = watcher.ask(query)
        return int(row[0]) if row else 0


def wait_for(database: str, query: LiteralString, wanted: float, process: Command | None = None) -> bool:
    """Waits until so much is committed. Returns whether it came so far before the process ended."""
    deadline = time.monotonic() + PATIENCE
    with closing(Watcher(database)) as watcher:
        while time.monotonic() < deadline:
            row = watcher.ask(query)
            if row is not None and int(row[0]) >= wanted:
                return True
            if process is not None and process.poll() is not None:
                return False
            time.sleep(0.005)
    raise AssertionError(f"no {wanted} of {query} within {PATIENCE} seconds")


@dataclass
class Killer:
    """Kills a process for every aim, in their order. `source`: a live MongoDB, which may be killed.

    `whole` is the progress of an undisturbed run, `prepared` the number of schema changes that its first stage makes.
    """

    aims: list[Aim]
    whole: Progress
    prepared: int
    revive: Callable[[], None]
    source: mongo.Server | None = None
    killed: list[tuple[str, str]] = field(default_factory=list)  # (victim, stage)

    @property
    def done(self) -> bool:
        return not self.aims

    def attack(self, process: Command, database: str) -> None:
        """Kills while the process runs and aims are left that this run can still meet."""
        watcher = Watcher(database)
        try:
            while self.aims and self._wait(process, watcher):
                self._kill_one(process, watcher, self.aims.pop(0))
                self.revive()
        finally:
            watcher.close()

    def _wait(self, process: Command, watcher: Watcher) -> bool:
        """Waits for the moment of the next aim. Returns False where the run ended, or has passed it."""
        aim = self.aims[0]
        moment = self._moment(aim)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = watcher.look()
            late = STAGES.index(found.stage) - STAGES.index(aim.stage)
            if process.poll() is not None or late > 0:
                return False
            if late == 0 and found.done[aim.stage] >= moment:
                time.sleep(0 if aim.stage in ("prepare", "reconcile") else aim.delay)  # each takes a tenth of a second
                return process.poll() is None
            time.sleep(0.005)
        raise AssertionError(f"the run does not come to {aim}")

    def _moment(self, aim: Aim) -> int:
        """Returns how much of its stage is done at the moment of an aim."""
        whole = self.whole.done[aim.stage]
        match aim.stage:
            case "prepare":
                return int(aim.share * self.prepared)
            case "post-data":
                return self.prepared + int(aim.share * (whole - self.prepared))
            case _:
                return int(aim.share * whole)

    def _kill_one(self, process: Command, watcher: Watcher, aim: Aim) -> None:
        victims = list(self._victims(process, watcher.database))
        kinds = {kind for kind, _ in victims}
        kind = aim.kind if aim.kind in kinds else "command"  # a run that prepares has no workers yet
        stage = watcher.look().stage
        with suppress(ProcessLookupError):
            if kind == "source" and self.source is not None:
                self.source.kill()
                time.sleep(10 * aim.delay)
                self.source.start()
            else:
                os.kill(next(pid for name, pid in victims if name == kind), signal.SIGKILL)
        self.killed.append((kind, stage))
        TALLY[kind, stage] += 1

    def _victims(self, process: Command, database: str) -> Iterator[tuple[str, int]]:
        yield "command", process.pid
        if self.source is not None:
            yield "source", 0
        with suppress(psutil.Error):
            for child in psutil.Process(process.pid).children():  # the fork server, and helpers of multiprocessing
                yield from (("worker", worker.pid) for worker in child.children())
        with suppress(psycopg.Error), psycopg.connect(database, autocommit=True, connect_timeout=5) as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'migrate%'"
            sessions = [row[0] for row in connection.execute(query)]
            yield from (("session", pid) for pid in sessions)
            if sessions:
                with suppress(psutil.Error):
                    parent = psutil.Process(sessions[0]).parent()
                    if parent is not None and parent.name() == "postgres":
                        yield "postmaster", parent.pid


def run_to_the_end(killer: Killer, config: Path, database: str) -> None:
    """Begins the command again whenever it was killed, until it has done its work."""
    for _ in range(100):
        process = start("run", "-c", config, "--json")
        try:
            killer.attack(process, database)
            out, told = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
        # multiprocessing's own resource tracker, when killed, complains on its way back; ours must not.
        assert b"migrator/" not in told, told.decode()
        if process.returncode == 0:
            return
        assert process.returncode in (-signal.SIGKILL, 5, 7), (out.decode(), told.decode())
        wait_for_the_lock(database)
    raise AssertionError("a hundred attempts, and no end")


def wait_for_the_lock(database: str, own: int = 0) -> None:
    """A server notices only after a while that a killed client is gone. `own`: a lock of the test."""
    query = (
        "SELECT l.objid, l.granted, a.application_name, a.query FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'advisory' AND a.datname = current_database() AND l.objid <> %s::oid"
    )
    held: object = None
    for _ in range(600):
        try:
            with psycopg.connect(database, autocommit=True) as connection:
                held = connection.execute(query, (own,)).fetchall()
        except psycopg.Error as error:
            held = error
        if held == []:
            return
        time.sleep(0.05)
    raise AssertionError(f"the lock was never given back: {held}")


def summary() -> str:
    """Who was killed when, in this session; empty where nobody was."""
    kinds = sorted({kind for kind, _ in TALLY})
    stages = [*STAGES, *sorted({stage for _, stage in TALLY} - set(STAGES))]
    lines = [
        f"  {kind}: " + ", ".join(f"{TALLY[kind, stage]} at {stage}" for stage in stages if TALLY[kind, stage])
        for kind in kinds
    ]
    return "\n".join([f"{TALLY.total()} kills:", *lines]) if lines else ""
