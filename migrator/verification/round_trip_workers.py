"""Runs the round trip of a whole source: partitions in worker processes, streamed collections in this process.

The workers are those of the scratch run. They begin as soon as they have loaded the largest table, because the rest of
the scratch run is the work of one process; with collections of which documents may be proven they begin after the
comparison of rows and records. Each finished partition of another collection is a step in the journal of the scratch
run: a verification that was killed resumes after it.
"""

from __future__ import annotations

import multiprocessing.util
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import dataclass, replace
from itertools import islice

from migrator.config.models import Config
from migrator.documents import raw_bson
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
from migrator.verification.proven_documents import Proof, ProvenDocuments
from migrator.verification.round_trip import BATCH, RoundTripCounts, compare_batches, find_differences, make_checks

SIZE = 4 << 20  # bytes of a batch of a sample
# Planning and finding the rows of a batch cost the server a fifth less for each than with batches of a sample.
LARGE_BATCH = 20_000  # documents
LARGE_SIZE = 16 << 20
STEP = "round trip"

Others = Mapping[str, frozenset[bytes]]  # the source IDs of the documents that are not proven, by collection


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
    work. `proven`: the documents that need not be rebuilt.
    """

    scope: Scope
    scratch: Namespace
    run: int
    source: Source
    names: Sequence[str]
    share: float
    job: RoundTripJob | None
    proven: ProvenDocuments


def check_part(job: RoundTripJob, part: Partition, only: Others) -> RoundTripCounts:
    """Compare one partition, in a worker process. `only`: see `compare_batches`."""
    scope, source = _open_session(job)
    return _compare_part(scope, source, part, job.share, only)


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


def _compare_part(scope: Scope, source: Source, part: Partition, share: float, only: Others) -> RoundTripCounts:
    counts = RoundTripCounts()
    documents, size = _limits(share)
    batches = source.read_partition(part, part.start, documents=documents, size=size)
    with without_gc():
        for _, each in compare_batches(scope, batches, share, only):
            counts.add(each)
    return counts


class RoundTripWork:
    """The work of one round trip. Worker processes can begin while the calling process does something else."""

    def __init__(self, trip: RoundTrip, pool: ProcessPool) -> None:
        self._trip, self._pool = trip, pool
        self._running: dict[Future[RoundTripCounts], Partition] = {}
        self._open = trip.proven.names  # collections of which it is not known yet what is proven
        self._proofs: dict[str, Proof] = {}

    def start(self) -> None:
        """Let worker processes compare the partitions that are recorded by now; do nothing if they do not pay."""
        parts, started = self._partitions(), list(self._running.values())
        is_large = len(parts) > len({part.collection for part in parts})  # some collection has several partitions
        if self._trip.job is not None and not self._pool.is_single and (is_large or self._running):
            left = [each for each in self._left(parts) if each not in started]
            self._running |= {self._pool.call(check_part, self._trip.job, part, self._others): part for part in left}

    def check(self, emit: Emit, checks: Sequence[Check]) -> Iterator[Check]:
        """Compare every document of the collections with the document that PostgreSQL rebuilds.

        `checks`: the results of comparing the rows and records with those of the scratch run.
        """
        trip, counts = self._trip, defaultdict[str, RoundTripCounts](RoundTripCounts)
        connection, scratch = trip.scope.connection, trip.scratch
        emit(StepStarted(step=STEP))
        for name, proof in trip.proven.conclude(checks).items():
            first = self._read_first(name)
            if any(find_differences(trip.scope, name, first)):
                continue  # all are rebuilt
            self._proofs[name] = replace(proof, others=proof.others.difference(each for each, _ in first))
        self._open = frozenset()
        self.start()
        done = journal.finished_steps(connection, scratch)
        for part in self._partitions():
            if _step(part) in done:
                recorded = journal.step_detail(connection, scratch, _step(part))
                counts[part.collection].add(RoundTripCounts.from_json(recorded))
        for part, each in self._compare_parts():
            if part.collection not in self._proofs:
                journal.finish_step(connection, scratch, trip.run, _step(part), each.as_json())
            counts[part.collection].add(each)
            emit(StepAdvanced(step=STEP, done=_count_read(counts)))
        streamed = {part.collection: "" for part in self._partitions(streamed=True) if not self._is_proven(part)}
        documents, size = _limits(trip.share)
        batches = trip.source.read(streamed, documents=documents, size=size) if streamed else iter(())
        for name, each in compare_batches(trip.scope, batches, trip.share, self._others):
            counts[name].add(each)
            emit(StepAdvanced(step=STEP, done=_count_read(counts)))
        proven = sum(proof.documents - counts[name].read for name, proof in self._proofs.items())
        for name, proof in self._proofs.items():
            counts[name].read = proof.documents
        by = f", {proven:,} of them by checksums" if proven else ""
        emit(StepFinished(step=STEP, note=f"{format_count(_count_read(counts), 'documents')}{by}"))
        yield from make_checks(list(trip.names), counts, trip.share)

    def _partitions(self, *, streamed: bool = False) -> list[Partition]:
        """Return the partitions of the collections to compare that the scratch run has recorded."""
        found = partitions.read_progress(self._trip.scope.connection, self._trip.scratch)
        return [each.part for each in found if each.streamed == streamed and each.part.collection in self._trip.names]

    @property
    def _others(self) -> Others:
        return {name: proof.others for name, proof in self._proofs.items()}

    def _is_proven(self, part: Partition) -> bool:
        """Return whether all documents of a partition are proven."""
        proof = self._proofs.get(part.collection)
        return proof is not None and not proof.others

    def _left(self, parts: Sequence[Partition]) -> list[Partition]:
        """Return the partitions of which documents must be rebuilt and that have no step in the journal."""
        done = journal.finished_steps(self._trip.scope.connection, self._trip.scratch)
        left = [each for each in parts if each.collection not in self._open and not self._is_proven(each)]
        return [each for each in left if _step(each) not in done]

    def _compare_parts(self) -> Iterator[tuple[Partition, RoundTripCounts]]:
        """Yield the results of the partitions that are left, as soon as they are known."""
        if not self._running:
            trip = self._trip
            for part in self._left(self._partitions()):
                yield part, _compare_part(trip.scope, trip.source, part, trip.share, self._others)
            return
        try:
            for future in as_completed(self._running):
                yield self._running[future], future.result()
        except self._pool.losses as error:
            raise worker_ended() from error

    def _read_first(self, name: str) -> list[tuple[bytes, bytes]]:
        """Return (source ID, document) of the first documents of a collection.

        They are rebuilt whatever is proven, because the query that reads documents must do so in this target.
        """
        batches = self._trip.source.read({name: ""}, documents=BATCH, size=SIZE)
        return [each for batch in islice(batches, 1) for each in raw_bson.documents_by_id(batch.data)]


def _count_read(counts: Mapping[str, RoundTripCounts]) -> int:
    return sum(each.read for each in counts.values())


def _step(part: Partition) -> str:
    return f"{STEP} {part.collection} {part.number}"
