"""Loads the collections of a level: distributes the remaining partitions and batches to workers, and collects results.

Collections are loaded in levels, so that the rows that a document refers to exist already. A document whose ID or
unique value is taken is rejected at first; `reconcile` resolves these conflicts when the whole collection was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import chain

from migrator.errors import DamagedSourceError, SourceError
from migrator.events import StepAdvanced, StepFinished, StepStarted
from migrator.execution.memory import lower_mmap_threshold
from migrator.execution.pool import Workers
from migrator.execution.tasks import SENT_BATCH_BYTES, Task
from migrator.formatting import format_count
from migrator.mapping.collection import Collection
from migrator.sources.base import Batch, Partition, Source
from migrator.stages.context import StageContext
from migrator.state import partitions
from migrator.state.partitions import PartitionProgress, PartitionSize


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLimits:
    """The size of a batch in documents, and of a partition in bytes (0: suitable for the source)."""

    batch_rows: int
    part_bytes: int


def order_by_dependency(mappings: Mapping[str, Collection]) -> list[list[str]]:
    """Return the collections in levels; each refers to collections of earlier levels only.

    Raises: graphlib.CycleError.
    """
    sorter = TopologicalSorter({name: mapping.needs & mappings.keys() for name, mapping in mappings.items()})
    sorter.prepare()
    levels = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        levels.append(ready)
        sorter.done(*ready)
    return levels


def load(stage: StageContext, source: Source, collections: list[str], workers: Workers, limits: LoadLimits) -> None:
    """Load the rest of `collections`."""
    connection, namespace = stage.connection, stage.namespace
    part_size = PartitionSize(workers=workers.count, bytes=limits.part_bytes)
    partitions.ensure_partitions(connection, namespace, source, collections, part_size)
    left = [
        progress
        for progress in partitions.read_progress(connection, namespace)
        if progress.part.collection in collections and not progress.done
    ]
    if not left:
        return
    step = "load " + (collections[0] if len(collections) == 1 else f"{len(collections)} collections")
    stage.emit(StepStarted(step=step))
    documents, size, total = 0, 0, total_bytes(source, left)
    for done in workers.work(make_tasks(stage, source, left, limits.batch_rows)):
        documents, size = documents + done.documents, size + done.bytes
        share = source.share_read() if total is None else size / total if total else None
        stage.emit(StepAdvanced(step=step, done=documents, total=round(documents / share) if share else None))
    check_complete(stage, source, collections)
    stage.emit(StepFinished(step=step, note=format_count(documents, "documents")))


def make_tasks(stage: StageContext, source: Source, left: list[PartitionProgress], batch_rows: int) -> Iterator[Task]:
    """Yield partitions, which workers read themselves, and then the batches of streams, which this process reads."""
    independent = [progress.part for progress in left if not progress.streamed or progress.part.number]
    streams = [progress for progress in left if progress.streamed and not progress.part.number]
    if streams:
        lower_mmap_threshold()
    splittable = [progress.part for progress in streams if source.reads_partitions(progress.part.collection)]
    others = [progress for progress in streams if progress.part not in splittable]
    return chain(
        independent, split_streams(stage, source, splittable, batch_rows), read_streams(source, others, batch_rows)
    )


def split_streams(stage: StageContext, source: Source, left: list[Partition], batch_rows: int) -> Iterator[Batch]:
    """Yield the batches of streams whose ranges can be read again. Each batch but the last becomes a partition."""
    for part in left:
        for batch in source.read_partition(part, part.start, documents=batch_rows, size=SENT_BATCH_BYTES):
            yield batch if batch.last else partitions.split_at(stage.connection, stage.namespace, batch)


def read_streams(source: Source, left: list[PartitionProgress], batch_rows: int) -> Iterator[Batch]:
    """Yield the batches that are not committed. They have the same boundaries as in the first attempt.

    Raises: `SourceError` if the source has changed.
    """
    if not left:
        return
    ahead = {progress.part.collection: dict(progress.ahead) for progress in left}
    starts = {progress.part.collection: progress.position for progress in left}
    for batch in source.read(starts, documents=batch_rows, size=SENT_BATCH_BYTES):
        end = ahead[batch.collection].pop(batch.start, None)
        if end is None:
            yield batch
        elif end != batch.end:
            raise SourceError(
                f"{batch.collection} has changed since an earlier attempt:"
                f" the batch at {batch.start or 0} ended at {end}, now at {batch.end}",
                hint="Check whether the dump was replaced. If so, run `migrate revert`, then `migrate run`.",
            )


def total_bytes(source: Source, left: Iterable[PartitionProgress]) -> int | None:
    """Return the bytes of BSON that are left, or None if the source does not know its size."""
    sizes = {each.name: each.bytes for each in source.collections()}
    numbers = [(progress, sizes.get(progress.part.collection)) for progress in left]
    if any(size is None or progress.streamed for progress, size in numbers):
        return None
    of_collections = {progress.part.collection: size for progress, size in numbers}
    counts: dict[str, int] = {}
    for progress, _ in numbers:
        counts[progress.part.collection] = max(counts.get(progress.part.collection, 0), progress.part.number + 1)
    return round(sum((of_collections[p.part.collection] or 0) / counts[p.part.collection] for p, _ in numbers))


def check_complete(stage: StageContext, source: Source, collections: list[str]) -> None:
    """Raises: `DamagedSourceError` if a collection was not read to its end."""
    progress = partitions.read_progress(stage.connection, stage.namespace)
    missing = set(collections) - partitions.complete(progress)
    if missing:
        raise DamagedSourceError(
            f"the source ended before the end of {', '.join(sorted(missing))}",
            file=source.label,
            offset=0,
            hint="Run the same command again.",
        )
