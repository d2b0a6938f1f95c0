"""Who carries out tasks: this process alone, or worker processes of this machine.

All do the same (`work.carry_out`); which of them does it changes nothing but the time it takes. The workers of a Dask
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
from migrator.execution.tasks import Desk, Done, Job, Task, carry_out, clear_desk
from migrator.sources.base import Batch

AHEAD = 2  # tasks a worker, the one it is at included: enough never to wait, and few documents in memory
ALONE = 1  # so few tasks are sooner done than workers are started
CHECKED = 5  # seconds without a result after which a pool is asked whether there will be one


class WorkersLostError(StoppedError):
    """A worker process is gone. What it had not committed is to be done again."""

    transient = True


class Workers(Protocol):
    """Carries out tasks, in any order, several (`count`) at once. The first error ends the work."""

    count: int

    def work(self, tasks: Iterator[Task]) -> Iterator[Done]: ...


class Alone:
    """One task after the other, in this process. `observe` sees every batch before it is written."""

    count = 1

    def __init__(self, desk: Desk, observe: Callable[[Batch], None] | None = None) -> None:
        self._desk, self._observe = desk, observe

    def work(self, tasks: Iterator[Task]) -> Iterator[Done]:
        for task in tasks:
            yield self._desk.carry_out(task, self._observe)


class Pool(Protocol):
    """Worker processes behind an executor. `count` how many; `losses` the errors that say that some are gone."""

    count: int
    losses: tuple[type[BaseException], ...]

    @property
    def alone(self) -> bool:
        """Whether there is nobody to hand work to."""
        ...

    def warm_up(self) -> None:
        """Starts what is not started yet, before there is something to do."""

    def submit(self, job: Job, task: Task) -> Future[Done]: ...

    def check(self) -> None:
        """Called while nothing comes back: raises `WorkersLostError` where nothing will."""

    def close(self) -> None:
        """Ends the work at once: what is not committed is rolled back, and none of it has to be waited for."""


class Several:
    """The workers of a pool; a few tasks are done at the own desk instead."""

    def __init__(self, desk: Desk, job: Job, pool: Pool) -> None:
        self._desk, self._job, self._pool, self.count = desk, job, pool, pool.count

    def work(self, tasks: Iterator[Task]) -> Iterator[Done]:
        first = list(islice(tasks, ALONE + 1))
        if len(first) <= ALONE:
            yield from Alone(self._desk).work(iter(first))
            return
        running: set[Future[Done]] = set()
        try:
            for task in chain(first, tasks):
                running.add(self._pool.submit(self._job, task))
                if len(running) >= AHEAD * self.count:
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

    def _wait(self, running: set[Future[Done]]) -> tuple[set[Future[Done]], set[Future[Done]]]:
        while True:
            finished, left = wait(running, timeout=CHECKED, return_when=FIRST_COMPLETED)
            if finished:
                return finished, left
            self._pool.check()


class Processes:
    """As many processes of this machine as engine.workers asks for, started when first needed."""

    losses: tuple[type[BaseException], ...] = (BrokenProcessPool,)

    def __init__(self, workers: int, packages: tuple[str, ...] = ()) -> None:
        self._packages = packages
        self.count = workers or os.cpu_count() or 1
        self._executor: Executor | None = None
        self._close: Callable[[], None] = lambda: None

    @property
    def alone(self) -> bool:
        return self.count == 1

    def submit(self, job: Job, task: Task) -> Future[Done]:
        return self._start().submit(carry_out, job, task)

    def check(self) -> None:
        """A process that is gone breaks the executor by itself."""

    def import_ahead(self) -> None:
        """Has the server, which the processes are copies of, import what they need, and does not wait for it."""
        if not self.alone:
            self._context()
            forkserver.ensure_running()

    def warm_up(self) -> None:
        """Importing takes them half a second."""
        if not self.alone:
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
    multiprocessing.util.Finalize(None, clear_desk, exitpriority=10)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
