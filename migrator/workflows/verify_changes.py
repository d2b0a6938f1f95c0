"""The changes that a comparison of a moving source must know: events after a position, and what is not applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Final

from migrator.errors import StoppedError
from migrator.following.batch import DocumentKey, group_by_collection
from migrator.sources.base import ChangingSource, Position
from migrator.sources.change_events import DROP, DROP_DATABASE, RENAME, token_cluster_time
from migrator.state import sync
from migrator.state.dirty import WHOLE_COLLECTION
from migrator.state.records import Connection, Namespace

if TYPE_CHECKING:
    from migrator.sources.change_stream import ChangeStream

AWAIT_MS: Final = 200  # for which the server waits for an event
ENDS: Final = 2  # answers without events after which no event before the call can be missing
# Of a server whose events are those of a majority, which may have an event late: its tokens tell how far they reach.
MOST_ENDS: Final = 7
READ_SECONDS: Final = 1.0  # between two looks whether the stream has failed
ATTEMPTS: Final = 5  # at one position, if the connection is lost
KEYS_AT_ONCE: Final = 200  # documents that are looked up together, at most 16 MB each


def read_changed_keys(url: str, database: str, position: Position, now: datetime) -> set[DocumentKey]:
    """Return the documents with an event after a position, at least all events before `now`, a time of the server.

    Raises:
        StoppedError: a whole collection was dropped or renamed.
        HistoryLostError: the server no longer has these events.
    """
    # They import pymongo, which takes 150 ms: a dump need not pay for it.
    from migrator.sources.change_cursor import StreamInterruptedError
    from migrator.sources.change_stream import ChangeStream

    keys: set[DocumentKey] = set()
    for attempt in range(ATTEMPTS):
        try:
            with closing(ChangeStream(url, database, position, await_ms=AWAIT_MS)) as stream:
                _read_until(stream, now, keys)
            return keys
        except StreamInterruptedError:
            if attempt == ATTEMPTS - 1:
                raise
    return keys


def _read_until(stream: ChangeStream, now: datetime, keys: set[DocumentKey]) -> None:
    ends = 0
    while ends < _ends_needed(stream.position.token, now):
        batch = stream.read(READ_SECONDS, or_end=True)
        events = batch.events
        ends = 0 if events else ends + batch.is_end
        for event in events:
            if event.source_id:
                keys.add((event.collection, event.source_id))
            elif event.kind in (DROP, RENAME, DROP_DATABASE):
                refuse_whole_collection(event.collection or "the database")
        if events and events[-1].cluster_time >> 32 > now.timestamp():
            return


def _ends_needed(token: bytes, now: datetime) -> int:
    """Return the number of answers without events after which all events before `now` were read."""
    reached = token_cluster_time(token)
    return ENDS if reached is None or reached >> 32 > now.timestamp() else MOST_ENDS


def refuse_whole_collection(name: str) -> None:
    """Raises: `StoppedError`: a collection was dropped or renamed, and this is not applied."""
    raise StoppedError(
        f"{name} was dropped, renamed or marked for a full comparison, and this has not been applied",
        "Let `migrate follow` apply it, then run the same command again.",
    )


def read_unapplied(
    connection: Connection, namespace: Namespace, url: str, database: str, now: datetime
) -> set[DocumentKey]:
    """Return the documents with changes before `now` that are not applied, received or not. No batch may be applied
    meanwhile.

    Raises: as `read_changed_keys`.
    """
    state = sync.read(connection, namespace)  # before the keys: so what is received meanwhile is in both
    assert state is not None  # the source is followed
    keys = read_changed_keys(url, database, state.position, now)
    for name, source_id in connection.execute(namespace.sql("SELECT collection, source_id FROM {dirty}"), binary=True):
        if bytes(source_id) == WHOLE_COLLECTION:
            refuse_whole_collection(name)
        keys.add((name, bytes(source_id)))
    return keys


def by_collection(keys: Iterable[DocumentKey], order: Iterable[str] = ()) -> Iterator[tuple[str, list[bytes]]]:
    """Yield source IDs by collection, at most `KEYS_AT_ONCE` at a time; first the collections in `order`."""
    grouped = group_by_collection(sorted(keys))
    for name in dict.fromkeys([*order, *grouped]):
        source_ids = grouped.get(name, [])
        for start in range(0, len(source_ids), KEYS_AT_ONCE):
            yield name, source_ids[start : start + KEYS_AT_ONCE]


class SourceIds:
    """The IDs of all documents of a source, in a temporary table: so memory is bounded."""

    def __init__(self, connection: Connection, source: ChangingSource, names: list[str]) -> None:
        self._connection, self._names = connection, names
        connection.execute("DROP TABLE IF EXISTS pg_temp.compared_ids")
        connection.execute("CREATE TEMPORARY TABLE compared_ids (collection text, source_id bytea)")
        with connection.cursor() as cursor, cursor.copy("COPY compared_ids FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text", "bytea"])
            for name in names:
                for source_id in source.read_ids(name):
                    copy.write_row((name, source_id))

    def count(self, namespace: Namespace, unapplied: set[DocumentKey]) -> Counter[str]:
        """Count the documents that the target must account for: unapplied ones as they are in its ledger."""
        connection = self._connection
        connection.execute("CREATE TEMPORARY TABLE unapplied_ids (collection text, source_id bytea)")
        with connection.cursor() as cursor, cursor.copy("COPY unapplied_ids FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text", "bytea"])
            for key in unapplied:
                copy.write_row(key)
        query = namespace.sql(
            "SELECT collection, count(*) FROM (SELECT * FROM compared_ids EXCEPT ALL SELECT * FROM unapplied_ids"
            " UNION ALL SELECT collection, source_id FROM {ledger} JOIN unapplied_ids USING (collection, source_id)) i"
            " GROUP BY 1"
        )
        counted = Counter(dict.fromkeys(self._names, 0))
        counted.update({name: int(count) for name, count in connection.execute(query)})
        for table in ("compared_ids", "unapplied_ids"):
            connection.execute(f"DROP TABLE pg_temp.{table}".encode())
        return counted
