"""Loads the collections of a level: hands out what is left of them, part by part, and gathers what has been done.

Collections are read in levels, so that what a document refers to is in its table before. Documents that claim an id or
a unique value that is taken are rejected meanwhile; `reconcile` decides between the claimants once all have been seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from itertools import chain

from migrator.errors import DamagedSourceError, SourceError
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.execution.memory import lower_mmap_threshold
from migrator.execution.pool import Workers
from migrator.execution.tasks import SENT_BATCH_BYTES, Task
from migrator.mapping.collection import Collection
from migrator.sources.base import Batch, Partition, Source
from migrator.state import partitions
from migrator.state.partitions import PartitionProgress, PartitionSize
from migrator.state.records import Connection, Namespace


def levels(mappings: Mapping[str, Collection]) -> list[list[str]]:
    """Collections in groups: each refers to collections of earlier groups only. Raises graphlib.CycleError."""
    sorter = TopologicalSorter({name: mapping.needs & mappings.keys() for name, mapping in mappings.items()})
    sorter.prepare()
    groups = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        groups.append(ready)
        sorter.done(*ready)
    return groups


def load(
    connection: Connection,
    namespace: Namespace,
    source: Source,
    collections: list[str],
    workers: Workers,
    *,
    batch_rows: int,
    part_bytes: int,
    emit: Emit,
) -> None:
    """Loads what is left of `collections`."""
    part_size = PartitionSize(workers=workers.count, bytes=part_bytes)
    partitions.ensure_partitions(connection, namespace, source, collections, part_size)
    left = [
        reading
        for reading in partitions.read_progress(connection, namespace)
        if reading.part.collection in collections and not reading.done
    ]
    if not left:
        return
    step = "load " + (collections[0] if len(collections) == 1 else f"{len(collections)} collections")
    emit(StepStarted(step=step))
    documents, size, total = 0, 0, total_bytes(source, left)
    for done in workers.work(tasks(connection, namespace, source, left, batch_rows)):
        documents, size = documents + done.documents, size + done.bytes
        share = source.share_read() if total is None else size / total if total else None
        emit(StepAdvanced(step=step, done=documents, total=round(documents / share) if share else None))
    check_complete(connection, namespace, source, collections)
    emit(StepFinished(step=step, note=f"{documents:,} documents"))


def tasks(
    connection: Connection, namespace: Namespace, source: Source, left: list[PartitionProgress], batch_rows: int
) -> Iterator[Task]:
    """Parts as they are, for who takes them to read; the batches of streams, which are read here."""
    whole = [reading.part for reading in left if not reading.streamed or reading.part.number]
    streams = [reading for reading in left if reading.streamed and not reading.part.number]
    if streams:
        lower_mmap_threshold()
    cut = [reading.part for reading in streams if source.reads_parts(reading.part.collection)]
    others = [reading for reading in streams if reading.part not in cut]
    return chain(whole, cut_up(connection, namespace, source, cut, batch_rows), stream(source, others, batch_rows))


def cut_up(
    connection: Connection, namespace: Namespace, source: Source, left: list[Partition], batch_rows: int
) -> Iterator[Batch]:
    """The batches of streams of which every piece can be read again: each is a part of its own, but for the last."""
    for part in left:
        for batch in source.read_part(part, part.start, documents=batch_rows, size=SENT_BATCH_BYTES):
            yield batch if batch.last else partitions.split_at(connection, namespace, batch)


def stream(source: Source, left: list[PartitionProgress], batch_rows: int) -> Iterator[Batch]:
    """The batches that are not committed yet. They begin and end where they did when the run began."""
    if not left:
        return
    ahead = {reading.part.collection: dict(reading.ahead) for reading in left}
    starts = {reading.part.collection: reading.position for reading in left}
    for batch in source.read(starts, documents=batch_rows, size=SENT_BATCH_BYTES):
        end = ahead[batch.collection].pop(batch.start, None)
        if end is None:
            yield batch
        elif end != batch.end:
            raise SourceError(
                f"{batch.collection} is not what an earlier attempt read: {batch.start} to {batch.end}, then to {end}",
                hint="Has the dump been exchanged? `migrate revert`, then run again.",
            )


def total_bytes(source: Source, left: Iterable[PartitionProgress]) -> int | None:
    """The bytes of BSON that are left, where the source can tell."""
    sizes = {each.name: each.bytes for each in source.collections()}
    numbers = [(reading, sizes.get(reading.part.collection)) for reading in left]
    if any(size is None or reading.streamed for reading, size in numbers):
        return None
    of_collections = {reading.part.collection: size for reading, size in numbers}
    counts: dict[str, int] = {}
    for reading, _ in numbers:
        counts[reading.part.collection] = max(counts.get(reading.part.collection, 0), reading.part.number + 1)
    return round(sum((of_collections[r.part.collection] or 0) / counts[r.part.collection] for r, _ in numbers))


def check_complete(connection: Connection, namespace: Namespace, source: Source, collections: list[str]) -> None:
    """Nothing may be left: a source that ends early without saying so is damaged."""
    missing = set(collections) - partitions.complete(partitions.read_progress(connection, namespace))
    if missing:
        raise DamagedSourceError(
            f"ended before the end of {', '.join(sorted(missing))}", file=source.label, offset=0, hint="Run again."
        )
