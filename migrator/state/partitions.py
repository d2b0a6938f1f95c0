"""Which parts of collections are still to be read, and from where on: out of the journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from migrator.sources.base import Batch, Partition, Source
from migrator.state.records import Connection, Namespace

LARGEST = 16 << 20  # bytes of a part
SHARES = 4  # parts a worker where a collection is small


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionProgress:
    """How far a part has been read without a gap. `ahead` are batches committed beyond: where each begins and ends."""

    part: Partition
    streamed: bool
    position: str
    done: bool
    ahead: Mapping[str, str]


def ensure_partitions(
    connection: Connection, namespace: Namespace, source: Source, names: Iterable[str], workers: int, wanted: int
) -> None:
    """Records the parts of collections that have none yet: all of a collection's at once, of `wanted` bytes, or (0) so
    that every worker gets some."""
    sizes = {each.name: each.bytes or 0 for each in source.collections()}
    found = connection.execute(namespace.sql("SELECT DISTINCT collection FROM {partitions}"))
    known = {name for (name,) in found}
    for name in names:
        if name in known:
            continue
        size = wanted or max(source.smallest_part, min(LARGEST, sizes[name] // (SHARES * workers)))
        split = source.split(name, size)
        parts = split or [Partition(collection=name, number=0, start="", stop="")]
        query = namespace.sql(
            "INSERT INTO {partitions} (collection, part, start, stop, streamed) VALUES (%s, %s, %s, %s, %s)"
        )
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(query, [(name, part.number, part.start, part.stop, split is None) for part in parts])


def split_at(connection: Connection, namespace: Namespace, batch: Batch) -> Batch:
    """Makes a batch of a stream (its part 0) a part of its own, and leaves what follows to the stream.

    So a later attempt reads again what was not committed, and nothing else, whatever else has changed by then."""
    added = namespace.sql(
        "INSERT INTO {partitions} (collection, part, start, stop, streamed)"
        " SELECT collection, max(part) + 1, %s, %s, true FROM {partitions} WHERE collection = %s GROUP BY 1"
        " RETURNING part"
    )
    left = namespace.sql("UPDATE {partitions} SET start = %s WHERE collection = %s AND part = 0")
    with connection.transaction():
        row = connection.execute(added, (batch.start, batch.end, batch.collection)).fetchone()
        assert row is not None  # there is a part 0
        connection.execute(left, (batch.end, batch.collection))
    return replace(batch, part=row[0], last=True)


def read_progress(connection: Connection, namespace: Namespace) -> list[PartitionProgress]:
    """Every part that is known, in the order of its collection."""
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
    """Batch by batch from the part's start; `batches` are (end, whether the last) by their beginning."""
    left, position = dict(batches), part.start
    while position in left:
        position, last = left.pop(position)
        if last:
            return PartitionProgress(part=part, streamed=streamed, position=position, done=True, ahead={})
    ahead = {start: end for start, (end, _) in left.items()}
    return PartitionProgress(part=part, streamed=streamed, position=position, done=False, ahead=ahead)


def complete(found: Iterable[PartitionProgress]) -> set[str]:
    """The collections that have been read to their end."""
    by_name: dict[str, bool] = {}
    for reading in found:
        name = reading.part.collection
        by_name[name] = by_name.get(name, True) and reading.done
    return {name for name, done in by_name.items() if done}
