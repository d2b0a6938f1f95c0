"""Runs the round trip of a whole source: partitions in worker processes, streamed collections in this process.

Each finished partition is a step in the journal of the scratch run. A verification that was killed resumes after it.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, as_completed
from contextlib import closing
from dataclasses import dataclass

from migrator.config.models import Config
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.execution.pool import ProcessPool, worker_ended
from migrator.execution.tasks import forbid_parallel_queries
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

SIZE = 4 << 20  # bytes of a batch
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

    `share` (0 to 1) of the documents are compared. Without `job` this process does all the work.
    """

    scope: Scope
    scratch: Namespace
    run: int
    source: Source
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
        definition = load_definition(*job.packages)
        source = with_shared(open_source(job.config.source.url, job.config.source.database), definition.mappings)
        connection = connect_worker(job.dsn)
        forbid_parallel_queries(connection)
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


def _compare_part(scope: Scope, source: Source, part: Partition, share: float) -> RoundTripCounts:
    counts = RoundTripCounts()
    batches = source.read_partition(part, part.start, documents=BATCH, size=SIZE)
    for _, each in compare_batches(scope, batches, share):
        counts.add(each)
    return counts


def check_round_trips(trip: RoundTrip, names: list[str], emit: Emit) -> Iterator[Check]:
    """Compare every document of the collections `names` with the document that PostgreSQL rebuilds."""
    connection, scratch = trip.scope.connection, trip.scratch
    emit(StepStarted(step=STEP))
    done = journal.finished_steps(connection, scratch)
    progress = [each for each in partitions.read_progress(connection, scratch) if each.part.collection in names]
    counts: dict[str, RoundTripCounts] = defaultdict(RoundTripCounts)
    left: list[Partition] = []
    for part in (each.part for each in progress if not each.streamed):
        if _step(part) in done:
            recorded = journal.step_detail(connection, scratch, _step(part))
            counts[part.collection].add(RoundTripCounts.from_json(recorded))
        else:
            left.append(part)
    for part, each in _check_parts(trip, left):
        journal.finish_step(connection, scratch, trip.run, _step(part), each.as_json())
        counts[part.collection].add(each)
        emit(StepAdvanced(step=STEP, done=_count_read(counts)))
    streamed = {each.part.collection: "" for each in progress if each.streamed}
    batches = trip.source.read(streamed, documents=BATCH, size=SIZE) if streamed else iter(())
    for name, each in compare_batches(trip.scope, batches, trip.share):
        counts[name].add(each)
        emit(StepAdvanced(step=STEP, done=_count_read(counts)))
    emit(StepFinished(step=STEP, note=f"{format_count(_count_read(counts), 'documents')}"))
    yield from make_checks(names, counts, trip.share)


def _count_read(counts: Mapping[str, RoundTripCounts]) -> int:
    return sum(each.read for each in counts.values())


def _step(part: Partition) -> str:
    return f"{STEP} {part.collection} {part.number}"


def _check_parts(trip: RoundTrip, left: list[Partition]) -> Iterator[tuple[Partition, RoundTripCounts]]:
    workers = trip.scope.config.engine.workers or multiprocessing.cpu_count()
    large = len(left) > len({part.collection for part in left})  # some collection has several partitions
    if trip.job is None or workers == 1 or not large:
        for part in left:
            yield part, _compare_part(trip.scope, trip.source, part, trip.share)
        return
    with closing(ProcessPool(workers, trip.job.packages, (__name__,))) as pool:
        running: dict[Future[RoundTripCounts], Partition] = {
            pool.call(check_part, trip.job, part): part for part in left
        }
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except pool.losses as error:
            raise worker_ended() from error
