"""Dirty keys: the documents that changed in the source and have not been applied. Not here: receiving (`sync.py`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from migrator.state.records import Connection, Namespace

WHOLE_COLLECTION = b""  # the `source_id` of a key that stands for all documents of a collection


@dataclass(frozen=True, slots=True, kw_only=True)
class DirtyKey:
    """A changed document. `number` is that of its newest event; `document` its BSON, or None: look it up."""

    collection: str
    source_id: bytes
    number: int
    document: bytes | None

    @property
    def is_marker(self) -> bool:
        """Whether the whole collection must be compared."""
        return self.source_id == WHOLE_COLLECTION


def key_of(collection: str, source_id: bytes) -> bytes:
    """Return the primary key of a dirty key: 32 bytes, because an `_id` can be too long for an index."""
    return sha256(collection.encode() + b"\0" + source_id).digest()


def read_oldest(connection: Connection, namespace: Namespace, limit: int, most_bytes: int) -> list[DirtyKey]:
    """Return the oldest keys: at most `limit`, with images of about `most_bytes` in all, at least one key.

    The keys of one transaction of the source are returned together, whatever the limits.
    """
    query = namespace.sql(
        "WITH oldest AS (SELECT *, sum(coalesce(octet_length(document), 0)) OVER (ORDER BY number) AS size"
        " FROM (SELECT * FROM {dirty} ORDER BY number LIMIT %(limit)s) d),"
        " chosen AS (SELECT * FROM oldest WHERE size <= %(size)s OR number = (SELECT min(number) FROM oldest))"
        " SELECT collection, source_id, number, document FROM chosen"
        " UNION ALL SELECT d.collection, d.source_id, d.number, d.document FROM {dirty} d WHERE d.transaction_number IN"
        " (SELECT transaction_number FROM chosen) AND d.number NOT IN (SELECT number FROM chosen) ORDER BY 3"
    )
    found = connection.execute(query, {"limit": limit, "size": most_bytes}, binary=True)
    return [
        DirtyKey(
            collection=name,
            source_id=bytes(source_id),
            number=number,
            document=None if document is None else bytes(document),
        )
        for name, source_id, number, document in found
    ]


def lock(connection: Connection, namespace: Namespace) -> None:
    """Lock the row of `sync` until the current transaction ends. Call it before any write to `dirty`.

    The receiver locks this row first, too: so the two cannot wait for each other.
    """
    connection.execute(namespace.sql("SELECT FROM {sync} FOR UPDATE"))


def delete(connection: Connection, namespace: Namespace, keys: Iterable[DirtyKey]) -> None:
    """Delete applied keys, but not those with a newer event, and count them in `sync`. Requires a transaction."""
    keys = list(keys)
    lock(connection, namespace)
    query = namespace.sql(
        "WITH gone AS (DELETE FROM {dirty} d USING unnest(%s::bytea[], %s::bigint[]) AS k (key, number)"
        " WHERE d.key = k.key AND d.number = k.number)"
        " UPDATE {sync} SET applied = applied + %s"
    )
    values = ([key_of(each.collection, each.source_id) for each in keys], [each.number for each in keys], len(keys))
    connection.execute(query, values)


def count(connection: Connection, namespace: Namespace) -> int:
    """Return the number of dirty keys."""
    row = connection.execute(namespace.sql("SELECT count(*) FROM {dirty}")).fetchone()
    assert row is not None  # an aggregate returns a row
    return int(row[0])


def oldest_number(connection: Connection, namespace: Namespace) -> int | None:
    """Return the number of the dirty key whose newest event is the oldest; None if there are no keys."""
    row = connection.execute(namespace.sql("SELECT min(number) FROM {dirty}")).fetchone()
    return None if row is None or row[0] is None else int(row[0])
