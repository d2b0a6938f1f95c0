"""Who carries out tasks: this process alone, or worker processes of this machine.

All do the same (`work.run_task`); which of them does it changes nothing but the time it takes. The workers of a Dask
cluster are in cluster.py.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from typing import Protocol

from migrator.errors import StoppedError
from migrator.execution.tasks import Job, Task, TaskResult, TaskRunner, close_runners, run_task
from migrator.sources.base import Batch

TASKS_PER_WORKER = 2  # tasks a worker, the one it is at included: enough never to wait, and few documents in memory
MIN_TASKS_FOR_POOL = 1  # so few tasks are sooner done than workers are started
CHECK_SECONDS = 5  # seconds without a result after which a pool is asked whether there will be one


class WorkersLostError(StoppedError):
    """A worker process is gone. What it had not committed is to be done again."""

    transient = True


class Workers(Protocol):
    """Carries out tasks, in any order, several (`count`) at once. The first error ends the work."""

    count: int

    def work(self, tasks: Iterator[Task]) -> Iterator[TaskResult]: ...


class SerialWorkers:
    """One task after the other, in this process. `observe` sees every batch before it is written."""

    count = 1

    def __init__(self, runner: TaskRunner, observe: Callable[[Batch], None] | None = None) -> None:
        self._runner, self._observe = runner, observe

    def work(self, tasks: Iterator[Task]) -> Iterator[TaskResult]:
        for task in tasks:
            yield self._runner.run_task(task, self._observe)


class Pool(Protocol):
    """Worker processes behind an executor. `count` how many; `losses` the errors that say that some are gone."""

    count: int
    losses: tuple[type[BaseException], ...]

    @property
    def is_single(self) -> bool:
        """Whether there is nobody to hand work to."""
        ...

    def prestart(self) -> None:
        """Starts what is not started yet, before there is something to do."""

    def submit(self, job: Job, task: Task) -> Future[TaskResult]: ...

    def check(self) -> None:
        """Called while nothing comes back: raises `WorkersLostError` where nothing will."""

    def close(self) -> None:
        """Ends the work at once: what is not committed is rolled back, and none of it has to be waited for."""


class PooledWorkers:
    """The workers of a pool; a few tasks are done at the own desk instead."""

    def __init__(self, runner: TaskRunner, job: Job, pool: Pool) -> None:
        self._runner, self._job, self._pool, self.count = runner, job, pool, pool.count

    def work(self, tasks: Iterator[Task]) -> Iterator[TaskResult]:
        first = list(islice(tasks, MIN_TASKS_FOR_POOL + 1))
        if len(first) <= MIN_TASKS_FOR_POOL:
            yield from SerialWorkers(self._runner).work(iter(first))
            return
        running: set[Future[TaskResult]] = set()
        try:
            for task in chain(first, tasks):
                running.add(self._pool.submit(self._job, task))
                if len(running) >= TASKS_PER_WORKER * self.count:
                    finished, running = self._wait(running)
                    yield from (future.result() for future in finished)
            while running:
                finished, running = self._wait(running)
                yield from (future.result() for future in finished)
        except self._pool.losses as error:
            raise WorkersLostError(
                "a worker process ended without a word (killed, or out of memory)",
                hint="The same command goes on; with fewer engine.workers less memory is needed.",
            ) from error
        finally:
            for future in running:
                future.cancel()

    def _wait(self, running: set[Future[TaskResult]]) -> tuple[set[Future[TaskResult]], set[Future[TaskResult]]]:
        while True:
            finished, left = wait(running, timeout=CHECK_SECONDS, return_when=FIRST_COMPLETED)
            if finished:
                return finished, left
            self._pool.check()


class ProcessPool:
    """As many processes of this machine as engine.workers asks for, started when first needed."""

    losses: tuple[type[BaseException], ...] = (BrokenProcessPool,)

    def __init__(self, workers: int, packages: tuple[str, ...] = ()) -> None:
        self._packages = packages
        self.count = workers or os.cpu_count() or 1
        self._executor: Executor | None = None
        self._close: Callable[[], None] = lambda: None

    @property
    def is_single(self) -> bool:
        return self.count == 1

    def submit(self, job: Job, task: Task) -> Future[TaskResult]:
        return self._start().submit(run_task, job, task)

    def check(self) -> None:
        """A process that is gone breaks the executor by itself."""

    def preload(self) -> None:
        """Has the server, which the processes are copies of, import what they need, and does not wait for it."""
        if not self.is_single:
            self._context()
            forkserver.ensure_running()

    def prestart(self) -> None:
        """Importing takes them half a second."""
        if not self.is_single:
            executor = self._start()
            for _ in range(self.count):
                executor.submit(os.getpid)

    def _start(self) -> Executor:
        if self._executor is None:
            self._executor = self._start_processes()
        return self._executor

    def close(self) -> None:
        self._close()
        self._executor = None
        self._close = lambda: None

    def _context(self) -> BaseContext:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["migrator.execution.tasks", *self._packages])
        return context

    def _start_processes(self) -> Executor:
        pool = ProcessPoolExecutor(self.count, mp_context=self._context(), initializer=begin_worker)

        def close() -> None:
            processes = list((getattr(pool, "_processes", None) or {}).values())
            for process in processes:
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)

        self._close = close
        return pool


def begin_worker() -> None:
    """Sets up a worker process: Ctrl-C is its parent's business, and without a parent there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    multiprocessing.util.Finalize(None, close_runners, exitpriority=10)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
