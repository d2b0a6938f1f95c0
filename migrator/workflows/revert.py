"""`migrate revert`: undoes the migration and keeps all other data.

It deletes the rows and the tenant of the migration, undoes its schema changes and drops its records, in one
transaction: the target is either restored or unchanged. The tables are locked until its end, so that other applications
cannot add references to rows that are being deleted. One exception: an index of the owner that cannot hold the migrated
rows is recreated after this transaction, because PostgreSQL would put the deleted rows into it. Its record stays until
then, so an interrupted revert resumes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from psycopg import sql

from migrator.embedding import vector_indexes
from migrator.errors import RevertRefusedError, UsageError
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.formatting import format_count
from migrator.mapping.loader import MigrationDefinition
from migrator.postgres import foreign_keys, schema_changes, schema_undo
from migrator.postgres.session import owner_search_path
from migrator.postgres.table_names import name_of
from migrator.provenance import backup
from migrator.provenance.losses import MEANINGS, Loss
from migrator.provenance.owned_rows import TABLE, OwnedRows, affected_relations
from migrator.reversing import capture, write_stop
from migrator.state import journal, scratch, sequences, sync
from migrator.state.ledger import count_outcomes
from migrator.state.records import RECORDS, Connection, Namespace, has_records
from migrator.state.suspension import resume_in_transaction, suspend_in_transaction
from migrator.workflows.reverse import count_waiting

STEP = "revert"
SHOWN_IDS = 10  # per kind and table


@dataclass(frozen=True, slots=True, kw_only=True)
class RevertReport:
    """The output of `migrate revert`, before and after it: see contract.md, JSON shapes.

    `tables`: rows to delete, or deleted. `objects`: schema objects to drop, by kind; `restored`: those to recreate.
    `tenant`: the tenant to delete. `records`: documents in the ledger, by outcome. `losses`: rows of other applications
    that would be deleted or changed. `saved`: lines per backup file.
    """

    run: int
    status: str
    tables: dict[str, int]
    objects: dict[str, int] = field(default_factory=dict)
    restored: dict[str, int] = field(default_factory=dict)
    tenant: str | None = None
    records: dict[str, int] = field(default_factory=dict)
    losses: tuple[Loss, ...] = ()
    saved: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "losses": [loss.as_json() for loss in self.losses]}


@dataclass(frozen=True, slots=True, kw_only=True)
class RevertOptions:
    """`force`: also delete rows of other applications that depend on the migration. `save`: first write them here."""

    force: bool = False
    save: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverter:
    """Reverts the migration in one namespace."""

    connection: Connection
    definition: MigrationDefinition
    namespace: Namespace = field(default_factory=Namespace)

    def survey(self) -> RevertReport:
        """Return what a revert would do, without changes. Raises: `UsageError` if there is no migration."""
        connection, namespace = self.connection, self.namespace
        latest = journal.latest_run(connection, namespace) if has_records(connection, namespace) else None
        changes = schema_changes.read(connection)
        if latest is None and not changes:
            raise UsageError("the target contains no migration to revert", hint="Check `url` under [target].")
        outcomes = count_outcomes(connection, namespace).values() if latest else ()
        with begin_transaction(connection, rollback=True):
            owned = OwnedRows(connection, namespace, self.definition)
            return RevertReport(
                run=latest[0] if latest else 0,
                status=latest[1] if latest else "stopped",
                tables=count_rows(owned),
                objects=dict(Counter(each.kind for each in changes if each.action == "created")),
                restored=dict(Counter(each.kind for each in changes if each.action == "deferred")),
                tenant=owned.tenant,
                records={
                    name: sum(getattr(each, name) for each in outcomes) for name in ("loaded", "rejected", "archived")
                },
                losses=tuple(owned.losses()),
            )

    def revert(self, found: RevertReport, options: RevertOptions, emit: Emit) -> RevertReport:
        """Undo the migration. `found` is the result of `survey`; the rows to delete are determined again.

        Raises: `RevertRefusedError` if rows of other applications would be deleted (unless `force`), or if objects of
        other applications depend on objects of the migration; `StoppedError` if a lock is not available.
        """
        connection = self.connection
        emit(StepStarted(step=STEP, total=5, unit="steps"))
        advanced = sequences.read_advanced(connection, self.namespace)
        with schema_changes.translate_errors(), begin_transaction(connection):
            foreign_keys.lock_tables(connection, affected_relations(connection, self.namespace, self.definition))
            emit(StepAdvanced(step=STEP, done=1))
            owned = OwnedRows(connection, self.namespace, self.definition)
            losses = owned.losses()
            if not options.force:
                refuse_in_use(connection, self.namespace)
                refuse_losses(losses)
            saved = backup.write(owned, losses, options.save) if options.save is not None and losses else {}
            emit(StepAdvanced(step=STEP, done=2))
            deleted = count_rows(owned)
            schema_undo.drop_tables(connection)
            emit(StepAdvanced(step=STEP, done=3))
            delete_rows(connection, owned)
            emit(StepAdvanced(step=STEP, done=4))
            self._drop_objects()
        sequences.set_back(connection, advanced)
        if schema_changes.has_deferred(connection):
            schema_undo.recreate_deferred(connection)
            with begin_transaction(connection):
                schema_undo.drop_records(connection)
        emit(StepFinished(step=STEP, note=f"{format_count(sum(deleted.values()), 'rows')} deleted"))
        return replace(found, status="reverted", tables=deleted, losses=tuple(losses), saved=saved)

    def _drop_objects(self) -> None:
        """Undo the schema changes and drop the records, and what an interrupted `verify` left behind."""
        connection, namespace = self.connection, self.namespace
        if self.definition.embedded is not None:
            vector_indexes.drop_leftovers(connection, namespace, self.definition.embedded)
        connection.execute(namespace.sql("DROP TABLE IF EXISTS {embeddings}"))  # it prevents dropping the extension
        schema_undo.drop_created(connection, drop_rows=True)
        scratch.drop(connection)
        capture.remove(connection, namespace)
        write_stop.remove(connection, namespace, self.definition.mappings.values())
        for name in RECORDS:
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(namespace.records, name)))
        if not schema_changes.has_deferred(connection):
            schema_undo.drop_records(connection)


@contextmanager
def begin_transaction(connection: Connection, *, rollback: bool = False) -> Iterator[None]:
    """Begin a transaction that does not wait long for locks. Rows hidden by row-level security cause an error."""
    with connection.transaction(force_rollback=rollback):
        schema_changes.limit_lock_wait(connection)
        connection.execute("SET LOCAL row_security = off")
        yield


def refuse_in_use(connection: Connection, namespace: Namespace) -> None:
    """Raises: `RevertRefusedError` if the application has been switched to the target."""
    if has_records(connection, namespace) and sync.read_state(connection, namespace) == sync.SWITCHED:
        waiting = count_waiting(connection, namespace)
        raise RevertRefusedError(
            f"the application uses PostgreSQL, and {format_count(waiting, 'changed rows')} were not brought back to"
            " MongoDB",
            hint="`migrate cutover --back` switches it back and loses nothing; then revert. With `--force`, what was"
            " not brought back is lost, and MongoDB does not expire documents (TTL indexes) any more.",
            details={"waiting": waiting},
        )


def refuse_losses(losses: Sequence[Loss]) -> None:
    """Raises: `RevertRefusedError` with tables, IDs and reasons if there are losses."""
    if losses:
        raise RevertRefusedError(
            "revert would delete rows not created by the migration:\n"
            + "\n".join(f"  {each}" for each in describe_losses(losses)),
            hint="Move these rows elsewhere first, or use `--force --save DIR` to write them to files and delete them.",
            details={"losses": [loss.as_json() for loss in losses]},
        )


def describe_losses(losses: Sequence[Loss]) -> Iterator[str]:
    """Yield a line for each table and reason, with the first IDs."""
    for loss in losses:
        more = f" and {loss.count - SHOWN_IDS:,} more" if loss.count > SHOWN_IDS else ""
        ids = ", ".join(loss.ids[:SHOWN_IDS])
        yield f"{loss.relation.label}: {loss.count:,} {MEANINGS[loss.kind]}: {ids}{more}"


def count_rows(owned: OwnedRows) -> dict[str, int]:
    """Return table → rows to delete, including tables without rows."""
    mapped = {name_of(mapping.table) for mapping in owned.definition.mappings.values()}
    counts = {relation.label: 0 for relation in owned.tables if relation.label in mapped}
    for relation, kinds in owned.count().items():
        counts[relation.label] = sum(count for kind, count in kinds.items() if kind != "set_null")
    return counts


def delete_rows(connection: Connection, owned: OwnedRows) -> None:
    """Delete the rows from tables that are kept, in one statement, because foreign keys are checked at its end."""
    relations = [relation for relation in owned.count() if relation not in owned.created_tables]
    if not relations:
        return
    deletions = [
        sql.SQL(
            "{} AS (DELETE FROM {} t USING {} b WHERE b.relation OPERATOR(pg_catalog.=) t.tableoid"
            " AND b.row_ctid OPERATOR(pg_catalog.=) t.ctid AND b.kind OPERATOR(pg_catalog.<>) 'set_null')"
        ).format(sql.Identifier(f"d{number}"), relation.identifier, TABLE)
        for number, relation in enumerate(relations)
    ]
    suspended = suspend_in_transaction(connection, [relation.label for relation in relations])
    if suspended:
        set_references_null(connection, owned)  # the foreign keys do not do it while triggers are suspended
    with owner_search_path(connection):
        connection.execute(sql.SQL("WITH {} SELECT").format(sql.SQL(", ").join(deletions)))
    if suspended:
        resume_in_transaction(connection)


def set_references_null(connection: Connection, owned: OwnedRows) -> None:
    """Set the references of kept rows to deleted rows to NULL."""
    for key in owned.keys:
        if not key.sets_null or key.child in owned.created_tables or key.parent in owned.created_tables:
            continue
        query = sql.SQL(
            "UPDATE {child} t SET {columns} FROM {parent} p, {table} g WHERE {condition}"
            " AND g.relation OPERATOR(pg_catalog.=) p.tableoid AND g.row_ctid OPERATOR(pg_catalog.=) p.ctid"
            " AND g.kind OPERATOR(pg_catalog.<>) 'set_null'"
            " AND NOT EXISTS (SELECT FROM {table} c WHERE c.relation OPERATOR(pg_catalog.=) t.tableoid"
            " AND c.row_ctid OPERATOR(pg_catalog.=) t.ctid AND c.kind OPERATOR(pg_catalog.<>) 'set_null')"
        ).format(
            child=key.child.identifier,
            parent=key.parent.identifier,
            table=TABLE,
            condition=key.condition("t", "p"),
            columns=sql.SQL(", ").join(sql.SQL("{} = NULL").format(sql.Identifier(name)) for name in key.child_columns),
        )
        with owner_search_path(connection):
            connection.execute(query)
