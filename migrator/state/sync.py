"""How far the change stream of a source has been received, and the dirty keys that its events become.

A token and the keys of all events up to it are committed together. Every transaction that writes both locks the row of
`sync` first: so they cannot deadlock, and a receiver that was replaced notices it.
Not here: reading and deleting dirty keys (dirty.py), expanding a whole collection (markers.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from migrator.errors import StoppedError
from migrator.sources.base import Position, SourceCollection
from migrator.sources.change_events import (
    DDL,
    DROP,
    DROP_DATABASE,
    INSERT,
    INVALIDATE,
    RENAME,
    REPLACE,
    ChangeEvent,
    token_time,
)
from migrator.state.dirty import WHOLE_COLLECTION, key_of
from migrator.state.records import Connection, Namespace

if TYPE_CHECKING:  # it imports pymongo, which takes 150 ms
    from migrator.sources.change_stream import EventBatch

LOADING: Final = "loading"
FOLLOWING: Final = "following"
STOPPED: Final = "stopped"
SWITCHED: Final = "switched"  # the application uses the target; its changes go back to the source
COMPLETE: Final = "complete"  # the application uses the target, and the source is not used any more


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncState:
    """The record `sync`. `cluster_time`: up to which all events were received; `stored`: when the position was stored;
    `received`: the number of the newest event; `applied`: the dirty keys that were applied."""

    state: str
    position: Position
    last_event: bytes | None = field(repr=False)
    cluster_time: datetime | None
    stored: datetime
    received: int
    applied: int


class _Row(NamedTuple):
    """A row of `dirty`. A tuple, because one is made for each event, and a frozen dataclass takes 2 µs more."""

    collection: str
    source_id: bytes
    number: int
    cluster_time: int
    transaction: int | None = None
    image: bytes | None = None


def begin(connection: Connection, namespace: Namespace, position: Position) -> None:
    """Store the position from which changes are received, before the load begins. A stored position is kept."""
    query = namespace.sql("INSERT INTO {sync} (state, token) VALUES (%s, %s) ON CONFLICT (only_row) DO NOTHING")
    connection.execute(query, (LOADING, position.token))


def set_state(connection: Connection, namespace: Namespace, state: str) -> None:
    """Store `LOADING`, `FOLLOWING`, `STOPPED` or `SWITCHED`."""
    connection.execute(namespace.sql("UPDATE {sync} SET state = %s"), (state,))


def set_applying(connection: Connection, namespace: Namespace, state: str) -> None:
    """Store `FOLLOWING` or `STOPPED`, unless the application has been switched to the target."""
    query = namespace.sql("UPDATE {sync} SET state = %s WHERE state <> ALL(%s)")
    connection.execute(query, (state, [SWITCHED, COMPLETE]))


def switch_back(connection: Connection, namespace: Namespace, position: Position) -> None:
    """Let changes of the source be applied again, from a new position on."""
    query = namespace.sql(
        "UPDATE {sync} SET state = %s, token = %s, after_invalidate = false, last_event = NULL,"
        " cluster_time = clock_timestamp(), stored = clock_timestamp()"
    )
    connection.execute(query, (FOLLOWING, position.token))


def read_state(connection: Connection, namespace: Namespace) -> str | None:
    """Return the state; None if the source is not followed."""
    found = connection.execute(namespace.sql("SELECT state FROM {sync}")).fetchone()
    return None if found is None else str(found[0])


def is_switched(connection: Connection, namespace: Namespace) -> bool:
    """Return whether the application uses the target."""
    return read_state(connection, namespace) in (SWITCHED, COMPLETE)


def read(connection: Connection, namespace: Namespace) -> SyncState | None:
    """Return how far changes have been received; None if the source is not followed."""
    query = namespace.sql(
        "SELECT state, token, after_invalidate, last_event, cluster_time, stored, received, applied FROM {sync}"
    )
    found = connection.execute(query, binary=True).fetchone()
    if found is None:
        return None
    state, token, after_invalidate, last_event, cluster_time, stored, received, applied = found
    return SyncState(
        state=state,
        position=Position(token=bytes(token), after_invalidate=after_invalidate),
        last_event=None if last_event is None else bytes(last_event),
        cluster_time=cluster_time,
        stored=stored,
        received=received,
        applied=applied,
    )


def store(
    connection: Connection,
    namespace: Namespace,
    received: int,
    batch: EventBatch,
    described: Sequence[SourceCollection] = (),
) -> int:
    """Store the events of a batch and the position after them in one transaction, and return the new `received`.

    `received`: as it was before. `described`: collections whose description changed.

    Raises:
        StoppedError: another receiver has stored events.
    """
    with connection.transaction():
        _lock(connection, namespace, received)
        if described:
            write_metadata(connection, namespace, described)
        rows = list(_rows(batch.events, received, _Collections(connection, namespace)))
        _upsert(connection, namespace, rows)
        received += max(len(rows), len(batch.events))
        query = namespace.sql(
            "UPDATE {sync} SET token = %s, after_invalidate = %s, last_event = coalesce(%s, last_event),"
            " cluster_time = coalesce(%s, clock_timestamp()), stored = clock_timestamp(), received = %s"
        )
        position = batch.position
        values = (position.token, position.after_invalidate, batch.last_event, _time_of(batch), received)
        connection.execute(query, values)
    return received


def _time_of(batch: EventBatch) -> datetime | None:
    """Return the time up to which all events were received; None for now: the source had no more events."""
    seconds = batch.events[-1].cluster_time >> 32 if batch.events else token_time(batch.position.token)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def begin_again(
    connection: Connection, namespace: Namespace, received: int, position: Position, collections: Iterable[str]
) -> int:
    """Store a new position after a loss of events, and mark all collections, in one transaction.

    `position`: where the new stream begins; `collections`: those of the source. Collections of the records are added.
    Return the new `received`. Raises: StoppedError as `store`.
    """
    with connection.transaction():
        _lock(connection, namespace, received)
        names = sorted({*collections, *_Collections(connection, namespace).read()})
        rows = [
            _Row(collection=name, source_id=WHOLE_COLLECTION, number=received + number, cluster_time=0)
            for number, name in enumerate(names, start=1)
        ]
        _upsert(connection, namespace, rows)
        query = namespace.sql(
            "UPDATE {sync} SET token = %s, after_invalidate = false, last_event = NULL, stored = clock_timestamp(),"
            " received = %s"
        )
        connection.execute(query, (position.token, received + len(rows)))
    return received + len(rows)


def _lock(connection: Connection, namespace: Namespace, received: int) -> None:
    found = connection.execute(namespace.sql("SELECT received FROM {sync} FOR UPDATE")).fetchone()
    if found is None or found[0] != received:
        raise StoppedError("another process receives the changes of the source", "`migrate status` shows it.")


@dataclass(frozen=True, slots=True)
class _Collections:
    """The collections of the source database that the records know."""

    connection: Connection
    namespace: Namespace

    def read(self) -> list[str]:
        query = self.namespace.sql(
            "SELECT collection FROM {metadata} WHERE origin IS NULL UNION SELECT collection FROM {dirty} ORDER BY 1"
        )
        return [name for (name,) in self.connection.execute(query)]


def _rows(events: Iterable[ChangeEvent], received: int, collections: _Collections) -> Iterator[_Row]:
    """Yield the dirty keys of events, numbered from `received` + 1. Events that concern no documents take a number,
    too."""
    number = received
    for event in events:
        number += 1
        if event.source_id:
            yield _Row(
                collection=event.collection,
                source_id=event.source_id,
                number=number,
                cluster_time=event.cluster_time,
                transaction=event.transaction,
                image=event.image if event.kind in (INSERT, REPLACE) else None,
            )
            continue
        for name in _dropped(event, collections):
            yield _Row(
                collection=name, source_id=WHOLE_COLLECTION, number=number, cluster_time=event.cluster_time
            )  # fmt: skip
            number += 1


def _dropped(event: ChangeEvent, collections: _Collections) -> list[str]:
    """Return the collections all of whose documents an event changes."""
    if event.kind == DROP:
        return [event.collection]
    if event.kind == RENAME:
        return [name for name in (event.collection, event.renamed_to) if name]
    return collections.read() if event.kind == DROP_DATABASE else []


def _upsert(connection: Connection, namespace: Namespace, rows: Iterable[_Row]) -> None:
    """Insert dirty keys, or update those that exist: number and image of the newest event, `first` of the oldest."""
    newest = {key_of(each.collection, each.source_id): each for each in rows}
    if not newest:
        return
    values = list(newest.values())
    query = namespace.sql(
        "INSERT INTO {dirty} AS d"
        " (key, collection, source_id, number, cluster_time, transaction_number, document)"
        " SELECT * FROM unnest(%b::bytea[], %s::text[], %b::bytea[], %s::bigint[], %s::bigint[], %s::bigint[],"
        " %b::bytea[])"
        " ON CONFLICT (key) DO UPDATE SET number = excluded.number, cluster_time = excluded.cluster_time,"
        " transaction_number = excluded.transaction_number, document = excluded.document"
    )
    columns = (
        list(newest),
        [each.collection for each in values],
        [each.source_id for each in values],
        [each.number for each in values],
        [each.cluster_time for each in values],
        [each.transaction for each in values],
        [each.image for each in values],
    )
    connection.execute(query, columns)


def changed_descriptions(events: Iterable[ChangeEvent], known: set[str]) -> list[str]:
    """Return the collections whose description may have change with these events; `known`: those described before."""
    names: dict[str, None] = {}
    for event in events:
        if event.kind in (DROP, DROP_DATABASE, INVALIDATE):
            known.discard(event.collection)
            continue
        name = event.renamed_to if event.kind == RENAME else event.collection
        if name and (event.kind in (DDL, RENAME) or name not in known):
            names[name] = None
    return list(names)


def write_metadata(connection: Connection, namespace: Namespace, described: Iterable[SourceCollection]) -> None:
    """Store the descriptions of collections of the source database."""
    query = namespace.sql(
        "INSERT INTO {metadata} AS m (collection, metadata) VALUES (%s, %s)"
        " ON CONFLICT (collection) DO UPDATE SET metadata = excluded.metadata WHERE m.origin IS NULL"
    )
    with connection.cursor() as cursor:
        cursor.executemany(query, [(each.name, each.metadata) for each in described])
