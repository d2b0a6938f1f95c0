"""Makes the keys of documents that a load did without, and undoes the batches whose documents violate them.

The load then reads these batches again. This time, the key tells which documents have IDs of others. Reconciliation
decides between them, as always.
"""

from __future__ import annotations

from collections.abc import Set

import psycopg
from psycopg import sql
from sqlalchemy import MetaData

from migrator.errors import DifferenceError
from migrator.mapping.collection import Collection
from migrator.postgres import late_keys, schema_changes
from migrator.postgres.session import give_build_memory
from migrator.postgres.statements import Ref, Statement
from migrator.postgres.table_names import name_of
from migrator.reconciliation.restart import undo_batches
from migrator.stages.context import StageContext
from migrator.state import partitions
from migrator.state.own_transactions import record_transaction


def make_document_keys(
    stage: StageContext, metadata: MetaData, collections: list[Collection], late: Set[Ref]
) -> dict[str, int]:
    """Make those of the keys `late` that the tables of loaded collections lack.

    Returns the number of batches to load again, by collection: they were undone, because their documents have IDs of
    others.

    Raises: `DifferenceError` if other clients have written rows with these IDs; `StoppedError` if a lock is not
    available; `TargetError`.
    """
    tables = {name_of(each.table): each for each in collections}
    wanted = frozenset(ref for ref in late if ref.table in tables)
    missing = late_keys.read_missing(stage.connection, metadata, wanted)
    if missing:
        give_build_memory(stage.connection)
    undone = {}
    for key in missing:
        try:
            late_keys.make(stage.connection, key)
        except psycopg.errors.UniqueViolation:
            undone[tables[key.table].name] = _make_without_duplicates(stage, key, tables[key.table])
    return undone


def _make_without_duplicates(stage: StageContext, key: Statement, collection: Collection) -> int:
    """Undo batches whose documents violate a key, and make it, in one transaction; return the number of batches."""
    connection, namespace = stage.connection, stage.namespace
    with schema_changes.translate_errors(), connection.transaction():
        record_transaction(connection, namespace)
        schema_changes.limit_lock_wait(connection)
        query = sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE")
        connection.execute(query.format(stage.rows.table(collection)))
        written = _find_writers(stage, key, collection)
        undone = partitions.find_following(connection, namespace, collection.name, written)
        if not written or not written <= undone:
            raise DifferenceError(
                f"rows of table {key.table} have the same {', '.join(key.columns)}, and the migration has not written"
                " all of them",
                hint="Another client has written to this table during the load. Delete its rows, then run the same"
                " command again.",
            )
        undo_batches(stage.rows, collection, undone)
        late_keys.make(connection, key)
    return len(undone)


def _find_writers(stage: StageContext, key: Statement, collection: Collection) -> set[str]:
    """Return the transactions (`xmin`) that wrote the rows which violate a key; of equal rows, the first one stays."""
    query = stage.namespace.sql(
        "SELECT DISTINCT writer FROM ("
        " SELECT t.xmin::text AS writer, row_number() OVER (PARTITION BY {keys} ORDER BY b.committed NULLS FIRST) AS n"
        " FROM {table} t LEFT JOIN {batches} b ON b.xmin = t.xmin AND b.collection = %s"
        " WHERE ({keys}) IN (SELECT {keys} FROM {table} t GROUP BY {keys} HAVING count(*) > 1)) f WHERE n > 1",
        keys=sql.SQL(", ").join(sql.Identifier("t", name) for name in key.columns),
        table=stage.rows.table(collection),
    )
    return {writer for (writer,) in stage.connection.execute(query, (collection.name,))}
