"""Rows that a constraint or index of the target's owner refuses: which errors mean that, and which rows they are.

A refused row becomes a reject (`target_constraint`), and the rest of its batch is loaded. Nothing here is executed
unless the target has refused a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg import errors, sql

from migrator.mapping.collection import Collection
from migrator.postgres.owner_objects import has_expressions
from migrator.state.own_transactions import record_transaction
from migrator.state.records import SCRATCH_NAMESPACE, Namespace
from migrator.translation.outcomes import Reject

Connection = psycopg.Connection[Any]
REASON = "target_constraint"
# An expression of an index or constraint can fail with any data error, and with errors of functions.
REFUSALS = (psycopg.IntegrityError, psycopg.DataError, errors.ProgramLimitExceeded, errors.RaiseException)
_EXPRESSIONS = (psycopg.DataError, errors.RaiseException)


class RowsRefusedError(Exception):
    """The target refused rows of a batch, with the error `cause`. The batch must be repeated, without these rows."""

    def __init__(self, cause: psycopg.Error) -> None:
        super().__init__(cause)
        self.cause = cause


def is_refusal(connection: Connection, collection: Collection, error: psycopg.Error) -> bool:
    """Return whether `error` means that a constraint or index refuses a row.

    It does not if the migration's own key or unique constraint was violated: `reconciliation` decides between the rows.
    """
    table = collection.table
    if isinstance(error, psycopg.IntegrityError) and error.diag.schema_name not in (None, "public"):
        return False
    if isinstance(error, errors.UniqueViolation):
        declared = {*(str(each.name) for each in table.constraints), *(str(each.name) for each in table.indexes)}
        return error.diag.constraint_name not in declared
    if isinstance(error, _EXPRESSIONS):
        return has_expressions(connection, table.metadata, table.name)
    return True


def reject_for(error: psycopg.Error) -> Reject:
    """Return the reject of a row that was refused with this error."""
    name, column = error.diag.constraint_name, error.diag.column_name
    if name is None and column is not None and isinstance(error, errors.NotNullViolation):
        return Reject(reason=REASON, detail=f"{column}: NOT NULL")
    return Reject(reason=REASON, detail=name or f"expression of an index or constraint (SQLSTATE {error.sqlstate})")


def find_refused(
    connection: Connection, namespace: Namespace, count: int, write: Callable[[int, int], None]
) -> Iterator[tuple[int, psycopg.Error]]:
    """Yield the index and the error of each of `count` rows that the target refuses.

    `write(start, stop)` writes a range of rows. Ranges are halved until only refused rows are left, in a transaction
    that is rolled back. Of two rows that exclude each other, the first one stays.
    """
    with connection.transaction(force_rollback=True):
        record_transaction(connection, namespace)
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        ranges = [(0, count)]
        while ranges:
            start, stop = ranges.pop()
            try:
                with connection.transaction():
                    write(start, stop)
            except REFUSALS as error:
                if stop - start == 1:
                    yield start, error
                else:
                    middle = (start + stop) // 2
                    ranges += [(middle, stop), (start, middle)]


def read_known_refusals(connection: Connection, namespace: Namespace, collection: str) -> dict[bytes, str]:
    """Return the documents that a run has rejected because the target refused them: `source_id` → detail.

    The tables of a verification have no constraints of the owner, so it rejects the same documents. Otherwise empty.
    """
    if namespace != SCRATCH_NAMESPACE:
        return {}
    query = Namespace().sql(
        "SELECT source_id, detail FROM {rejects} WHERE collection = %s AND reason = {reason}",
        reason=sql.Literal(REASON),
    )
    found = connection.execute(query, (collection,), binary=True)
    return {bytes(source_id): detail for source_id, detail in found}
