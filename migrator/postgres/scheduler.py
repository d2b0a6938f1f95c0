"""Tasks that depend on each other, several at once: threads with a connection each. What the tasks do is not here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

import psycopg

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScheduledTask:
    """`act` does it, in its own transaction. `cost` in any unit, the same for all: what holds up most goes first."""

    name: str
    act: Callable[[Connection], None]
    cost: float = 0


Graph = Mapping[ScheduledTask, Set[ScheduledTask]]  # each task and those that must be done before


class Scheduler:
    """So many threads and connections, open within its `with`. Leaving it cancels what still runs on the server."""

    def __init__(self, connect: Callable[[], Connection], size: int) -> None:
        self._connect = connect
        self._size = size
        self._exits = ExitStack()
        self._connections: list[Connection] = []
        self._free: SimpleQueue[Connection] = SimpleQueue()
        self._running: dict[Future[None], ScheduledTask] = {}

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            for _ in range(self._size):
                connection = exits.enter_context(self._connect())
                self._connections.append(connection)
                self._free.put(connection)
            self._pool = exits.enter_context(ThreadPoolExecutor(self._size, thread_name_prefix="scheduler"))
            self._exits = exits.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        with self._exits:
            self._cancel()

    def run_all(self, graph: Graph) -> Iterator[ScheduledTask]:
        """Yields each task when it is done. The first that fails ends the work with its error."""
        rank = critical_path_costs(graph)
        sorter = TopologicalSorter(graph)
        sorter.prepare()
        ready: list[ScheduledTask] = []
        while sorter.is_active():
            ready = sorted([*ready, *sorter.get_ready()], key=rank, reverse=True)
            while ready and len(self._running) < self._size:
                self.submit(ready.pop(0))
            for task in self._wait():
                sorter.done(task)
                yield task

    def submit(self, task: ScheduledTask) -> None:
        """Has a task done as soon as somebody is free, beside whatever the caller does meanwhile."""
        self._running[self._pool.submit(self._do, task)] = task

    def as_completed(self) -> Iterator[ScheduledTask]:
        """Yields each task that was begun, when it is done. The first that fails ends the work with its error."""
        while self._running:
            yield from self._wait()

    def _wait(self) -> Iterator[ScheduledTask]:
        """The tasks that are done next, one at least. Raises what one of them has raised."""
        finished, _ = wait(self._running, return_when=FIRST_COMPLETED)
        for future in finished:
            task = self._running.pop(future)
            future.result()
            yield task

    def _do(self, task: ScheduledTask) -> None:
        connection = self._free.get()
        try:
            task.act(connection)
        finally:
            self._free.put(connection)

    def _cancel(self) -> None:
        """Again and again, for a request that comes between two statements is not heard."""
        while pending := [future for future in self._running if not future.done()]:
            for connection in self._connections:
                with suppress(psycopg.OperationalError):  # then the statement has ended with its connection
                    connection.cancel_safe(timeout=1)
            wait(pending, timeout=0.1)


def critical_path_costs(graph: Graph) -> Callable[[ScheduledTask], float]:
    """The cost of a task with all that has to wait for it, one after the other: the critical path."""
    followers: dict[ScheduledTask, list[ScheduledTask]] = {task: [] for task in graph}
    for task, needs in graph.items():
        for need in needs:
            followers[need].append(task)

    @cache
    def rank(task: ScheduledTask) -> float:
        return task.cost + max(map(rank, followers[task]), default=0)

    return rank
