"""kill -9 in tests: a PostgreSQL that may be killed, victims of every kind, moments spread over all of a run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg

from migrator.errors import TargetError
from migrator.targets.embedded import EmbeddedTarget
from tests import mongo
from tests.driving import COMMAND

TALLY: Counter[tuple[str, str]] = Counter()  # of this session: (victim, phase of the run)
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
    """How much a whole run has committed (`count_entries`) when all is prepared, loaded and settled, constrained."""

    prepared: int
    loaded: int
    constrained: int


def measure(database: str, prepared: int) -> Progress:
    """Of a finished run; `prepared` is what `prepare` makes."""
    with psycopg.connect(database, autocommit=True) as connection:
        query = "SELECT (SELECT count(*) FROM migrator.batches) + (SELECT count(*) FROM migrator.steps)"
        found = connection.execute(query).fetchone()
    return Progress(prepared, prepared + (int(found[0]) if found else 0), count_entries(database))


def count_entries(database: str) -> int:
    """What a run has committed so far: batches, steps, changes of the schema. It grows in every phase."""
    query = (
        "SELECT (SELECT count(*) FROM migrator.batches) + (SELECT count(*) FROM migrator.steps)"
        " + (SELECT count(*) FROM migrator.schema_changes)"
    )
    with (
        suppress(psycopg.Error),
        psycopg.connect(database, autocommit=True, connect_timeout=5) as connection,
    ):
        found = connection.execute(query).fetchone()
        return int(found[0]) if found else 0
    return 0


def phase_of(database: str) -> str:
    """What a run is at."""
    query = (
        "SELECT EXISTS (SELECT FROM migrator.steps WHERE step = 'reconcile messages'),"
        " (SELECT count(*) FROM migrator.batches WHERE collection = 'messages' AND last)"
        " = (SELECT nullif(count(*), 0) FROM migrator.partitions WHERE collection = 'messages')"
    )
    with (
        suppress(psycopg.Error),
        psycopg.connect(database, autocommit=True, connect_timeout=5) as connection,
    ):
        reconciled, read = connection.execute(query).fetchone() or (False, False)
        return "post-data" if reconciled else "reconcile" if read else "load"
    return "before"


@dataclass
class Killer:
    """Kills so many (`most`) processes, each at a moment of its own. `source`: a live MongoDB, which may be killed."""

    chance: random.Random
    most: int
    whole: Progress
    revive: Callable[[], None]
    source: mongo.Server | None = None
    killed: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def done(self) -> bool:
        return self.killed.total() >= self.most

    def attack(self, process: subprocess.Popen[bytes], database: str) -> None:
        """Until the process has ended, or enough have been killed."""
        while process.poll() is None and not self.done:
            if self._wait(process, database):
                self._kill_one(process, database)
                self.revive()

    def _wait(self, process: subprocess.Popen[bytes], database: str) -> bool:
        """Until a moment drawn from what is left of the run; whether it came."""
        moment = self._draw(count_entries(database))
        deadline = time.monotonic() + self.chance.choice([0.5, 20])  # some come while nothing can be committed
        while count_entries(database) < moment and time.monotonic() < deadline:
            if process.poll() is not None:
                return False
            time.sleep(0.005)
        time.sleep(self.chance.uniform(0, 0.2))
        return process.poll() is None

    def _draw(self, now: int) -> int:
        """In any phase alike: there is one entry for a reconciliation, and there are a hundred for what follows."""
        loaded, constrained = self.whole.loaded, self.whole.constrained
        phases = [(self.whole.prepared, loaded - 1), (loaded - 1, loaded - 1), (loaded, constrained)]
        left = [(max(first, now), last) for first, last in phases if last >= now]
        return self.chance.randint(*self.chance.choice(left or [(now, now)]))

    def _kill_one(self, process: subprocess.Popen[bytes], database: str) -> None:
        victims = list(self._victims(process, database))
        kind = self.chance.choice(sorted({kind for kind, _ in victims}))
        phase = phase_of(database)
        with suppress(ProcessLookupError):
            if kind == "source" and self.source is not None:
                self.source.kill()
                time.sleep(self.chance.uniform(0, 1))
                self.source.start()
            else:
                os.kill(self.chance.choice([pid for name, pid in victims if name == kind]), signal.SIGKILL)
            self.killed[kind, phase] += 1
            TALLY[kind, phase] += 1

    def _victims(self, process: subprocess.Popen[bytes], database: str) -> Iterator[tuple[str, int]]:
        yield "command", process.pid
        if self.source is not None:
            yield "source", 0
        with suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=True):
                yield "worker", child.pid
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
        process = subprocess.Popen(
            [str(COMMAND), "run", "-c", str(config), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
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


def wait_for_the_lock(database: str) -> None:
    """A server notices only after a while that a killed client is gone."""
    query = (
        "SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE l.locktype = 'advisory' AND d.datname = current_database()"
    )
    for _ in range(600):
        with suppress(psycopg.Error), psycopg.connect(database, autocommit=True) as connection:
            if connection.execute(query).fetchone() is None:
                return
        time.sleep(0.05)
    raise AssertionError("the lock was never given back")


def summary() -> str:
    """Who was killed when, in this session; empty where nobody was."""
    kinds = sorted({kind for kind, _ in TALLY})
    phases = ("before", "load", "reconcile", "post-data")
    lines = [
        f"  {kind}: " + ", ".join(f"{TALLY[kind, phase]} at {phase}" for phase in phases if TALLY[kind, phase])
        for kind in kinds
    ]
    return "\n".join([f"{TALLY.total()} kills:", *lines]) if lines else ""
