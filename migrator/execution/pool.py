"""Workers that run tasks: this process alone, or a pool of processes on this machine.

Every worker runs tasks with `tasks.run_task`, so the choice changes only the duration. `ProcessPool` is the only
process pool of the package; other work than tasks can use it through `call`. The Dask cluster is in `dask.py`.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from multiprocessing.context import BaseContext
from threading import Thread
from typing import ParamSpec, Protocol, TypeVar

from migrator.errors import StoppedError
from migrator.execution.child import begin_child
from migrator.execution.fork_server import start_fork_server
from migrator.execution.memory import keep_freed_memory
from migrator.execution.tasks import Job, Task, TaskResult, TaskRunner, close_runners, run_task
from migrator.mapping.project import ProjectPackages, import_packages

TASKS_PER_WORKER = 2  # submitted, including the running one: no worker waits, and few documents are in memory
MIN_TASKS_FOR_POOL = 1  # this many tasks finish sooner than worker processes start
CHECK_SECONDS = 5  # without a result, then the pool is checked

P = ParamSpec("P")
T = TypeVar("T")


class WorkersLostError(StoppedError):
    """A worker process ended unexpectedly. Its uncommitted work must be repeated."""

    transient = True


def worker_ended() -> WorkersLostError:
    """Return the error for a worker process that ended without a result."""
    return WorkersLostError(
        "a worker process ended unexpectedly (killed, or out of memory)",
        hint="Run the same command again to resume. Fewer engine.workers need less memory.",
    )


class Workers(Protocol):
    """Runs tasks in any order, up to `count` at a time. The first error ends the work."""

    count: int

    def work(self, tasks: Iterator[Task]) -> Iterator[TaskResult]: ...


class ObservedWorkers:
    """Workers whose results `observe` receives."""

    def __init__(self, workers: Workers, observe: Callable[[TaskResult], None]) -> None:
        self._workers, self._observe = workers, observe
        self.count = workers.count

    def work(self, tasks: Iterator[Task]) -> Iterator[TaskResult]:
        for result in self._workers.work(tasks):
            self._observe(result)
            yield result


class SerialWorkers:
    """Runs one task after the other in this process."""

    count = 1

    def __init__(self, runner: TaskRunner) -> None:
        self._runner = runner

    def work(self, tasks: Iterator[Task]) -> Iterator[TaskResult]:
        for number, task in enumerate(tasks):
            yield replace(self._runner.run_task(task), number=number)


class Pool(Protocol):
    """Worker processes that run tasks. `losses` are the errors of a future whose worker process ended."""

    count: int
    losses: tuple[type[BaseException], ...]

    @property
    def is_single(self) -> bool:
        """Whether the pool has only one process, so that this process can do the work as well."""
        ...

    def prestart(self) -> None:
        """Start all processes now, before the first task."""

    def submit(self, job: Job, task: Task) -> Future[TaskResult]: ...

    def check(self) -> None:
        """Raise `WorkersLostError` if no result can be expected. Called while no result arrives."""

    def close(self) -> None:
        """End all processes at once. Work that is not committed is rolled back."""


class PooledWorkers:
    """Runs tasks on a pool; so few tasks that a pool does not pay run in this process."""

    def __init__(self, runner: TaskRunner, job: Job, pool: Pool) -> None:
        self._runner, self._job, self._pool, self.count = runner, job, pool, pool.count

    def work(self, tasks: Iterator[Task]) -> Iterator[TaskResult]:
        first = list(islice(tasks, MIN_TASKS_FOR_POOL + 1))
        if len(first) <= MIN_TASKS_FOR_POOL:
            yield from SerialWorkers(self._runner).work(iter(first))
            return
        running: dict[Future[TaskResult], int] = {}
        try:
            for number, task in enumerate(chain(first, tasks)):
                running[self._pool.submit(self._job, task)] = number
                if len(running) >= TASKS_PER_WORKER * self.count:
                    yield from self._wait(running)
            while running:
                yield from self._wait(running)
        except self._pool.losses as error:
            raise worker_ended() from error
        finally:
            for future in running:
                future.cancel()

    def _wait(self, running: dict[Future[TaskResult], int]) -> Iterator[TaskResult]:
        """Wait for at least one task, and yield the results of all that are finished. They are not running any more."""
        while not (finished := wait(running, timeout=CHECK_SECONDS, return_when=FIRST_COMPLETED).done):
            self._pool.check()
        numbers = {future: running.pop(future) for future in finished}
        yield from (replace(future.result(), number=number) for future, number in numbers.items())


class ProcessPool:
    """Processes on this machine, started with the first call. `workers` 0: one per core.

    `packages`: of the project, which every worker imports before its first task, so that it can unpickle values of
    their types. `modules` are imported once, in the server process that forks the workers.
    """

    losses: tuple[type[BaseException], ...] = (BrokenProcessPool,)

    def __init__(self, workers: int, packages: ProjectPackages | None, modules: tuple[str, ...] = ()) -> None:
        self._packages, self._modules = packages, modules
        self.count = workers or os.cpu_count() or 1
        self._executor: ProcessPoolExecutor | None = None

    @property
    def is_single(self) -> bool:
        return self.count == 1

    def submit(self, job: Job, task: Task) -> Future[TaskResult]:
        return self.call(run_task, job, task)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a worker process."""
        return self._start().submit(function, *args, **kwargs)

    def check(self) -> None:
        """Do nothing: the executor reports a lost process by itself."""

    def preload(self) -> None:
        """Start the server process, which imports the modules, and do not wait for it."""
        if not self.is_single:
            self._context()

    def prestart(self) -> None:
        """Start the processes now, and do not wait for the imports of the server process that forks them."""
        if not self.is_single:
            Thread(target=self._start_all, args=(self._start(),), name="prestart", daemon=True).start()

    def _start_all(self, executor: ProcessPoolExecutor) -> None:
        with suppress(RuntimeError, OSError):  # the first task fails, too, if the pool is not closed before
            for _ in range(self.count):
                executor.submit(os.getpid)

    def close(self) -> None:
        if self._executor is None:
            return
        for process in list((getattr(self._executor, "_processes", None) or {}).values()):
            process.terminate()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = None

    def _start(self) -> ProcessPoolExecutor:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self.count, mp_context=self._context(), initializer=begin_worker, initargs=(self._packages,)
            )
        return self._executor

    def _context(self) -> BaseContext:
        return start_fork_server(self._packages, self._modules)


def begin_worker(packages: ProjectPackages | None) -> None:
    """Set up a worker process: it ends with its parent, and closes its connections at the end."""
    begin_child()
    keep_freed_memory()
    if packages is not None:
        import_packages(packages)
    multiprocessing.util.Finalize(None, close_runners, exitpriority=10)
