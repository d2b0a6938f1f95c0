"""Takes a migration back, and only the migration: its rows, its tenant, what it changed in the schema, its records.

One transaction: either the target is as it was before, or nothing has happened. Until it ends nobody else writes in the
tables, so that what was found before (rows of others that depend on ours, rows changed since) is all there is.
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
from migrator.mapping.loader import MigrationDefinition
from migrator.postgres import foreign_keys, schema_changes
from migrator.provenance import backup
from migrator.provenance.owned_rows import MEANINGS, TABLE, Loss, OwnedRows, affected_relations
from migrator.state import journal, scratch
from migrator.state.ledger import count_outcomes
from migrator.state.records import RECORDS, Connection, Namespace, has_records

PLACE = Namespace()
STEP = "revert"
SHOWN = 10  # ids of one kind in one table


@dataclass(frozen=True, slots=True, kw_only=True)
class RevertReport:
    """What `migrate revert` shows before and prints after: see contract.md, JSON shapes.

    `tables`: rows to remove, or removed. `objects`: the same of the schema, by kind; `restored`: what was put aside.
    `tenant`: the one that goes. `records`: documents that the ledger accounts for, by outcome.
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
        told = {name: getattr(self, name) for name in self.__slots__}
        return {**told, "losses": [loss.as_json() for loss in self.losses]}


def survey(connection: Connection, definition: MigrationDefinition) -> RevertReport:
    """What a revert would do, and lose; changes nothing. Raises `UsageError` where there is no migration."""
    latest = journal.latest_run(connection, PLACE) if has_records(connection, PLACE) else None
    changes = schema_changes.read(connection)
    if latest is None and not changes:
        raise UsageError("there is no migration in this target to take back", hint="Check [target] url.")
    outcomes = count_outcomes(connection, PLACE).values() if latest else ()
    with transaction(connection, keep=False):
        belongings = OwnedRows(connection, PLACE, definition)
        return RevertReport(
            run=latest[0] if latest else 0,
            status=latest[1] if latest else "stopped",
            tables=count_rows(belongings),
            objects=dict(Counter(each.kind for each in changes if each.action == "created")),
            restored=dict(Counter(each.kind for each in changes if each.action == "deferred")),
            tenant=belongings.tenant,
            records={
                name: sum(getattr(each, name) for each in outcomes) for name in ("loaded", "rejected", "archived")
            },
            losses=tuple(belongings.losses()),
        )


def revert(
    connection: Connection,
    definition: MigrationDefinition,
    found: RevertReport,
    *,
    force: bool,
    save: Path | None,
    emit: Emit,
) -> RevertReport:
    """Removes everything the migration brought. `found` is what `survey` said; it is looked up again.

    With `force` also rows of others that depend on it; `save` is where these are written to first.
    Errors: `RevertRefusedError` where rows would be lost (unless `force`), or where objects of others depend on what
    must go; `StoppedError` where somebody else holds a lock.
    """
    emit(StepStarted(step=STEP, total=5, unit="steps"))
    with schema_changes.translate_errors(), transaction(connection):
        foreign_keys.lock_tables(connection, affected_relations(connection, PLACE, definition))
        emit(StepAdvanced(step=STEP, done=1))
        belongings = OwnedRows(connection, PLACE, definition)
        losses = belongings.losses()
        if not force:
            refuse_losses(losses)
        saved = backup.write(belongings, losses, save) if save is not None and losses else {}
        emit(StepAdvanced(step=STEP, done=2))
        removed = count_rows(belongings)
        schema_changes.drop_tables(connection)
        emit(StepAdvanced(step=STEP, done=3))
        remove_rows(connection, belongings)
        emit(StepAdvanced(step=STEP, done=4))
        if definition.embedded is not None:
            vector_indexes.drop_leftovers(connection, PLACE, definition.embedded)
        connection.execute(PLACE.sql("DROP TABLE IF EXISTS {embeddings}"))  # else the extension could not go
        schema_changes.drop_created(connection, drop_rows=True)
        drop_records(connection)
    emit(StepFinished(step=STEP, note=f"{sum(removed.values()):,} rows removed"))
    return replace(found, status="reverted", tables=removed, losses=tuple(losses), saved=saved)


@contextmanager
def transaction(connection: Connection, *, keep: bool = True) -> Iterator[None]:
    """Waits for no lock for long; rows that row security would hide are an error, not overlooked."""
    with connection.transaction(force_rollback=not keep):
        schema_changes.limit_lock_wait(connection)
        connection.execute("SET LOCAL row_security = off")
        yield


def refuse_losses(losses: Sequence[Loss]) -> None:
    """Errors: `RevertRefusedError` that names tables, ids and reasons."""
    if losses:
        raise RevertRefusedError(
            "rows would be lost that the migration did not bring:\n" + "\n".join(f"  {each}" for each in tell(losses)),
            hint="`--force --save DIR` writes them to files and goes on; or move them elsewhere first.",
            details={"losses": [loss.as_json() for loss in losses]},
        )


def tell(losses: Sequence[Loss]) -> Iterator[str]:
    """A line for each table and reason, with the first ids."""
    for loss in losses:
        more = f" and {loss.count - SHOWN:,} more" if loss.count > SHOWN else ""
        yield f"{loss.relation.label}: {loss.count:,} {MEANINGS[loss.kind]}: {', '.join(loss.ids[:SHOWN])}{more}"


def count_rows(belongings: OwnedRows) -> dict[str, int]:
    """Rows that go, by table, the emptied tables of the target among them."""
    counts = {relation.label: 0 for relation in belongings.tables if relation.name in _mapped(belongings)}
    for relation, kinds in belongings.count().items():
        counts[relation.label] = sum(count for kind, count in kinds.items() if kind != "set_null")
    return counts


def _mapped(belongings: OwnedRows) -> set[str]:
    return {mapping.table.name for mapping in belongings.definition.mappings.values()}


def remove_rows(connection: Connection, belongings: OwnedRows) -> None:
    """Deletes what goes from tables that stay; all in one statement, for foreign keys look at its end only."""
    relations = [relation for relation in belongings.count() if relation not in belongings.created_tables]
    if not relations:
        return
    deletions = [
        sql.SQL(
            "{} AS (DELETE FROM {} t USING {} b"
            " WHERE b.relation = t.tableoid AND b.row_ctid = t.ctid AND b.kind <> 'set_null')"
        ).format(sql.Identifier(f"d{number}"), relation.identifier, TABLE)
        for number, relation in enumerate(relations)
    ]
    connection.execute(sql.SQL("WITH {} SELECT").format(sql.SQL(", ").join(deletions)))


def drop_records(connection: Connection) -> None:
    """All that is the tool's own, what a killed `verify` left behind, too."""
    scratch.drop(connection)
    for name in RECORDS:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(PLACE.records, name)))
    schema_changes.drop_records(connection)
