"""Tasks of loading: from the source to committed rows, in any process on any machine.

Executors call `run_task`; its result depends only on job and task. A thread keeps one `TaskRunner`, with its
connections, for all tasks of a job. Every batch commits its rows, ledger and journal entries together, so a repeated
task resumes after the last committed batch.
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

from migrator.config.models import Config, SourceConfig
from migrator.documents.field_counts import LONGEST_PATH, MOST_COUNTED, FieldCounter, FieldCounts, take_counts
from migrator.errors import SourceError, UsageError
from migrator.mapping.loader import MigrationDefinition, load_definition
from migrator.mapping.project import ProjectPackages
from migrator.monitoring.throttle import Throttle
from migrator.rows.admission import Admission
from migrator.rows.copy import copy_records
from migrator.rows.lookup import RowLookup
from migrator.rows.members import lister_of
from migrator.rows.refusals import REFUSALS, RowsRefusedError
from migrator.rows.sent_rows import RestoredCounts, SentRows
from migrator.rows.store import RowStore
from migrator.sources import open_source
from migrator.sources.base import Batch, Partition, Source
from migrator.sources.shared import with_shared
from migrator.state import activity, journal
from migrator.state.own_transactions import record_transaction
from migrator.state.partitions import advance
from migrator.state.records import Namespace
from migrator.state.tenant import Options
from migrator.targets.server import connect_worker
from migrator.translation.encoder import Output
from migrator.translation.outcomes import Reject
from migrator.translation.translator import Translator, archive_batch

Connection = psycopg.Connection[Any]
Task = Partition | Batch
WORKER = f"worker {os.getpid()} on {platform.node()}"
BATCH_BYTES = 8 << 20  # of BSON; decoded documents take about five times as much memory
SENT_BATCH_BYTES = 3 << 20  # of a batch that one process reads and another writes; about six exist at a time, as copies


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprints:
    """Fingerprints of source and mappings at the start of the run. Every worker must have the same."""

    source: str
    mappings: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the tasks of one level have in common. Picklable. It contains secrets, so its repr shows none of the fields.

    `number` distinguishes jobs: results of lookups that were cached for one job may be outdated in the next.
    `fingerprints` are those that a remote worker must find; None for workers on this machine. `counts_fields`: the
    result of each task has the fields of its documents. `restores`: the collections whose documents are restored from
    the rows that are sent; references are followed in the target, not in `namespace`.
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
    fingerprints: Fingerprints | None = None
    counts_fields: bool = False
    restores: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"Job({self.number}, {', '.join(self.collections)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """The number of documents that a task read, and their bytes of BSON. `number`: of the task within its job.

    `fields`: their fields, if the job counts them. `restored`: which of them the rows restore, if the job checks that.
    """

    documents: int
    bytes: int
    number: int = 0
    fields: FieldCounts | None = None
    restored: RestoredCounts | None = None


class TaskRunner:
    """Runs the tasks of one job with one connection. `open_source` is called when the source is first read."""

    def __init__(
        self, job: Job, definition: MigrationDefinition, open_source: Callable[[], Source], connection: Connection
    ) -> None:
        self.job, self.connection = job, connection
        self._open_source = open_source
        options = Options(job.config, job.config.tenant.id, job.adopter)
        resolver = RowLookup(RowStore(connection, job.namespace, definition.mappings), job.config.tenant.id)
        self.translators = {
            name: Translator(definition.mappings[name], options, resolver, lister_of(definition.mappings, name))
            for name in job.collections
            if name in definition.mappings
        }
        self.admissions = {
            name: Admission(connection, job.namespace, each.encoder) for name, each in self.translators.items()
        }
        target = RowStore(connection, Namespace(), definition.mappings)
        restored = job.restores.intersection(job.collections)
        self._sent = {name: SentRows(target, definition.mappings[name]) for name in restored}
        self._reported_wait = False
        self._throttle = Throttle(connection, job.namespace, job.config.engine)

    @cached_property
    def source(self) -> Source:
        return self._open_source()

    def run_task(self, task: Task) -> TaskResult:
        """Load all of a task that is not committed yet, and count what was loaded here."""
        documents = size = 0
        counter = FieldCounter(MOST_COUNTED, LONGEST_PATH) if self.job.counts_fields else None
        with without_gc():
            while True:
                for batch in self._batches(task):
                    self._clear_wait()
                    self._throttle.wait_while_throttled()
                    if counter is not None:
                        counter.observe(batch.data)
                    if not self.write(batch) and isinstance(task, Partition):
                        # Another worker (one that was considered lost) loads the same part. It may have read a live
                        # source at another time, with other batch limits: start again from what the journal says.
                        break
                    documents, size = documents + batch.count, size + len(batch.data)
                    self._throttle.limit_rate(batch.count)
                else:
                    fields = None if counter is None else take_counts(counter, task.collection, size)
                    sent = self._sent.get(task.collection)
                    restored = None if sent is None else sent.take()
                    return TaskResult(documents=documents, bytes=size, fields=fields, restored=restored)

    def report_wait(self, text: str) -> None:
        """Record what this worker waits for. The process with the terminal shows it (`monitoring.monitor`)."""
        self._reported_wait = True
        activity.write_waiting(self.connection, self.job.namespace, "worker", WORKER, text)

    def _clear_wait(self) -> None:
        if self._reported_wait:
            self._reported_wait = False
            activity.write_waiting(self.connection, self.job.namespace, "worker", WORKER, None)

    def _batches(self, task: Task) -> Iterator[Batch]:
        if isinstance(task, Batch):
            return iter((task,))
        query = self.job.namespace.sql(
            "SELECT first_position, last_position, last FROM {batches} WHERE collection = %s AND part = %s"
        )
        found = self.connection.execute(query, (task.collection, task.number))
        progress = advance(task, False, {first: (end, last) for first, end, last in found})
        if progress.done:
            return iter(())
        return self.source.read_partition(task, progress.position, documents=self.job.batch_rows, size=BATCH_BYTES)

    def write(self, batch: Batch) -> bool:
        """Write a batch in one transaction. Return False, without a change, if a batch with its start is committed."""
        try:
            return self._write(batch, {})
        except RowsRefusedError as error:  # of the last attempt
            raise error.cause from error

    # If the target refuses rows, the repeated batch rejects them. After a unique violation, `Admission` checks every
    # row before it is sent, so the repeated batch rejects the duplicates. Two workers with the same unique values can
    # also deadlock: the server cancels one of them, which repeats its batch and then finds the values in use.
    @retry(
        retry=retry_if_exception_type(
            (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected, RowsRefusedError)
        ),
        stop=stop_after_attempt(20),
        wait=wait_random(0, 0.2),
        reraise=True,
    )
    def _write(self, batch: Batch, refused: dict[int, Reject]) -> bool:
        """Write a batch. `refused`: documents that the target has refused, by index; an attempt adds to it."""
        job, translator = self.job, self.translators.get(batch.collection)
        output, starts = Output(), list[int]()
        try:
            with self.connection.transaction():
                journal.fence_attempt(self.connection, job.namespace, job.run, job.attempt)
                if journal.has_batch(self.connection, job.namespace, batch):
                    return False
                record_transaction(self.connection, job.namespace)
                if translator is None:
                    output = archive_batch(batch.collection, batch.data)
                else:
                    output, starts = translator.translate(batch.data)
                    self.admissions[batch.collection].load(output, batch.data, starts, refused)
                copy_records(self.connection, job.namespace, batch.collection, output)
                journal.record_batch(self.connection, job.namespace, job.run, batch)
        except REFUSALS as error:
            if translator is None:
                raise
            refused.update(self.admissions[batch.collection].find_refused(output, error))
            raise RowsRefusedError(error) from error
        if batch.collection in self._sent:
            self._sent[batch.collection].restore(output, batch.data, starts)
        return True


@contextmanager
def without_gc() -> Iterator[None]:
    """Disable the cyclic garbage collector in the block.

    Documents contain no cycles, so reference counts free them. The collector took 5 µs of 12 µs per document.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _ThreadLocal(threading.local):
    """The runner of a thread. Local processes run tasks in one thread, Dask workers may use several."""

    runner: TaskRunner | None = None


