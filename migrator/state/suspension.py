"""Suspends the triggers and rules of the target's owner in the transactions that write rows of the migration.

They would change or drop what is written: a trigger that sets `updated_at` overwrites the date of every row.
`session_replication_role = replica` suspends them for one transaction. The journal records whether that is necessary,
so that every worker does the same (`own_transactions.record_transaction`). The setting also suspends the triggers of
foreign keys: `find_violations` checks these before the run is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from psycopg import sql
from sqlalchemy import MetaData

from migrator.errors import DifferenceError, PlanError, RevertRefusedError
from migrator.formatting import format_count
from migrator.postgres import foreign_keys
from migrator.postgres.foreign_keys import ForeignKey
from migrator.postgres.owner_checks import check_triggers, check_unenforced, existing_tables
from migrator.postgres.owner_objects import ORIGIN, REPLICA, read_triggers
from migrator.postgres.table_names import name_of
from migrator.state import journal
from migrator.state.own_transactions import SUSPENSION_STEP
from migrator.state.records import Connection, Namespace


def suspend_in_run(connection: Connection, namespace: Namespace, metadata: MetaData, run: int) -> None:
    """Record which triggers and rules the run suspends. Call it before the first row is written.

    Raises: `PlanError` if some of them cannot be suspended.
    """
    tables = existing_tables(connection, metadata)
    problems = [*check_triggers(connection, tables), *check_unenforced(connection, metadata, tables)]
    if problems:
        hint = " ".join(dict.fromkeys(each.remedy for each in problems))
        raise PlanError("; ".join(each.text for each in problems), hint=hint)
    found = [each for each in read_triggers(connection, tables) if each.enabled == ORIGIN]
    with connection.transaction():
        connection.execute(namespace.sql("DELETE FROM {steps} WHERE step = %s"), (SUSPENSION_STEP,))
        if found:
            journal.finish_step(connection, namespace, run, SUSPENSION_STEP, [str(each) for each in found])


def suspend_in_transaction(connection: Connection, tables: Iterable[str]) -> bool:
    """Suspend the triggers and rules of these tables until the transaction ends; return whether there are any.

    Raises: `RevertRefusedError` if some of them cannot be suspended.
    """
    names = list(tables)
    if problems := list(check_triggers(connection, names)):
        hint = " ".join(dict.fromkeys(each.remedy for each in problems))
        raise RevertRefusedError("; ".join(each.text for each in problems), hint=hint)
    needed = any(each.enabled == ORIGIN for each in read_triggers(connection, names))
    if needed:
        connection.execute(REPLICA)
    return needed


def resume_in_transaction(connection: Connection) -> None:
    """Let triggers and rules fire again in the current transaction."""
    connection.execute("SET LOCAL session_replication_role = origin")


def require_valid_references(connection: Connection, namespace: Namespace, metadata: MetaData) -> None:
    """Check the foreign keys of the tables of the migration, if triggers were suspended.

    Raises: `DifferenceError` if rows refer to missing rows.
    """
    if journal.step_detail(connection, namespace, SUSPENSION_STEP) is None:
        return
    own = {name_of(table) for table in metadata.sorted_tables}
    keys = foreign_keys.find_keys(connection, metadata, namespace.rows)
    touched = [key for key in keys if key.child.label in own or key.parent.label in own]
    if violated := list(find_violations(connection, touched)):
        raise DifferenceError(
            "rows refer to missing rows: " + "; ".join(violated),
            hint="Restore the referenced rows or delete the referring rows, then run the same command again.",
        )


def find_violations(connection: Connection, keys: Iterable[ForeignKey]) -> Iterator[str]:
    """Yield a line for each foreign key with rows that refer to missing rows."""
    for key in keys:
        query = sql.SQL(
            "SELECT count(*) FROM {child} c WHERE NOT EXISTS (SELECT FROM {parent} p WHERE {condition}) AND {present}"
        ).format(
            child=key.child.identifier,
            parent=key.parent.identifier,
            condition=key.condition("c", "p"),
            present=sql.SQL(" AND ").join(
                sql.SQL("{} IS NOT NULL").format(sql.Identifier("c", name)) for name in key.child_columns
            ),
        )
        found = connection.execute(query).fetchone()
        if found and found[0]:
            yield f"{format_count(found[0], 'rows')} of {key.child.label} by {', '.join(key.child_columns)}"
