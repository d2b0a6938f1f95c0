"""Expands a marker, a dirty key that stands for a whole collection, to the keys of its documents.

A collection is marked when it was dropped or renamed, and when events were lost. Its documents are those of the ledger
and those of the source now; what no longer exists is found when it is looked up.
"""

from __future__ import annotations

from typing import Any, Final

from migrator.errors import StoppedError
from migrator.sources.base import ChangingSource
from migrator.state import dirty
from migrator.state.dirty import WHOLE_COLLECTION, DirtyKey, key_of
from migrator.state.records import Connection, Namespace

MAX_DROPPED_SHARE: Final = 0.1  # of all documents; more are deleted with --accept-drop only


def expand_marker(
    connection: Connection, namespace: Namespace, source: ChangingSource, marker: DirtyKey, *, accept_drop: bool = False
) -> int:
    """Make every document of a marked collection dirty and delete the marker, in one transaction. Return their number.

    Memory is bounded: the IDs are collected in a temporary table. The documents of the keys are NULL: look them up. A
    key with a newer event than the marker stays as it is. `accept_drop`: also if much of the target will be deleted.

    Raises:
        StoppedError: more than a tenth of all documents would be deleted.
        SourceError: the source cannot be read.
    """
    names = list(source.names_of(marker.collection))
    description = source.describe_collection(names[0])
    with connection.transaction():
        connection.execute("CREATE TEMPORARY TABLE marked (key bytea, source_id bytea)")
        _collect_source(connection, source, marker.collection)
        gone = _collect_ledger(connection, namespace, marker.collection, names)
        if not accept_drop and gone:
            _limit_drop(connection, namespace, source, marker.collection, gone)
        dirty.lock(connection, namespace)
        count = _insert(connection, namespace, marker)
        if description is None:
            query = namespace.sql("DELETE FROM {metadata} WHERE collection = ANY(%s) AND origin IS NULL")
            connection.execute(query, (names,))
        query = namespace.sql("DELETE FROM {dirty} WHERE key = %s AND number = %s")
        connection.execute(query, (key_of(marker.collection, WHOLE_COLLECTION), marker.number))
        connection.execute("DROP TABLE marked")
    return count


def _collect_source(connection: Connection, source: ChangingSource, collection: str) -> None:
    with connection.cursor() as cursor, cursor.copy("COPY marked FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["bytea", "bytea"])
        for source_id in source.read_ids(collection):
            copy.write_row((key_of(collection, source_id), source_id))


def _collect_ledger(connection: Connection, namespace: Namespace, collection: str, names: list[str]) -> int:
    """Add the documents of the ledger and those that are dirty already. Return how many the source no longer has.

    `names`: those that the collection has in the ledger.
    """
    known = namespace.sql(
        "INSERT INTO marked SELECT key, source_id FROM (SELECT DISTINCT source_id,"
        " sha256(convert_to(%(name)s, 'UTF8') || '\\x00'::bytea || source_id) AS key FROM {ledger}"
        " WHERE collection = ANY(%(names)s)) l WHERE NOT EXISTS (SELECT FROM marked m WHERE m.key = l.key)"
    )
    gone = connection.execute(known, {"name": collection, "names": names}).rowcount
    dirty = namespace.sql(
        "INSERT INTO marked SELECT key, source_id FROM {dirty} WHERE collection = %s AND source_id <> ''"
    )
    connection.execute(dirty, (collection,))
    return gone


def _limit_drop(
    connection: Connection, namespace: Namespace, source: ChangingSource, collection: str, gone: int
) -> None:
    """Raise `StoppedError` if too many documents are gone: those of this collection and of others that were dropped."""
    exist = set(source.list_collections())
    query = namespace.sql(
        "SELECT count(*), count(*) FILTER (WHERE collection = ANY(%s)) FROM {ledger} WHERE collection IN"
        " (SELECT collection FROM {metadata} WHERE origin IS NULL)"
    )
    marked = namespace.sql("SELECT collection FROM {dirty} WHERE source_id = ''")
    others = [name for (name,) in connection.execute(marked) if name != collection]
    dropped = [name for name in others if exist.isdisjoint(source.names_of(name))]
    recorded = [each for name in dropped for each in source.names_of(name)]
    row: Any = connection.execute(query, (recorded,)).fetchone()
    total, more = row
    if gone + more > MAX_DROPPED_SHARE * total:
        names = ", ".join(sorted([collection, *dropped])[:5])
        raise StoppedError(
            f"{gone + more:,} of {total:,} documents no longer exist in the source, because collections were"
            f" dropped or renamed ({names}); applying this would delete their rows in the target",
            "If it is intended, run the same command with --accept-drop. Otherwise restore the collections first.",
        )


def _insert(connection: Connection, namespace: Namespace, marker: DirtyKey) -> int:
    """Insert the keys of the collected documents with the number of the marker, and return their number.

    A key with an older event gets that number as well, so that an applier which has read it does not delete it.
    """
    query = namespace.sql(
        "INSERT INTO {dirty} AS d (key, collection, source_id, number, cluster_time)"
        " SELECT DISTINCT ON (m.key) m.key, %(name)s, m.source_id, %(number)s, coalesce("
        "(SELECT cluster_time FROM {dirty} WHERE number = %(number)s AND source_id = '' LIMIT 1), 0)"
        " FROM marked m ORDER BY m.key"
        " ON CONFLICT (key) DO UPDATE SET number = excluded.number, cluster_time = excluded.cluster_time,"
        " transaction_number = NULL, document = NULL WHERE d.number < excluded.number"
    )
    return connection.execute(query, {"name": marker.collection, "number": marker.number}).rowcount
