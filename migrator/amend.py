"""Changes to rows that are loaded already, with ledger, residue and findings in step. Callers open the transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from migrator import journal
from migrator.context import Row
from migrator.copying import copy
from migrator.encode import finding_tuple, spell_id
from migrator.exact import decode, whole_of
from migrator.handover import Finding
from migrator.journal import Place
from migrator.mapping import Collection
from migrator.readback import read_loaded
from migrator.resolve import for_sql
from migrator.translate import rebuild, residue_of

Connection = psycopg.Connection[Any]
AT_ONCE = 1000


LEDGER_INDEXES: tuple[LiteralString, ...] = (
    "CREATE INDEX IF NOT EXISTS ledger_target_idx ON {ledger} (collection, target_id)",
    # A hash, for an `_id` may be of any length, and no B-tree takes more than 2,704 bytes.
    "CREATE INDEX IF NOT EXISTS ledger_source_idx ON {ledger} USING hash (source_id)",
)


def ensure_ledger_index(connection: Connection, place: Place) -> None:
    """The ways to a ledger entry, by row and by `_id`; made when first needed: every load after pays for them."""
    for statement in LEDGER_INDEXES:
        connection.execute(place.sql(statement))


def change_rows(
    connection: Connection,
    place: Place,
    mappings: Mapping[str, Collection],
    collection: Collection,
    changes: Mapping[Any, Row],
    code: str | None,
) -> None:
    """Gives rows (by plain id) other column values; what these no longer give back goes to the residue.

    With a `code`, each changed document gets a finding."""
    journal.sign(connection, place)
    ids = [spell_id(row_id) for row_id in changes]
    findings = []
    for source_id, row, kept in list(read_loaded(connection, place, mappings, collection, ids)):
        row_id = row[collection.key.column]
        change = changes[row_id]
        document = rebuild(collection, decode(source_id), row, kept)
        residue = residue_of(collection, document, {**row, **change}) if whole_of(kept) is None else kept
        update_row(connection, place, collection, row_id, change)
        query = place.sql("UPDATE {ledger} SET residue = %s WHERE collection = %s AND target_id = %s")
        connection.execute(query, (residue, collection.name, spell_id(row_id)))
        if code is not None:
            findings.append(
                Finding(collection=collection.name, code=code, source_id=source_id, detail=", ".join(change))
            )
    add_findings(connection, place, findings)


def update_row(connection: Connection, place: Place, collection: Collection, row_id: Any, change: Row) -> None:
    """Sets columns of one row; values are plain (ids and numbers)."""
    assignments = [sql.SQL("{} = %s").format(sql.Identifier(name)) for name in change]
    query = sql.SQL("UPDATE {} SET {} WHERE {} = %s").format(
        place.table(collection.table.name),
        sql.SQL(", ").join(assignments),
        sql.Identifier(collection.key.column),
    )
    connection.execute(query, (*map(for_sql, change.values()), for_sql(row_id)))


def add_findings(connection: Connection, place: Place, findings: Iterable[Finding]) -> None:
    copy(connection, place.sql("{findings}"), [finding_tuple(finding) for finding in findings])