_local = _ThreadLocal()
_runners: list[TaskRunner] = []  # the runners of all threads


def run_task(job: Job, task: Task) -> TaskResult:
    """Run a task in the current process. Raises: all of `migrator.errors`, and psycopg's errors."""
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
    """Connect to the target and return a runner.

    Raises:
        UsageError: the mappings on a remote worker are not those of the run.
    """
    definition = load_definition(*job.packages)
    if job.fingerprints is not None and job.fingerprints.mappings != definition.fingerprint:
        raise UsageError(
            f"the mappings on worker {platform.node()} differ from the mappings of this run",
            hint="Install the same packages on every worker, then restart the workers.",
        )
    connection = prepare_session(connect_worker(job.dsn))

    def open_source_of_job() -> Source:
        source = open_same_source(job.config.source, job.fingerprints, runner.report_wait)
        return with_shared(source, definition.mappings)

    runner = TaskRunner(job, definition, open_source_of_job, connection)
    return runner


def fingerprints_of(source: Source, definition: MigrationDefinition) -> Fingerprints:
    """Return the fingerprints that remote workers must find."""
    return Fingerprints(source=source.fingerprint(), mappings=definition.fingerprint)


def open_same_source(
    config: SourceConfig, fingerprints: Fingerprints | None, notify: Callable[[str], None] | None = None
) -> Source:
    """Open the source of the run.

    Raises:
        SourceError: the source that this process reaches is not the source of the run.
    """
    source = open_source(config.url, config.database, notify)
    if fingerprints is not None and source.fingerprint() != fingerprints.source:
        raise SourceError(
            f"{source.label} on worker {platform.node()} is not the source of this run",
            hint="All workers must read the same dump at the same path: put it on a shared file system.",
        )
    return source


def _close(runner: TaskRunner) -> None:
    if runner in _runners:
        _runners.remove(runner)
    if "source" in runner.__dict__:
        runner.source.close()
    runner.connection.close()


def close_runners() -> None:
    """Close the sources and connections of all threads of this process."""
    _local.runner = None
    for runner in list(_runners):
        _close(runner)


def prepare_session(connection: Connection) -> Connection:
    """Apply the session settings for loading. Any role may change them, also on a managed server."""
    # A crash of the server can lose the last transactions together with their journal entries: the run repeats them.
    # The last commit of a run is synchronous (`workflows.run`), which makes all commits before it durable.
    connection.execute("SET synchronous_commit = off")
    forbid_parallel_queries(connection)
    return connection


def forbid_parallel_queries(connection: Connection) -> None:
    """Answer the queries of a worker with one process of the server: there are as many workers as cores.

    The start of a second process took longer than reading 2,000 rows by their keys.
    """
    connection.execute("SET max_parallel_workers_per_gather = 0")
