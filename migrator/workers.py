"""Who carries out tasks: this process alone, or worker processes of this machine.

Both do the same (`work.carry_out`); which of them does it changes nothing but the time it takes.
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
from typing import Protocol

from migrator.errors import StoppedError
from migrator.sources.base import Batch
from migrator.work import Desk, Done, Job, Task, carry_out, clear_desk

AHEAD = 2  # tasks a worker, the one it is at included: enough never to wait, and few documents in memory
ALONE = 2  # so few tasks are sooner done than workers are started


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


class Several:
    """The workers of an executor; a few tasks are done at the own desk instead."""

    def __init__(self, desk: Desk, job: Job, executor: Callable[[], Executor], count: int) -> None:
        self._desk, self._job, self._executor, self.count = desk, job, executor, count

    def work(self, tasks: Iterator[Task]) -> Iterator[Done]:
        first = list(islice(tasks, ALONE + 1))
        if len(first) <= ALONE:
            yield from Alone(self._desk).work(iter(first))
            return
        running: set[Future[Done]] = set()
        try:
            executor = self._executor()
            for task in chain(first, tasks):
                running.add(executor.submit(carry_out, self._job, task))
                if len(running) >= AHEAD * self.count:
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in finished)
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        except BrokenProcessPool as error:
            raise WorkersLostError(
                "a worker process ended without a word (killed, or out of memory)",
                hint="The same command goes on; with fewer engine.workers less memory is needed.",
            ) from error
        finally:
            for future in running:
                future.cancel()


class Pool:
    """The executor with as many processes as engine.workers asks for, started when first needed."""

    def __init__(self, workers: int, packages: tuple[str, ...] = ()) -> None:
        self._packages = packages
        self.count = workers or os.cpu_count() or 1
        self._executor: Executor | None = None
        self._close: Callable[[], None] = lambda: None

    @property
    def alone(self) -> bool:
        """Whether there is nobody to hand work to."""
        return self.count == 1

    def executor(self) -> Executor:
        if self._executor is None:
            self._executor = self._start_processes()
        return self._executor

    def warm_up(self) -> None:
        """Starts the workers before there is something to do: importing takes them half a second."""
        if not self.alone:
            executor = self.executor()
            for _ in range(self.count):
                executor.submit(os.getpid)

    def close(self) -> None:
        """Ends the workers at once: what they are at is rolled back, and none of it has to be waited for."""
        self._close()
        self._executor = None
        self._close = lambda: None

    def _start_processes(self) -> Executor:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["migrator.work", *self._packages])
        pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_begin)

        def close() -> None:
            processes = list((getattr(pool, "_processes", None) or {}).values())
            for process in processes:
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)

        self._close = close
        return pool


def _begin() -> None:
    """Sets up a worker process: Ctrl-C is its parent's business, and without a parent there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    multiprocessing.util.Finalize(None, clear_desk, exitpriority=10)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
