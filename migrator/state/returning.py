"""The records of changes that are returned to the source: intentions, values not returned, conflicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from psycopg import sql

from migrator.state.dirty import key_of
from migrator.state.records import Connection, Namespace

DocumentKey = tuple[str, bytes]  # collection, source_id


class Intention(NamedTuple):
    """A document that is about to be written. `digest`: SHA-256 of its BSON; None: it is to be deleted."""

    collection: str
    source_id: bytes
    digest: bytes | None


class Unreturned(NamedTuple):
    """The value of a column that a document cannot hold, and what the document gives instead; both as jsonb.

    `rounded`: a date of which only the part below a millisecond is lost.
    """

    collection: str
    source_id: bytes
    target_id: str
    column_name: str
    value: Any
    returned: Any
    rounded: bool


class Conflict(NamedTuple):
    """A document of the source that was not as expected. `document`: None if it was missing."""

    collection: str
    source_id: bytes
    document: bytes | None
    expected: bool


def read_intentions(connection: Connection, namespace: Namespace) -> dict[DocumentKey, set[bytes | None]]:
    """Return the digests of the documents that an interrupted batch was about to write."""
    found: dict[DocumentKey, set[bytes | None]] = defaultdict(set)
    query = namespace.sql("SELECT collection, source_id, digest FROM {intended}")
    for name, source_id, digest in connection.execute(query, binary=True):
        found[name, bytes(source_id)].add(None if digest is None else bytes(digest))
    return found


def read_intended_rows(connection: Connection, namespace: Namespace) -> set[tuple[str, str]]:
    """Return the rows of these documents: (collection, ID)."""
    query = namespace.sql(
        "SELECT DISTINCT l.collection, l.target_id FROM {intended} i JOIN {ledger} l USING (collection, source_id)"
        " WHERE l.outcome = 'loaded'"
    )
    return set(connection.execute(query).fetchall())


def add_intentions(connection: Connection, namespace: Namespace, intentions: Iterable[Intention]) -> None:
    """Store which documents are about to be written."""
    found = list(intentions)
    query = namespace.sql(
        "INSERT INTO {intended} (collection, source_id, digest)"
        " SELECT * FROM unnest(%s::text[], %b::bytea[], %b::bytea[])"
    )
    columns = ([e.collection for e in found], [e.source_id for e in found], [e.digest for e in found])
    connection.execute(query, columns)


def remove_intentions(connection: Connection, namespace: Namespace, documents: Iterable[DocumentKey]) -> None:
    """Forget the intentions about documents that are written."""
    found = list(documents)
    query = namespace.sql(
        "DELETE FROM {intended} i USING unnest(%s::text[], %b::bytea[]) AS d (collection, source_id)"
        " WHERE i.collection = d.collection AND i.source_id = d.source_id"
    )
    connection.execute(query, ([name for name, _ in found], [source_id for _, source_id in found]))


def update_residues(
    connection: Connection, namespace: Namespace, residues: Iterable[tuple[str, str, bytes | None]]
) -> None:
    """Set the residues of loaded documents: (collection, ID of the row, residue)."""
    found = list(residues)
    query = namespace.sql(
        "UPDATE {ledger} l SET residue = c.residue FROM unnest(%s::text[], %s::text[], %b::bytea[])"
        " AS c (collection, target_id, residue) WHERE l.collection = c.collection AND l.target_id = c.target_id"
        " AND l.outcome = 'loaded' AND l.residue IS DISTINCT FROM c.residue"
    )
    connection.execute(query, ([e[0] for e in found], [e[1] for e in found], [e[2] for e in found]))


def forget_documents(connection: Connection, namespace: Namespace, gone: Iterable[tuple[str, bytes, str]]) -> None:
    """Delete the records about documents that are deleted: (collection, source_id, ID of the row)."""
    found = list(gone)
    if not found:
        return
    given = sql.SQL(
        "unnest(%s::text[], %b::bytea[], %s::text[]) AS g (collection, source_id, target_id)"
        " WHERE t.collection = g.collection AND t.source_id = g.source_id"
    )
    listed = sql.SQL(
        "unnest(%s::text[], %b::bytea[], %s::text[]) AS g (collection, source_id, target_id)"
        " WHERE split_part(t.collection, '.', 1) = g.collection"
    )
    columns = ([e[0] for e in found], [e[1] for e in found], [e[2] for e in found])
    for statement in (
        namespace.sql("DELETE FROM {ledger} t USING {given} AND t.target_id = g.target_id", given=given),
        namespace.sql("DELETE FROM {findings} t USING {given}", given=given),
        namespace.sql("DELETE FROM {wants} t USING {given}", given=given),
        namespace.sql("DELETE FROM {links} t USING {listed} AND t.lister = g.target_id", listed=listed),
        namespace.sql("DELETE FROM {aliases} t USING {listed} AND t.target = g.target_id", listed=listed),
        namespace.sql("DELETE FROM {given_ids} t USING {listed} AND t.target_id = g.target_id", listed=listed),
    ):
        connection.execute(statement, columns)


def replace_unreturned(
    connection: Connection,
    namespace: Namespace,
    rows: Iterable[tuple[str, str, list[str]]],
    values: Iterable[Unreturned],
) -> None:
    """Replace what is recorded for some rows: (collection, ID, columns whose record stays)."""
    keys, found = list(rows), list(values)
    query = namespace.sql(
        "DELETE FROM {unreturned} u USING unnest(%s::text[], %s::text[], %s::text[])"
        " AS k (collection, target_id, kept) WHERE u.collection = k.collection AND u.target_id = k.target_id"
        " AND u.column_name <> ALL(string_to_array(k.kept, ','))"
    )
    columns = ([name for name, _, _ in keys], [row_id for _, row_id, _ in keys], [",".join(kept) for *_, kept in keys])
    connection.execute(query, columns)
    query = namespace.sql(
        "INSERT INTO {unreturned} (collection, source_id, target_id, column_name, value, returned, rounded)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)"
    )
    with connection.cursor() as cursor:
        cursor.executemany(query, found)


def add_conflicts(connection: Connection, namespace: Namespace, conflicts: Iterable[Conflict]) -> None:
    """Keep documents that were not as expected."""
    query = namespace.sql("INSERT INTO {conflicts} (collection, source_id, document, expected) VALUES (%s, %s, %s, %s)")
    with connection.cursor() as cursor:
        cursor.executemany(query, list(conflicts))


def mark_dirty(connection: Connection, namespace: Namespace, documents: Iterable[DocumentKey]) -> None:
    """Make documents dirty: after a switch back they are resolved again, as a new run would. Requires a transaction."""
    found = list(dict.fromkeys(documents))
    query = namespace.sql(
        "WITH n AS (UPDATE {sync} SET received = received + %(count)s RETURNING received)"
        " INSERT INTO {dirty} (key, collection, source_id, number, cluster_time)"
        " SELECT d.key, d.collection, d.source_id, n.received - %(count)s + d.place, 0 FROM n,"
        " unnest(%(keys)b::bytea[], %(names)s::text[], %(ids)b::bytea[]) WITH ORDINALITY"
        " AS d (key, collection, source_id, place)"
        " ON CONFLICT (key) DO UPDATE SET number = excluded.number, document = NULL"
    )
    values = {
        "count": len(found),
        "keys": [key_of(*each) for each in found],
        "names": [name for name, _ in found],
        "ids": [source_id for _, source_id in found],
    }
    connection.execute(query, values)


def count_returned(connection: Connection, namespace: Namespace, number: int) -> None:
    """Count changes that are returned."""
    connection.execute(namespace.sql("UPDATE {sync} SET applied = applied + %s"), (number,))
