"""kill -9 while a source is followed: of the command, its receiver, the source and the target.

A blow comes at a random moment, or at a step: a trigger on a record makes the process that comes to the step wait.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, LiteralString

import psutil  # type: ignore[import-untyped]
import psycopg

from tests import mongo
from tests.changing import LiveChanges, is_applied
from tests.killing import TALLY, Server, Watcher, wait_for_the_lock
from tests.processes import Command, start

VICTIMS: Final = ("command", "receiver", "source", "postmaster")
KEY: Final = 64713  # of the advisory lock that a closed gate waits for
STEP_SECONDS: Final = 8.0  # until a process must have come to a step, else the blow comes anyway
PATIENCE: Final = 120.0
GATE: LiteralString = """
    CREATE SCHEMA IF NOT EXISTS gates;
    CREATE OR REPLACE FUNCTION gates.wait() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(64713); RETURN NULL; END';
"""
# What a process is about to do when it waits. A commit waits with everything done.
STEPS: Final[dict[str, LiteralString]] = {
    "receive": "TRIGGER gate BEFORE INSERT ON migrator.dirty FOR EACH STATEMENT",
    "commit of the receiver": "CONSTRAINT TRIGGER gate AFTER UPDATE ON migrator.sync DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW WHEN (new.received <> old.received)",
    "set back": "TRIGGER gate BEFORE DELETE ON migrator.ledger FOR EACH STATEMENT",
    "load": "TRIGGER gate BEFORE INSERT ON migrator.ledger FOR EACH STATEMENT",
    "delete keys": "TRIGGER gate BEFORE DELETE ON migrator.dirty FOR EACH STATEMENT",
    "commit": "CONSTRAINT TRIGGER gate AFTER UPDATE ON migrator.sync DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW WHEN (new.applied <> old.applied)",
}
RECEIVING: Final = ("receive", "commit of the receiver")
LOADED: LiteralString = "SELECT count(*) FROM migrator.sync WHERE state <> 'loading'"
RECEIVED: LiteralString = "SELECT received FROM migrator.sync"
FOLLOWING: LiteralString = "SELECT count(*) FROM migrator.sync WHERE state = 'following'"


@dataclass(frozen=True, slots=True)
class Blow:
    """Whom to kill when: during the load or after it, at a step (None: at any moment), so many seconds later."""

    phase: str
    victim: str
    step: str | None
    delay: float


def plan_blows(seed: int, during_load: int, after_load: int) -> list[Blow]:
    """Returns the blows of a seed. The victims and the steps follow each other, from the seed on."""
    chance = random.Random(seed)
    steps = [*STEPS, None, None]
    blows = []
    for number in range(during_load + after_load):
        phase = "load" if number < during_load else "follow"
        step = steps[(3 * seed + number) % len(steps)]
        victim = VICTIMS[(seed + number) % len(VICTIMS)]
        if phase == "load" and step not in RECEIVING:
            step = chance.choice([*RECEIVING, None])
        if victim == "receiver" and step not in RECEIVING:
            step = None
        blows.append(Blow(phase, victim, step, chance.uniform(0, 0.15)))
    return blows


@dataclass
class Killer:
    """Follows a source with `run --follow`, and kills. `killed`: (victim, phase, step) of every blow."""

    config: Path
    database: str
    target: Server
    source: mongo.Server
    blows: list[Blow]
    killed: list[tuple[str, str, str | None]] = field(default_factory=list)
    _process: Command | None = None

    def run(self, live: LiveChanges) -> None:
        """Writes and kills until all blows are done, applies what is left, and ends the command by Ctrl-C."""
        stopped = threading.Event()
        errors: list[BaseException] = []
        writer = threading.Thread(target=_write, args=(live, stopped, errors), daemon=True)
        writer.start()
        try:
            for blow in self.blows:
                self._strike(blow)
        finally:
            stopped.set()
            writer.join(PATIENCE)
        assert not errors, errors
        assert not writer.is_alive()
        try:
            self._drain(live)
        finally:
            if self._process is not None:
                self._process.kill()

    # --- the command -------------------------------------------------------------------------------------------------

    def _command(self) -> Command:
        """Returns the running command; the same is started again if it has ended."""
        if self._process is not None and self._process.poll() is not None:
            out, told = self._process.communicate()
            # multiprocessing's own resource tracker, when killed, complains on its way back; ours must not.
            assert b"migrator/" not in told, told.decode()
            assert self._process.returncode in (-signal.SIGKILL, 5, 7), (out.decode(), told.decode())
            if self._process.returncode != -signal.SIGKILL:
                print(f"ended with {self._process.returncode} after {self.killed}: {told.decode()}")
            self._process = None
            wait_for_the_lock(self.database, KEY)
        if self._process is None:
            self._process = start("run", "--follow", "-c", self.config, "--json")
        return self._process

    def _until(self, condition: Callable[[], Any], what: str, most: float = PATIENCE) -> bool:
        """Waits with a running command; returns whether the condition was met in time."""
        deadline = time.monotonic() + most
        while time.monotonic() < deadline:
            self._command()
            with suppress(psycopg.Error):
                if condition():
                    return True
            time.sleep(0.01)
        assert most < PATIENCE, f"not {what} within {most} s: {self.killed}"
        return False

    def _read(self, query: LiteralString) -> int:
        watcher = Watcher(self.database)
        try:
            row = watcher.ask(query)
            return int(row[0]) if row and row[0] is not None else 0
        finally:
            watcher.close()

    def _drain(self, live: LiveChanges) -> None:
        """Waits until a last change has been applied and none is left, and ends the command."""
        self._until(lambda: self._read(FOLLOWING), "following")
        fence = live.fence()
        self._until(lambda: is_applied(self.database, fence), "applied")
        process = self._command()
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == 5, (out.decode(), told.decode())

    # --- blows -------------------------------------------------------------------------------------------------------

    def _strike(self, blow: Blow) -> None:
        self._until(lambda: self._read(RECEIVED) > 0, "receiving")
        if blow.phase == "follow":
            self._until(lambda: self._read(FOLLOWING), "following")
        phase = "follow" if self._read(LOADED) else "load"
        step = blow.step
        if step is None:
            time.sleep(blow.delay)
            self._kill(blow.victim)
        else:
            with self._closed(step) as is_waiting:
                met = self._until(is_waiting, step, STEP_SECONDS)
                if not met:
                    step = None
                time.sleep(blow.delay)
                self._kill(blow.victim)
        self.killed.append((blow.victim, phase, step))
        TALLY[blow.victim, step or phase] += 1
        self.target.revive()

    @contextmanager
    def _closed(self, step: str) -> Iterator[Callable[[], bool]]:
        """Lets processes wait before a step in the block. Yields whether one waits."""
        with psycopg.connect(self.database, autocommit=True) as gate:
            gate.execute(GATE)
            gate.execute("SELECT pg_advisory_lock(%s)", (KEY,))
            gate.execute(f"CREATE {STEPS[step]} EXECUTE FUNCTION gates.wait()")
            query = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
            try:
                yield lambda: gate.execute(query, (KEY,)).fetchone() is not None
            finally:
                with suppress(psycopg.Error):  # the server may have been killed
                    gate.execute("SELECT pg_advisory_unlock(%s)", (KEY,))
        self.target.revive()
        with psycopg.connect(self.database, autocommit=True) as gate:
            gate.execute("DROP SCHEMA gates CASCADE")

    def _kill(self, victim: str) -> None:
        process = self._command()
        if victim == "command":
            process.kill()
            process.wait()
        elif victim == "source":
            self.source.kill()
            self.source.start()
        else:
            pid = self._postmaster() if victim == "postmaster" else receiver_of(process, self.source.port)
            if pid is None:
                process.kill()
                process.wait()
            else:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _postmaster(self) -> int:
        with psycopg.connect(self.database, autocommit=True) as connection:
            return int(psutil.Process(connection.info.backend_pid).parent().pid)


def receiver_of(process: Command, port: int) -> int | None:
    """Returns the process of the receiver: the child of a command that has an open connection to the source."""
    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if any(each.raddr and each.raddr.port == port for each in child.net_connections("tcp")):
                    return int(child.pid)
    return None


def _write(live: LiveChanges, stopped: threading.Event, errors: list[BaseException]) -> None:
    try:
        while not stopped.is_set():
            live.write(1)
            stopped.wait(0.01)
    except BaseException as error:  # noqa: BLE001 - raised in the test
        errors.append(error)
