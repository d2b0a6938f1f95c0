"""Takes a migration back, and only the migration: its rows, its tenant, what it changed in the schema, its records.

One transaction: either the target is as it was before, or nothing has happened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql
from sqlalchemy import ForeignKeyConstraint, MetaData, Table

from migrator import journal, objects
from migrator.concrete import Concrete
from migrator.errors import RevertRefusedError, UsageError
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.journal import RECORDS, Connection, Place
from migrator.mapping import Collection
from migrator.tenancy import STEP as TENANT_STEP

PLACE = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevertReport:
    """What `migrate revert` prints: see contract.md, JSON shapes."""

    run: int
    status: str
    tables: dict[str, int]

    def as_json(self) -> dict[str, object]:
        return {"run": self.run, "status": self.status, "tables": self.tables}


def survey(connection: Connection, concrete: Concrete) -> RevertReport:
    """What a revert would remove. Raises `UsageError` where there is no migration."""
    latest = journal.latest_run(connection, PLACE) if journal.has_records(connection, PLACE) else None
    if latest is None and not objects.read(connection):
        raise UsageError("there is no migration in this target to take back", hint="Check [target] url.")
    counts = journal.count_outcomes(connection, PLACE) if latest else {}
    tables: dict[str, int] = {}
    for name, outcome in counts.items():
        if name in concrete.mappings:
            table = concrete.mappings[name].table.name
            tables[table] = tables.get(table, 0) + outcome.loaded
    return RevertReport(run=latest[0] if latest else 0, status=latest[1] if latest else "stopped", tables=tables)


def revert(connection: Connection, concrete: Concrete, *, force: bool, emit: Emit) -> RevertReport:
    """Removes everything the migration brought.

    Errors: `RevertRefusedError` where rows of others would go with it (unless `force`), or where objects of others
    depend on what must go.
    """
    report = survey(connection, concrete)
    emit(StepStarted(step="revert", total=len(report.tables), unit="tables"))
    with connection.transaction():
        if journal.has_records(connection, PLACE):
            if not force:
                refuse_losses(connection, concrete)
            remove_rows(connection, concrete, emit)
        # What is left in tables of ours was let go by `force`; without it there is nothing left.
        objects.drop_created(connection, drop_rows=force)
        for name in RECORDS:
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(PLACE.records, name)))
        objects.drop_records(connection)
    emit(StepFinished(step="revert", note=f"{sum(report.tables.values()):,} rows removed"))
    return RevertReport(run=report.run, status="reverted", tables=report.tables)


def refuse_losses(connection: Connection, concrete: Concrete) -> None:
    """Rows that the migration did not bring, but that a revert would delete or leave without what they refer to."""
    lines = list(find_losses(connection, concrete.metadata, concrete.mappings))
    if lines:
        raise RevertRefusedError(
            "rows written since the migration depend on it:\n" + "\n".join(f"  {line}" for line in lines),
            hint="Move these rows elsewhere first; `--force` removes them with the migration.",
        )


def find_losses(connection: Connection, metadata: MetaData, mappings: Mapping[str, Collection]) -> Iterator[str]:
    brought = {mapping.table.name: name for name, mapping in mappings.items()}
    for table in metadata.sorted_tables:
        for constraint in table.foreign_key_constraints:
            parent = constraint.elements[0].column.table
            if parent.name in brought and _exists(connection, table) and _exists(connection, parent):
                found = connection.execute(*_dependants(table, constraint, brought)).fetchone()
                if found and found[0]:
                    column = constraint.elements[0].parent.name
                    yield f"{table.name}.{column} → {parent.name}: {found[0]:,} rows, e.g. {found[1]}"


def _exists(connection: Connection, table: Table) -> bool:
    query = "SELECT to_regclass(quote_ident(%s) || '.' || quote_ident(%s)) IS NOT NULL"
    return connection.execute(query, (PLACE.rows, table.name)).fetchone() == (True,)


def _dependants(
    table: Table, constraint: ForeignKeyConstraint, brought: Mapping[str, str]
) -> tuple[sql.Composed, dict[str, str]]:
    """Rows of others that refer to rows of ours."""
    parent = constraint.elements[0].column.table.name
    query = PLACE.sql(
        "SELECT count(*), min(c.id::text) FROM {child} c JOIN {parent} p ON p.id = c.{column}"
        " WHERE EXISTS (SELECT FROM {ledger} l WHERE l.collection = %(parent)s AND l.target_id = p.id::text)"
        " AND NOT EXISTS (SELECT FROM {ledger} l WHERE l.collection = %(child)s AND l.target_id = c.id::text)",
        child=PLACE.table(table.name),
        parent=PLACE.table(parent),
        column=sql.Identifier(constraint.elements[0].parent.name),
    )
    return query, {"parent": brought[parent], "child": brought.get(table.name, "")}


def remove_rows(connection: Connection, concrete: Concrete, emit: Emit) -> None:
    """Deletes what the ledger says was loaded, children before parents; and the tenant, if it was made here."""
    order = [table.name for table in reversed(concrete.metadata.sorted_tables)]
    mappings = sorted(concrete.mappings.values(), key=lambda mapping: order.index(mapping.table.name))
    for done, mapping in enumerate(mappings, start=1):
        if _exists(connection, mapping.table):
            query = PLACE.sql(
                "DELETE FROM {table} t USING {ledger} l WHERE l.collection = %s AND l.outcome = 'loaded'"
                " AND l.target_id = t.{key}::text",
                table=PLACE.table(mapping.table.name),
                key=sql.Identifier(mapping.key.column),
            )
            connection.execute(query, (mapping.name,))
        emit(StepAdvanced(step="revert", done=done))
    remove_tenant(connection, concrete.metadata)


def remove_tenant(connection: Connection, metadata: MetaData) -> None:
    """The tenant's row, unless it was there before or rows of others belong to it by now."""
    detail = journal.step_detail(connection, PLACE, TENANT_STEP)
    if not detail or not detail["created"]:
        return
    tables = [table for table in metadata.sorted_tables if "tenant_id" in table.c and _exists(connection, table)]
    used = sql.SQL(" OR ").join(
        sql.SQL("EXISTS (SELECT FROM {} WHERE tenant_id = t.id)").format(PLACE.table(table.name)) for table in tables
    )
    query = sql.SQL("DELETE FROM {} t WHERE t.id = %s AND NOT ({})").format(PLACE.table("tenants"), used)
    connection.execute(query, (detail["id"],))
