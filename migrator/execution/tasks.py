"""A unit of work, from the source to committed rows: a pure function of job and task, for any process on any machine.

`carry_out` is what executors call. A process keeps one `Desk`, with its connections, while the job is the same.
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
from migrator.mapping.loader import Concrete, load_concrete
from migrator.monitoring.throttle import Brake
from migrator.rows.admission import Admission
from migrator.rows.copy import copy_records
from migrator.rows.lookup import Resolver
from migrator.rows.members import lister_of
from migrator.sources import open_source
from migrator.sources.base import Batch, Part, Source
from migrator.state import activity, journal
from migrator.state.journal import Place
from migrator.state.partitions import follow
from migrator.state.tenant import Options
from migrator.targets.server import connect_worker
from migrator.translation.translator import Translator, archive_batch

Connection = psycopg.Connection[Any]
Task = Part | Batch
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
    packages: tuple[str, str]
    dsn: str
    place: Place
    run: int
    attempt: int
    batch_rows: int
    collections: tuple[str, ...]
    adopter: bytes | None = None
    fingerprints: Fingerprints | None = None  # what workers elsewhere must find there; None: they share all with us

    def __repr__(self) -> str:
        return f"Job({self.number}, {', '.join(self.collections)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a task came to: documents and bytes of BSON read by it."""

    documents: int
    bytes: int


class Desk:
    """What a process has at hand for a job: source, connection, translators. The source is opened when first read."""

    def __init__(self, job: Job, concrete: Concrete, opened: Callable[[], Source], connection: Connection) -> None:
        self.job, self.connection = job, connection
        self._opened = opened
        options = Options(job.config, job.config.tenant.id, job.adopter)
        resolver = Resolver(connection, job.place, concrete.mappings, job.config.tenant.id)
        self.translators = {
            name: Translator(concrete.mappings[name], options, resolver, lister_of(concrete.mappings, name))
            for name in job.collections
            if name in concrete.mappings
        }
        self.admissions = {name: Admission(connection, job.place, each) for name, each in self.translators.items()}
        self._waits = False
        self._brake = Brake(connection, job.place, job.config.engine)

    @cached_property
    def source(self) -> Source:
        return self._opened()

    def carry_out(self, task: Task, observe: Callable[[Batch], None] | None = None) -> Done:
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
                    if not self.write(batch) and isinstance(task, Part):
                        # Somebody else is at this part, too (a worker that was taken for dead), and may have read a
                        # live source at another moment, to another end: what goes on is what the journal says.
                        overtaken = True
                        break
                    documents, size = documents + batch.count, size + len(batch.data)
                    self._brake.keep_pace(batch.count)
        return Done(documents=documents, bytes=size)

    def wait(self, text: str) -> None:
        """Tells what this worker waits for: it has no terminal (see monitor.py)."""
        self._waits = True
        activity.write_waiting(self.connection, self.job.place, "worker", WORKER, text)

    def _go_on(self) -> None:
        if self._waits:
            self._waits = False
            activity.write_waiting(self.connection, self.job.place, "worker", WORKER, None)

    def _batches(self, task: Task) -> Iterator[Batch]:
        if isinstance(task, Batch):
            return iter((task,))
        query = self.job.place.sql(
            "SELECT first_position, last_position, last FROM {batches} WHERE collection = %s AND part = %s"
        )
        found = self.connection.execute(query, (task.collection, task.number))
        reading = follow(task, False, {first: (end, last) for first, end, last in found})
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
            journal.hold_attempt(self.connection, job.place, job.run, job.attempt)
            if journal.has_batch(self.connection, job.place, batch):
                return False
            if translator is None:
                output = archive_batch(batch.collection, batch.data)
            else:
                output, starts = translator.translate(batch.data)
                self.admissions[batch.collection].bring(output, batch.data, starts)
            copy_records(self.connection, job.place, batch.collection, output)
            journal.sign(self.connection, job.place)
            journal.record_batch(self.connection, job.place, job.run, batch)
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


class _Mine(threading.local):
    """The desk of a thread: processes of ours have one thread for tasks, workers of a cluster may have several."""

    desk: Desk | None = None


_mine = _Mine()
_desks: list[Desk] = []  # of all threads


def carry_out(job: Job, task: Task) -> Done:
    """Does a task wherever it is called. Errors: all of `migrator.errors`, and psycopg's."""
    return _desk(job).carry_out(task)


def _desk(job: Job) -> Desk:
    desk = _mine.desk
    if desk is None or desk.job != job or desk.connection.closed:
        if desk is not None:
            _close(desk)
        _mine.desk = desk = open_desk(job)
        _desks.append(desk)
    return desk


def open_desk(job: Job) -> Desk:
    """Connects, and opens the source when it is needed. Where the job came from elsewhere, all must be as there."""
    concrete = load_concrete(*job.packages)
    if job.fingerprints is not None and job.fingerprints.mappings != concrete.fingerprint:
        raise UsageError(
            f"the mappings on worker {platform.node()} are not those of this run",
            hint="Install the same packages on every worker, and start the workers again.",
        )
    connection = prepare_session(connect_worker(job.dsn))
    desk = Desk(job, concrete, lambda: open_same_source(job.config, job.fingerprints, desk.wait), connection)
    return desk


def fingerprints_of(source: Source, concrete: Concrete) -> Fingerprints:
    """What workers elsewhere must find."""
    return Fingerprints(source=source.fingerprint(), mappings=concrete.fingerprint)


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


def _close(desk: Desk) -> None:
    if desk in _desks:
        _desks.remove(desk)
    if "source" in desk.__dict__:
        desk.source.close()
    desk.connection.close()


def clear_desk() -> None:
    """Closes what the process has open."""
    _mine.desk = None
    for desk in list(_desks):
        _close(desk)


def prepare_session(connection: Connection) -> Connection:
    """Settings for loading, safe on a managed server."""
    # A crash may take the last transactions, and their journal entries with them: the run does them again. The last
    # commit of a run waits for the disk (`run.complete`), and so for all before it.
    connection.execute("SET synchronous_commit = off")
    return connection
