"""A unit of work, from the source to committed rows: a pure function of job and task, for any process on any machine.

`run_task` is what executors call. A process keeps one `TaskRunner`, with its connections, while the job is the same.
Batches commit each with its rows, ledger and journal entry, so a task that is begun again goes on where it stopped.
"""

from __future__ import annotations

import gc
import os
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from migrator.config.models import Config
from migrator.errors import SourceError, UsageError
from migrator.mapping.loader import MigrationDefinition, load_definition
from migrator.mapping.project import ProjectPackages
from migrator.monitoring.throttle import Throttle
from migrator.rows.admission import Admission
from migrator.rows.copy import copy_records
from migrator.rows.lookup import RowLookup
from migrator.rows.members import lister_of
from migrator.rows.store import RowStore
from migrator.sources import open_source
from migrator.sources.base import Batch, Partition, Source
from migrator.state import activity, journal
from migrator.state.own_transactions import record_transaction
from migrator.state.partitions import advance
from migrator.state.records import Namespace
from migrator.state.tenant import Options
from migrator.targets.server import connect_worker
from migrator.translation.translator import Translator, archive_batch

Connection = psycopg.Connection[Any]
Task = Partition | Batch
WORKER = f"worker {os.getpid()} on {platform.node()}"
BATCH_BYTES = 8 << 20  # decoded documents take about five times their BSON
HANDED_BYTES = 3 << 20  # of a batch that one process reads and another writes: half a dozen are under way, in copies


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprints:
    """What source and mappings must be the same as where the run began."""

    source: str
    mappings: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """What tasks of one level have in common. Picklable; holds secrets, so it is never shown.

    `number` tells jobs apart: what was looked up for one may not hold for the next.
    """

    number: int
    config: Config
    packages: ProjectPackages
    dsn: str
    namespace: Namespace
    run: int
    attempt: int
    batch_rows: int
    collections: tuple[str, ...]
    adopter: bytes | None = None
    fingerprints: Fingerprints | None = None  # what workers elsewhere must find there; None: they share all with us

    def __repr__(self) -> str:
        return f"Job({self.number}, {', '.join(self.collections)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """What a task came to: documents and bytes of BSON read by it."""

    documents: int
    bytes: int


class TaskRunner:
    """What a process has at hand for a job: source, connection, translators. The source is opened when first read."""

    def __init__(
        self, job: Job, definition: MigrationDefinition, opened: Callable[[], Source], connection: Connection
    ) -> None:
        self.job, self.connection = job, connection
        self._opened = opened
        options = Options(job.config, job.config.tenant.id, job.adopter)
        resolver = RowLookup(RowStore(connection, job.namespace, definition.mappings), job.config.tenant.id)
        self.translators = {
            name: Translator(definition.mappings[name], options, resolver, lister_of(definition.mappings, name))
            for name in job.collections
            if name in definition.mappings
        }
        self.admissions = {name: Admission(connection, job.namespace, each) for name, each in self.translators.items()}
        self._waits = False
        self._brake = Throttle(connection, job.namespace, job.config.engine)

    @cached_property
    def source(self) -> Source:
        return self._opened()

    def run_task(self, task: Task, observe: Callable[[Batch], None] | None = None) -> TaskResult:
        """All of a task that is not committed yet; what was done of it here."""
        documents = size = 0
        overtaken = True
        with without_collector():
            while overtaken:
                overtaken = False
                for batch in self._batches(task):
                    self._go_on()
                    self._brake.hold()
                    if observe is not None:
                        observe(batch)
                    if not self.write(batch) and isinstance(task, Partition):
                        # Somebody else is at this part, too (a worker that was taken for dead), and may have read a
                        # live source at another moment, to another end: what goes on is what the journal says.
                        overtaken = True
                        break
                    documents, size = documents + batch.count, size + len(batch.data)
                    self._brake.keep_pace(batch.count)
        return TaskResult(documents=documents, bytes=size)

    def wait(self, text: str) -> None:
        """Tells what this worker waits for: it has no terminal (see monitor.py)."""
        self._waits = True
        activity.write_waiting(self.connection, self.job.namespace, "worker", WORKER, text)

    def _go_on(self) -> None:
        if self._waits:
            self._waits = False
            activity.write_waiting(self.connection, self.job.namespace, "worker", WORKER, None)

    def _batches(self, task: Task) -> Iterator[Batch]:
        if isinstance(task, Batch):
            return iter((task,))
        query = self.job.namespace.sql(
            "SELECT first_position, last_position, last FROM {batches} WHERE collection = %s AND part = %s"
        )
        found = self.connection.execute(query, (task.collection, task.number))
        reading = advance(task, False, {first: (end, last) for first, end, last in found})
        if reading.done:
            return iter(())
        return self.source.read_part(task, reading.position, documents=self.job.batch_rows, size=BATCH_BYTES)

    # Where an id is taken, the batch asks which one when it is tried again (`Admission`); of two workers that claim the
    # same one, the later finds it taken then. Both wait for the other's: so does the one that the server chose to fail.
    @retry(
        retry=retry_if_exception_type((psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected)),
        stop=stop_after_attempt(20),
        wait=wait_random(0, 0.2),
        reraise=True,
    )
    def write(self, batch: Batch) -> bool:
        """One batch, one transaction; false, and nothing done, where one from its start has been committed before."""
        job, translator = self.job, self.translators.get(batch.collection)
        with self.connection.transaction():
            journal.fence_attempt(self.connection, job.namespace, job.run, job.attempt)
            if journal.has_batch(self.connection, job.namespace, batch):
                return False
            if translator is None:
                output = archive_batch(batch.collection, batch.data)
            else:
                output, starts = translator.translate(batch.data)
                self.admissions[batch.collection].load(output, batch.data, starts)
            copy_records(self.connection, job.namespace, batch.collection, output)
            record_transaction(self.connection, job.namespace)
            journal.record_batch(self.connection, job.namespace, job.run, batch)
        return True


@contextmanager
def without_collector() -> Iterator[None]:
    """Documents are trees: reference counts free them. The collector finds nothing, and takes 5 µs of 12 a document."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _ThreadLocal(threading.local):
    """The desk of a thread: processes of ours have one thread for tasks, workers of a cluster may have several."""

    runner: TaskRunner | None = None


