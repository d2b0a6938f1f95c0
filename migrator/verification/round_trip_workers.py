"""The round trip of a whole source: parts in worker processes, streams here, and what is done is remembered.

A finished part is a step of the rehearsal's journal: a verification that was killed does not do it again.
"""

from __future__ import annotations

import multiprocessing
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, as_completed
from contextlib import closing
from dataclasses import dataclass, replace

from migrator.config.models import Config
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.execution.pool import ProcessPool, worker_ended
from migrator.mapping.loader import load_definition
from migrator.mapping.project import ProjectPackages
from migrator.sources import open_source
from migrator.sources.base import Partition, Source
from migrator.state import journal, partitions
from migrator.state.records import Namespace
from migrator.targets.server import connect_worker
from migrator.verification.model import Check, Scope
from migrator.verification.round_trip import BATCH, Counts, judge_trip, tally_batches

SIZE = 4 << 20  # bytes of a batch
STEP = "round trip"


@dataclass(frozen=True, kw_only=True)
class RoundTripJob:
    """What a worker process needs. Picklable; holds secrets, so it is never shown."""

    config: Config
    packages: ProjectPackages
    dsn: str
    only: frozenset[str]
    show: bool
    source_changed: bool
    share: float

    def __repr__(self) -> str:
        return "Trip(…)"


def check_part(trip: RoundTripJob, part: Partition) -> Counts:
    """A part, wherever it is called."""
    definition = load_definition(*trip.packages)
    source = trip.config.source
    with closing(open_source(source.url, source.database)) as opened, closing(connect_worker(trip.dsn)) as connection:
        scope = Scope(
            connection=connection,
            namespace=Namespace(),
            config=trip.config,
            mappings=definition.mappings,
            metadata=definition.metadata,
            known=definition.known,
            only=trip.only,
            show=trip.show,
            source_changed=trip.source_changed,
        )
        batches = opened.read_part(part, part.start, documents=BATCH, size=SIZE)
        tally = Counts()
        for _, each in tally_batches(scope, batches, trip.share):
            tally.add(each)
        return tally


def check_round_trips(
    scope: Scope,
    again: Namespace,
    run: int,
    source: Source,
    names: list[str],
    trip: RoundTripJob | None,
    emit: Emit,
    share: float,
) -> Iterator[Check]:
    """Every document of `names` against what PostgreSQL alone gives back. Without `trip` all of it is done here."""
    emit(StepStarted(step=STEP))
    done = journal.finished_steps(scope.connection, again)
    readings = [each for each in partitions.read_progress(scope.connection, again) if each.part.collection in names]
    tallies: dict[str, Counts] = defaultdict(Counts)
    left: list[Partition] = []
    for part in (each.part for each in readings if not each.streamed):
        if _step(part) in done:
            kept = journal.step_detail(scope.connection, again, _step(part))
            tallies[part.collection].add(Counts.from_json(kept))
        else:
            left.append(part)
    for part, tally in _travel_all(scope, source, trip, left, share):
        journal.finish_step(scope.connection, again, run, _step(part), tally.as_json())
        tallies[part.collection].add(tally)
        emit(StepAdvanced(step=STEP, done=sum(each.read for each in tallies.values())))
    streamed = {each.part.collection: "" for each in readings if each.streamed}
    batches = source.read(streamed, documents=BATCH, size=SIZE) if streamed else iter(())
    for name, tally in tally_batches(scope, batches, share):
        tallies[name].add(tally)
        emit(StepAdvanced(step=STEP, done=sum(each.read for each in tallies.values())))
    emit(StepFinished(step=STEP, note=f"{sum(each.read for each in tallies.values()):,} documents"))
    yield from judge_trip(names, tallies, share)


def _step(part: Partition) -> str:
    return f"{STEP} {part.collection} {part.number}"


def _travel_all(
    scope: Scope, source: Source, trip: RoundTripJob | None, left: list[Partition], share: float
) -> Iterator[tuple[Partition, Counts]]:
    workers = scope.config.engine.workers or multiprocessing.cpu_count()
    large = len(left) > len({part.collection for part in left})  # a collection in several parts
    if trip is None or workers == 1 or not large:
        for part in left:
            tally = Counts()
            for _, each in tally_batches(scope, source.read_part(part, part.start, documents=BATCH, size=SIZE), share):
                tally.add(each)
            yield part, tally
        return
    with closing(ProcessPool(workers, (__name__, *trip.packages.modules))) as pool:
        job = replace(trip, share=share)
        running: dict[Future[Counts], Partition] = {pool.call(check_part, job, part): part for part in left}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except pool.losses as error:
            raise worker_ended() from error
