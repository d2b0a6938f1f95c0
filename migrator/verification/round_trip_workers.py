"""Runs the round trip of a whole source: partitions in worker processes, streamed collections in this process.

The workers are those of the scratch run. They begin as soon as they have loaded the largest table, because the rest of
the scratch run is the work of one process. Each finished partition is a step in the journal of the scratch run: a
verification that was killed resumes after it.
"""

from __future__ import annotations

import multiprocessing.util
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass

from migrator.config.models import Config
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.execution.pool import ProcessPool, worker_ended
from migrator.execution.tasks import close_runners, forbid_parallel_queries, without_gc
from migrator.formatting import format_count
from migrator.mapping.loader import load_definition
from migrator.mapping.project import ProjectPackages
from migrator.sources import open_source
from migrator.sources.base import Partition, Source
from migrator.sources.shared import with_shared
from migrator.state import journal, partitions
from migrator.state.records import Namespace
from migrator.targets.server import connect_worker
from migrator.verification.model import Check, Scope
from migrator.verification.round_trip import BATCH, RoundTripCounts, compare_batches, make_checks

SIZE = 4 << 20  # bytes of a batch of a sample
# Planning and finding the rows of a batch cost the server a fifth less for each than with batches of a sample.
LARGE_BATCH = 20_000  # documents
LARGE_SIZE = 16 << 20
STEP = "round trip"


@dataclass(frozen=True, kw_only=True)
class RoundTripJob:
    """What a worker process needs. Picklable. Contains secrets, so `repr` does not show the fields."""

    config: Config
    packages: ProjectPackages
    dsn: str
    only: frozenset[str]
    show: bool
    source_changed: bool
    share: float

    def __repr__(self) -> str:
        return "RoundTripJob(…)"


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """One round trip: what to compare, and the scratch run that records the finished partitions.

    `names`: the collections. `share` (0 to 1) of the documents are compared. Without `job` this process does all the
    work.
    """

    scope: Scope
    scratch: Namespace
    run: int
    source: Source
    names: Sequence[str]
    share: float
    job: RoundTripJob | None


def check_part(job: RoundTripJob, part: Partition) -> RoundTripCounts:
    """Compare one partition, in a worker process."""
    scope, source = _open_session(job)
    return _compare_part(scope, source, part, job.share)


_sessions: dict[str, tuple[Scope, Source]] = {}  # of this worker process, by the DSN of its one job


def _open_session(job: RoundTripJob) -> tuple[Scope, Source]:
    """Return what all partitions of a job use in this process. The end of the process closes it."""
    if job.dsn not in _sessions:
        close_runners()  # the load of this process is complete, so its connection is not needed any more
        definition = load_definition(*job.packages)
        source = with_shared(open_source(job.config.source.url, job.config.source.database), definition.mappings)
        connection = connect_worker(job.dsn)
        forbid_parallel_queries(connection)
        # The rows of a batch are a small part of a table: reading all of it would take longer with each more row.
        connection.execute("SET enable_seqscan = off")
        multiprocessing.util.Finalize(None, connection.close, exitpriority=10)
        scope = Scope(
            connection=connection,
            namespace=Namespace(),
            config=job.config,
            mappings=definition.mappings,
            metadata=definition.metadata,
            known=definition.known,
            only=job.only,
            show=job.show,
            source_changed=job.source_changed,
        )
        _sessions[job.dsn] = scope, source
    return _sessions[job.dsn]


def _limits(share: float) -> tuple[int, int]:
    """Return the documents and the bytes of a batch. The share of a sample is a share of the batches."""
    return (LARGE_BATCH, LARGE_SIZE) if share >= 1 else (BATCH, SIZE)


def _compare_part(scope: Scope, source: Source, part: Partition, share: float) -> RoundTripCounts:
    counts = RoundTripCounts()
    documents, size = _limits(share)
    batches = source.read_partition(part, part.start, documents=documents, size=size)
    with without_gc():
        for _, each in compare_batches(scope, batches, share):
            counts.add(each)
    return counts


class RoundTripWork:
    """The work of one round trip. Worker processes can begin while the calling process does something else."""

    def __init__(self, trip: RoundTrip, pool: ProcessPool) -> None:
        self._trip, self._pool = trip, pool
        self._running: dict[Future[RoundTripCounts], Partition] = {}

    def start(self) -> None:
        """Let worker processes compare the partitions that are recorded by now; do nothing if they do not pay."""
        done = journal.finished_steps(self._trip.scope.connection, self._trip.scratch)
        started = list(self._running.values())
        left = [each for each in self._partitions() if _step(each) not in done and each not in started]
        is_large = len(left) > len({part.collection for part in left})  # some collection has several partitions
        if self._trip.job is not None and not self._pool.is_single and (is_large or self._running):
            self._running |= {self._pool.call(check_part, self._trip.job, part): part for part in left}

    def check(self, emit: Emit) -> Iterator[Check]:
        """Compare every document of the collections with the document that PostgreSQL rebuilds."""
        trip, counts = self._trip, defaultdict[str, RoundTripCounts](RoundTripCounts)
        connection, scratch = trip.scope.connection, trip.scratch
        emit(StepStarted(step=STEP))
        self.start()
        done = journal.finished_steps(connection, scratch)
        for part in self._partitions():
            if _step(part) in done:
                recorded = journal.step_detail(connection, scratch, _step(part))
                counts[part.collection].add(RoundTripCounts.from_json(recorded))
        for part, each in self._compare_parts(done):
            journal.finish_step(connection, scratch, trip.run, _step(part), each.as_json())
            counts[part.collection].add(each)
            emit(StepAdvanced(step=STEP, done=_count_read(counts)))
        streamed = dict.fromkeys((part.collection for part in self._partitions(streamed=True)), "")
        documents, size = _limits(trip.share)
        batches = trip.source.read(streamed, documents=documents, size=size) if streamed else iter(())
        for name, each in compare_batches(trip.scope, batches, trip.share):
            counts[name].add(each)
            emit(StepAdvanced(step=STEP, done=_count_read(counts)))
        emit(StepFinished(step=STEP, note=f"{format_count(_count_read(counts), 'documents')}"))
        yield from make_checks(list(trip.names), counts, trip.share)

    def _partitions(self, *, streamed: bool = False) -> list[Partition]:
        """Return the partitions of the collections to compare that the scratch run has recorded."""
        found = partitions.read_progress(self._trip.scope.connection, self._trip.scratch)
        return [each.part for each in found if each.streamed == streamed and each.part.collection in self._trip.names]

    def _compare_parts(self, done: set[str]) -> Iterator[tuple[Partition, RoundTripCounts]]:
        """Yield the results of all partitions without a step in `done`, as soon as they are known."""
        if not self._running:
            for part in self._partitions():
                if _step(part) not in done:
                    yield part, _compare_part(self._trip.scope, self._trip.source, part, self._trip.share)
            return
        try:
            for future in as_completed(self._running):
                yield self._running[future], future.result()
        except self._pool.losses as error:
            raise worker_ended() from error


def _count_read(counts: Mapping[str, RoundTripCounts]) -> int:
    return sum(each.read for each in counts.values())


def _step(part: Partition) -> str:
    return f"{STEP} {part.collection} {part.number}"