_local = _ThreadLocal()
_runners: list[TaskRunner] = []  # of all threads


def run_task(job: Job, task: Task) -> TaskResult:
    """Does a task wherever it is called. Errors: all of `migrator.errors`, and psycopg's."""
    return _runner(job).run_task(task)


def _runner(job: Job) -> TaskRunner:
    runner = _local.runner
    if runner is None or runner.job != job or runner.connection.closed:
        if runner is not None:
            _close(runner)
        _local.runner = runner = open_runner(job)
        _runners.append(runner)
    return runner


def open_runner(job: Job) -> TaskRunner:
    """Connects, and opens the source when it is needed. Where the job came from elsewhere, all must be as there."""
    definition = load_definition(*job.packages)
    if job.fingerprints is not None and job.fingerprints.mappings != definition.fingerprint:
        raise UsageError(
            f"the mappings on worker {platform.node()} are not those of this run",
            hint="Install the same packages on every worker, and start the workers again.",
        )
    connection = prepare_session(connect_worker(job.dsn))
    runner = TaskRunner(
        job, definition, lambda: open_same_source(job.config, job.fingerprints, runner.wait), connection
    )
    return runner


def fingerprints_of(source: Source, definition: MigrationDefinition) -> Fingerprints:
    """What workers elsewhere must find."""
    return Fingerprints(source=source.fingerprint(), mappings=definition.fingerprint)


def open_same_source(
    config: Config, fingerprints: Fingerprints | None, notify: Callable[[str], None] | None = None
) -> Source:
    """The source. Errors: `SourceError` where it is another one here than where the run began."""
    source = open_source(config.source.url, config.source.database, notify)
    if fingerprints is not None and source.fingerprint() != fingerprints.source:
        raise SourceError(
            f"{source.label} on worker {platform.node()} is not the source of this run",
            hint="Workers on other machines need the very dump at the very path: put it on a shared file system.",
        )
    return source


def _close(runner: TaskRunner) -> None:
    if runner in _runners:
        _runners.remove(runner)
    if "source" in runner.__dict__:
        runner.source.close()
    runner.connection.close()


def close_runners() -> None:
    """Closes what the process has open."""
    _local.runner = None
    for runner in list(_runners):
        _close(runner)


def prepare_session(connection: Connection) -> Connection:
    """Settings for loading, safe on a managed server."""
    # A crash may take the last transactions, and their journal entries with them: the run does them again. The last
    # commit of a run waits for the disk (`run.complete`), and so for all before it.
    connection.execute("SET synchronous_commit = off")
    return connection
