"""The monitor of a run: a thread that records the progress of the steps, reports what workers wait for, and throttles
them if replicas or the source are overloaded.

It has its own connection. An error in the monitor does not affect the run.
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
INTERVAL = 1.0  # seconds between two heartbeats


@contextmanager
def monitored(connect: Callable[[], Connection], namespace: Namespace, meter: LagMeter, emit: Emit) -> Iterator[Emit]:
    """Run a monitor for the duration of the block. Yields an `Emit` that also records the progress of the steps."""
    monitor = Monitor(connect, namespace, meter, emit)
    thread = threading.Thread(target=monitor.run, name="monitor", daemon=True)
    thread.start()
    try:
        yield monitor.emit
    finally:
        monitor.stop()
        thread.join(timeout=5 * INTERVAL)


class Monitor:
    """Collects the events of the steps and writes their progress once per `INTERVAL`."""

    def __init__(self, connect: Callable[[], Connection], namespace: Namespace, meter: LagMeter, emit: Emit) -> None:
        self._connect, self._namespace, self._meter, self._emit = connect, namespace, meter, emit
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._open: dict[str, StepProgress] = {}
        self._closed: list[StepProgress] = []
        self._reason: str | None = None
        self._reported: dict[str, datetime] = {}
        self._lag_unavailable_reported = self._begun = False

    def emit(self, event: Event) -> None:
        """Record an event and pass it on."""
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
        self._emit(event)

    def stop(self) -> None:
        """Write the last progress and end the thread."""
        self._ended.set()

    def run(self) -> None:
        """Write heartbeats until `stop` is called. After a lost connection, which the run reports itself, reconnect."""
        while not self._ended.is_set():
            with suppress(psycopg.Error, TargetError):
                self._watch()
            self._ended.wait(INTERVAL)

    def _watch(self) -> None:
        with self._connect() as connection:
            connection.execute("SET synchronous_commit = off")
            if not self._begun:
                activity.begin(connection, self._namespace)
                self._begun = True
            while not self._ended.wait(INTERVAL):
                self._beat(connection)
            self._write(connection)

    def _beat(self, connection: Connection) -> None:
        self._write(connection)
        self._report_waiting_workers(connection)
        if self._meter.is_needed:
            self._throttle(connection)

    def _write(self, connection: Connection) -> None:
        with self._lock:
            steps, closed = [*self._closed, *self._open.values()], len(self._closed)
        activity.write_steps(connection, self._namespace, steps)
        with self._lock:
            del self._closed[:closed]

    def _report_waiting_workers(self, connection: Connection) -> None:
        """Report what workers wait for, because they have no terminal."""
        for each in activity.read(connection, self._namespace):
            if each.kind == "worker" and each.waiting and self._reported.get(each.name) != each.at:
                self._reported[each.name] = each.at
                self._emit(Notice(text=f"{each.name}: {each.waiting}", level="warning"))

    def _throttle(self, connection: Connection) -> None:
        reason = self._meter.throttle_reason(connection)
        activity.write_waiting(connection, self._namespace, "throttle", THROTTLE, reason)
        if reason is not None and self._reason is None:
            self._emit(Notice(text=f"throttled: {reason}", level="warning"))
        if reason is None and self._reason is not None:
            self._emit(Notice(text="no longer throttled"))
        self._reason = reason
        if self._meter.lag_unavailable and not self._lag_unavailable_reported:
            self._lag_unavailable_reported = True
            self._emit(Notice(text=self._meter.lag_unavailable, level="warning"))
