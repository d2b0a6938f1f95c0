"""The partitions of collections, and how far each has been read, according to the journal.

A worker reads a partition from its position to its end. A collection that can be read only from start to end is one
partition (number 0, `streamed`). In code and tables, a partition is a `part`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import TypeVar

from migrator.sources.base import Batch, Partition, Source
from migrator.state.records import Connection, Namespace

T = TypeVar("T")
MAX_BYTES = 16 << 20  # of a partition
PARTS_PER_WORKER = 4  # of a collection that is smaller than that


FOLLOW_PART = -1  # stands for changes after the load


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionProgress:
    """How far a partition has been read without a gap: up to `position`.

    `ahead` are the committed batches after `position`: the end of each by its start.
    """

    part: Partition
    streamed: bool
    position: str
    done: bool
    ahead: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSize:
    """The size of partitions: `bytes`, or if that is 0, a size that gives each of `workers` several partitions."""

    workers: int
    bytes: int = 0

    def choose(self, collection: int, smallest: int) -> int:
        """Return the size for a collection of so many bytes, of which the source reads partitions of `smallest`."""
        return self.bytes or max(smallest, min(MAX_BYTES, collection // (PARTS_PER_WORKER * self.workers)))


def prefetch_partitions(
    connection: Connection, namespace: Namespace, source: Source, names: Iterable[str], size: PartitionSize
) -> None:
    """Let the source find in the background what `ensure_partitions` will need for these collections."""
    source.prefetch_partitions(_missing_sizes(connection, namespace, source, names, size))


def _missing_sizes(
    connection: Connection, namespace: Namespace, source: Source, names: Iterable[str], size: PartitionSize
) -> dict[str, int]:
    """Return the size of the partitions of each collection that has none yet."""
    sizes = {each.name: each.bytes or 0 for each in source.collections()}
    found = connection.execute(namespace.sql("SELECT DISTINCT collection FROM {partitions}"))
    known = {name for (name,) in found}
    return {name: size.choose(sizes[name], source.min_partition_bytes) for name in names if name not in known}


def ensure_partitions(
    connection: Connection, namespace: Namespace, source: Source, names: Iterable[str], size: PartitionSize
) -> None:
    """Record the partitions of the collections that have none yet. All partitions of a collection commit together."""
    for name, chosen in _missing_sizes(connection, namespace, source, names, size).items():
        split = source.split(name, chosen)
        parts = split or [Partition(collection=name, number=0, start="", stop="")]
        query = namespace.sql(
            "INSERT INTO {partitions} (collection, part, start, stop, streamed) VALUES (%s, %s, %s, %s, %s)"
        )
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(query, [(name, part.number, part.start, part.stop, split is None) for part in parts])


def split_at(connection: Connection, namespace: Namespace, batch: Batch) -> Batch:
    """Record a batch of a streamed partition as a partition of its own; the streamed partition starts after it.

    So a later attempt reads exactly what was not committed, even if the source has changed in the meantime.
    """
    added = namespace.sql(
        "INSERT INTO {partitions} (collection, part, start, stop, streamed)"
        " SELECT collection, max(part) + 1, %s, %s, true FROM {partitions} WHERE collection = %s GROUP BY 1"
        " RETURNING part"
    )
    left = namespace.sql("UPDATE {partitions} SET start = %s WHERE collection = %s AND part = 0")
    with connection.transaction():
        row = connection.execute(added, (batch.start, batch.end, batch.collection)).fetchone()
        assert row is not None  # partition 0 exists
        connection.execute(left, (batch.end, batch.collection))
    return replace(batch, part=row[0], last=True)


def read_progress(connection: Connection, namespace: Namespace) -> list[PartitionProgress]:
    """Return the progress of every partition, in the order of collection and number."""
    batches: dict[tuple[str, int], dict[str, tuple[str, bool]]] = {}
    query = namespace.sql("SELECT collection, part, first_position, last_position, last FROM {batches}")
    for collection, number, first, last_position, last in connection.execute(query):
        batches.setdefault((collection, number), {})[first] = (last_position, last)
    query = namespace.sql("SELECT collection, part, start, stop, streamed FROM {partitions} ORDER BY collection, part")
    return [
        advance(
            Partition(collection=name, number=number, start=start, stop=stop), streamed, batches.get((name, number), {})
        )
        for name, number, start, stop, streamed in connection.execute(query).fetchall()
    ]


def advance(part: Partition, streamed: bool, batches: Mapping[str, tuple[str, bool]]) -> PartitionProgress:
    """Follow the committed batches from the start of a partition. `batches`: (end, is the last one) by start."""
    passed, position = set(), part.start
    for start, position, last in _in_order(part.start, batches):
        if last:
            return PartitionProgress(part=part, streamed=streamed, position=position, done=True, ahead={})
        passed.add(start)
    ahead = {start: end for start, (end, _) in batches.items() if start not in passed}
    return PartitionProgress(part=part, streamed=streamed, position=position, done=False, ahead=ahead)


def _in_order(position: str, batches: Mapping[str, tuple[str, T]]) -> Iterator[tuple[str, str, T]]:
    """Yield the start and the end of each batch without a gap, from a position, and what `batches` has with the end."""
    remaining = dict(batches)
    while position in remaining:
        start = position
        position, other = remaining.pop(start)
        yield start, position, other


def find_following(connection: Connection, namespace: Namespace, name: str, written: Set[str]) -> set[str]:
    """Return the transactions (`xmin`) of batches that must be undone together, and read again.

    Those that the transactions `written` committed, with all that follow in their partitions: a live source can give a
    partition other batches the second time. In a stream they alone: their boundaries are compared (`load`).
    """
    query = namespace.sql(
        "SELECT b.part, p.start, p.streamed, b.first_position, b.last_position, b.xmin::text FROM {batches} b"
        " JOIN {partitions} p USING (collection, part) WHERE collection = %s"
    )
    batches: dict[tuple[int, str, bool], dict[str, tuple[str, str]]] = {}
    for number, start, streamed, first, last_position, writer in connection.execute(query, (name,)):
        batches.setdefault((number, start, streamed), {})[first] = last_position, writer
    found = set()
    for (_, start, streamed), committed in batches.items():
        follows = False
        for _, _, writer in _in_order(start, committed):
            follows = writer in written or (follows and not streamed)
            if follows:
                found.add(writer)
    return found


def complete(found: Iterable[PartitionProgress]) -> set[str]:
    """Return the collections that have been read completely."""
    by_name: dict[str, bool] = {}
    for progress in found:
        name = progress.part.collection
        by_name[name] = by_name.get(name, True) and progress.done
    return {name for name, done in by_name.items() if done}


def count_changed(connection: Connection, namespace: Namespace, run: int, name: str, difference: int) -> None:
    """Record how the number of documents of a collection changes after the load, for the accounting identity."""
    query = namespace.sql(
        "INSERT INTO {batches} (collection, part, first_position, last_position, documents, bytes, last, run)"
        " VALUES (%s, %s, 'follow', '', %s, 0, false, %s) ON CONFLICT (collection, part, first_position)"
        " DO UPDATE SET documents = {batches}.documents + excluded.documents, committed = clock_timestamp()"
    )
    if difference:
        connection.execute(query, (name, FOLLOW_PART, difference, run))
