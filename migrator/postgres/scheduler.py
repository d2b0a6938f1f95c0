"""Runs tasks that depend on each other, several at a time, in threads with one connection each.

The tasks themselves are not here. Worker processes for loading are in `execution`.
"""

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
    """A task. `act` runs it, in a transaction of its own. `cost`: estimated duration, in one unit for all tasks."""

    name: str
    act: Callable[[Connection], None]
    cost: float = 0


Graph = Mapping[ScheduledTask, Set[ScheduledTask]]  # each task and the tasks that must finish before it


class Scheduler:
    """A context manager with `size` threads and connections. Leaving it cancels the statements that still run.

    `before` is called before each task, and whether the task is the last long one: while others are ready, the threads
    use all cores.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        size: int,
        before: Callable[[Connection, bool], None] = lambda connection, is_last: None,
    ) -> None:
        self._connect, self._before = connect, before
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
        """Run all tasks of a graph; yield each when it has finished. Raises the error of the first task that fails.

        Of the tasks that can start, the one with the longest critical path starts first.
        """
        path_cost = critical_path_costs(graph)
        sorter = TopologicalSorter(graph)
        sorter.prepare()
        ready: list[ScheduledTask] = []
        while sorter.is_active():
            ready = sorted([*ready, *sorter.get_ready()], key=path_cost, reverse=True)
            while ready and len(self._running) < self._size:
                task = ready.pop(0)
                self.submit(task, is_last=self._size == 1 or sum(each.cost for each in ready) < task.cost)
            for task in self._wait():
                sorter.done(task)
                yield task

    def submit(self, task: ScheduledTask, *, is_last: bool = True) -> None:
        """Run a task as soon as a thread is free, while the caller continues."""
        self._running[self._pool.submit(self._do, task, is_last)] = task

    def as_completed(self) -> Iterator[ScheduledTask]:
        """Yield each submitted task when it has finished. Raises the error of the first task that fails."""
        while self._running:
            yield from self._wait()

    def _wait(self) -> Iterator[ScheduledTask]:
        """Wait for at least one task and yield the finished tasks. Raises the error of a failed task."""
        finished, _ = wait(self._running, return_when=FIRST_COMPLETED)
        for future in finished:
            task = self._running.pop(future)
            future.result()
            yield task

    def _do(self, task: ScheduledTask, is_last: bool) -> None:
        connection = self._free.get()
        try:
            self._before(connection, is_last)
            task.act(connection)
        finally:
            self._free.put(connection)

    def _cancel(self) -> None:
        """Cancel all statements, repeatedly: the server ignores a request that arrives between two statements."""
        while pending := [future for future in self._running if not future.done()]:
            for connection in self._connections:
                with suppress(psycopg.OperationalError):  # the connection is lost, and with it the statement
                    connection.cancel_safe(timeout=1)
            wait(pending, timeout=0.1)


def critical_path_costs(graph: Graph) -> Callable[[ScheduledTask], float]:
    """Return a function: the cost of a task plus the most expensive chain of tasks that wait for it."""
    followers: dict[ScheduledTask, list[ScheduledTask]] = {task: [] for task in graph}
    for task, needs in graph.items():
        for need in needs:
            followers[need].append(task)

    @cache
    def path_cost(task: ScheduledTask) -> float:
        return task.cost + max(map(path_cost, followers[task]), default=0)

    return path_cost
