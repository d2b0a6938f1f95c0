"""What watches over a run from beside it: a thread that writes down how far the steps are, says what workers wait for,
and holds them back when replicas or the source have too much to do. It has a connection of its own, and whatever
happens to that, the run does not care.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import psycopg

from migrator.errors import TargetError
from migrator.events import Emit, Event, Notice, StepAdvanced, StepFinished, StepStarted
from migrator.monitoring.throttle import THROTTLE, LagMeter
from migrator.state import activity
from migrator.state.activity import StepProgress
from migrator.state.records import Namespace

Connection = psycopg.Connection[Any]
BEAT = 1.0  # seconds


@contextmanager
def monitored(connect: Callable[[], Connection], namespace: Namespace, gauge: LagMeter, emit: Emit) -> Iterator[Emit]:
    """An `Emit` that also keeps the record `activity`, as long as the block lasts."""
    monitor = Monitor(connect, namespace, gauge, emit)
    thread = threading.Thread(target=monitor.run, name="monitor", daemon=True)
    thread.start()
    try:
        yield monitor.emit
    finally:
        monitor.stop()
        thread.join(timeout=5 * BEAT)


class Monitor:
    """Steps are noted as they are announced, and written once a `BEAT`."""

    def __init__(self, connect: Callable[[], Connection], namespace: Namespace, gauge: LagMeter, emit: Emit) -> None:
        self._connect, self._namespace, self._gauge, self._tell = connect, namespace, gauge, emit
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._open: dict[str, StepProgress] = {}
        self._closed: list[StepProgress] = []
        self._reason: str | None = None
        self._heard: dict[str, datetime] = {}
        self._blind = self._begun = False

    def emit(self, event: Event) -> None:
        with self._lock:
            match event:
                case StepStarted():
                    self._open[event.step] = StepProgress(step=event.step, total=event.total, unit=event.unit)
                case StepAdvanced() if event.step in self._open:
                    known = self._open[event.step]
                    total = event.total or known.total
                    self._open[event.step] = StepProgress(
                        step=event.step, done=event.done, total=total, unit=known.unit
                    )
                case StepFinished() if event.step in self._open:
                    self._closed.append(activity.ended(self._open.pop(event.step)))
        self._tell(event)

    def stop(self) -> None:
        """The last of the steps is written, and the thread ends."""
        self._ended.set()

    def run(self) -> None:
        """What fails here is a lost connection, which the run will tell about itself; the next beat has a new one."""
        while not self._ended.is_set():
            with suppress(psycopg.Error, TargetError):
                self._watch()
            self._ended.wait(BEAT)

    def _watch(self) -> None:
        with self._connect() as connection:
            connection.execute("SET synchronous_commit = off")
            if not self._begun:
                activity.begin(connection, self._namespace)
                self._begun = True
            while not self._ended.wait(BEAT):
                self._beat(connection)
            self._write(connection)

    def _beat(self, connection: Connection) -> None:
        self._write(connection)
        self._listen(connection)
        if self._gauge.needed:
            self._measure(connection)

    def _write(self, connection: Connection) -> None:
        with self._lock:
            steps, closed = [*self._closed, *self._open.values()], len(self._closed)
        activity.write_steps(connection, self._namespace, steps)
        with self._lock:
            del self._closed[:closed]

    def _listen(self, connection: Connection) -> None:
        """Workers have no terminal: what they wait for is said here."""
        for each in activity.read(connection, self._namespace):
            if each.kind == "worker" and each.waiting and self._heard.get(each.name) != each.at:
                self._heard[each.name] = each.at
                self._tell(Notice(text=f"{each.name}: {each.waiting}", level="warning"))

    def _measure(self, connection: Connection) -> None:
        reason = self._gauge.reason(connection)
        activity.write_waiting(connection, self._namespace, "throttle", THROTTLE, reason)
        if reason is not None and self._reason is None:
            self._tell(Notice(text=f"held back: {reason}", level="warning"))
        if reason is None and self._reason is not None:
            self._tell(Notice(text="going on at full speed"))
        self._reason = reason
        if self._gauge.blind and not self._blind:
            self._blind = True
            self._tell(Notice(text=self._gauge.blind, level="warning"))
