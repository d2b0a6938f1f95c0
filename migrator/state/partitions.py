"""Which parts of collections are still to be read, and from where on: out of the journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from migrator.sources.base import Batch, Part, Source
from migrator.state.journal import Connection, Place

LARGEST = 16 << 20  # bytes of a part
SHARES = 4  # parts a worker where a collection is small


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far a part has been read without a gap. `ahead` are batches committed beyond: where each begins and ends."""

    part: Part
    streamed: bool
    position: str
    done: bool
    ahead: Mapping[str, str]


def ensure_parts(
    connection: Connection, place: Place, source: Source, names: Iterable[str], workers: int, wanted: int
) -> None:
    """Records the parts of collections that have none yet: all of a collection's at once, of `wanted` bytes, or (0) so
    that every worker gets some."""
    sizes = {each.name: each.bytes or 0 for each in source.collections()}
    found = connection.execute(place.sql("SELECT DISTINCT collection FROM {parts}"))
    known = {name for (name,) in found}
    for name in names:
        if name in known:
            continue
        size = wanted or max(source.smallest_part, min(LARGEST, sizes[name] // (SHARES * workers)))
        split = source.split(name, size)
        parts = split or [Part(collection=name, number=0, start="", stop="")]
        query = place.sql("INSERT INTO {parts} (collection, part, start, stop, streamed) VALUES (%s, %s, %s, %s, %s)")
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(query, [(name, part.number, part.start, part.stop, split is None) for part in parts])


def cut_off(connection: Connection, place: Place, batch: Batch) -> Batch:
    """Makes a batch of a stream (its part 0) a part of its own, and leaves what follows to the stream.

    So a later attempt reads again what was not committed, and nothing else, whatever else has changed by then."""
    added = place.sql(
        "INSERT INTO {parts} (collection, part, start, stop, streamed)"
        " SELECT collection, max(part) + 1, %s, %s, true FROM {parts} WHERE collection = %s GROUP BY 1 RETURNING part"
    )
    left = place.sql("UPDATE {parts} SET start = %s WHERE collection = %s AND part = 0")
    with connection.transaction():
        row = connection.execute(added, (batch.start, batch.end, batch.collection)).fetchone()
        assert row is not None  # there is a part 0
        connection.execute(left, (batch.end, batch.collection))
    return replace(batch, part=row[0], last=True)


def readings(connection: Connection, place: Place) -> list[Reading]:
    """Every part that is known, in the order of its collection."""
    batches: dict[tuple[str, int], dict[str, tuple[str, bool]]] = {}
    query = place.sql("SELECT collection, part, first_position, last_position, last FROM {batches}")
    for collection, number, first, last_position, last in connection.execute(query):
        batches.setdefault((collection, number), {})[first] = (last_position, last)
    query = place.sql("SELECT collection, part, start, stop, streamed FROM {parts} ORDER BY collection, part")
    return [
        follow(Part(collection=name, number=number, start=start, stop=stop), streamed, batches.get((name, number), {}))
        for name, number, start, stop, streamed in connection.execute(query).fetchall()
    ]


def follow(part: Part, streamed: bool, batches: Mapping[str, tuple[str, bool]]) -> Reading:
    """Batch by batch from the part's start; `batches` are (end, whether the last) by their beginning."""
    left, position = dict(batches), part.start
    while position in left:
        position, last = left.pop(position)
        if last:
            return Reading(part=part, streamed=streamed, position=position, done=True, ahead={})
    ahead = {start: end for start, (end, _) in left.items()}
    return Reading(part=part, streamed=streamed, position=position, done=False, ahead=ahead)


def complete(found: Iterable[Reading]) -> set[str]:
    """The collections that have been read to their end."""
    by_name: dict[str, bool] = {}
    for reading in found:
        name = reading.part.collection
        by_name[name] = by_name.get(name, True) and reading.done
    return {name for name, done in by_name.items() if done}
