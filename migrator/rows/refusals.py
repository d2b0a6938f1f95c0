"""Rows that a constraint or index of the target's owner refuses: which errors mean that, and which rows they are.

A refused row becomes a reject (`target_constraint`), and the rest of its batch is loaded. Nothing here is executed
unless the target has refused a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors, sql

from migrator.mapping.collection import Collection
from migrator.postgres.owner_objects import has_expressions, read_constraints
from migrator.postgres.placement import schemas_in
from migrator.postgres.table_names import name_of
from migrator.state.own_transactions import is_in_transaction, record_transaction
from migrator.state.records import SCRATCH_NAMESPACE, Namespace
from migrator.translation.outcomes import Reject

Connection = psycopg.Connection[Any]
REASON = "target_constraint"
UNNAMED = "expression of an index or constraint"
# An expression of an index or constraint can fail with any data error, and with errors of functions.
REFUSALS = (psycopg.IntegrityError, psycopg.DataError, errors.ProgramLimitExceeded, errors.RaiseException)
# A rule with its own code can give a column a value that its type does not hold.
_TOO_LARGE = (errors.StringDataRightTruncation, errors.NumericValueOutOfRange)
_EXPRESSIONS = (psycopg.DataError, errors.RaiseException)


class RowsRefusedError(Exception):
    """The target refused rows of a batch, with the error `cause`. The batch must be repeated, without these rows."""

    def __init__(self, cause: psycopg.Error) -> None:
        super().__init__(cause)
        self.cause = cause


class UpdatesRefusedError(Exception):
    """The target refuses later changes of loaded rows, with the error `cause`. The load must be repeated.

    `refused`: the documents to leave out, collection → `source_id` → detail of the reject.
    """

    def __init__(self, cause: psycopg.Error, refused: Mapping[str, Mapping[bytes, str]]) -> None:
        super().__init__(cause)
        self.cause, self.refused = cause, refused


def is_refusal(connection: Connection, collection: Collection, error: psycopg.Error) -> bool:
    """Return whether `error` means that a constraint or index refuses a row.

    It does not if the migration's own key or unique constraint was violated: `reconciliation` decides between the rows.
    """
    table = collection.table
    if isinstance(error, psycopg.IntegrityError) and error.diag.schema_name not in (None, *schemas_in(table.metadata)):
        return False
    if isinstance(error, errors.UniqueViolation):
        declared = {*(str(each.name) for each in table.constraints), *(str(each.name) for each in table.indexes)}
        return error.diag.constraint_name not in declared
    if isinstance(error, _TOO_LARGE):
        return True
    if isinstance(error, _EXPRESSIONS):
        return has_expressions(connection, table.metadata, name_of(table))
    return True


def reject_for(error: psycopg.Error) -> Reject:
    """Return the reject of a row that was refused with this error."""
    name, column = error.diag.constraint_name, error.diag.column_name
    if name is None and column is not None and isinstance(error, errors.NotNullViolation):
        return Reject(reason=REASON, detail=f"{column}: NOT NULL")
    return Reject(reason=REASON, detail=name or f"{UNNAMED} (SQLSTATE {error.sqlstate})")


def find_refused(
    connection: Connection, namespace: Namespace, count: int, write: Callable[[int, int], None]
) -> Iterator[tuple[int, psycopg.Error]]:
    """Yield the index and the error of each of `count` rows that the target refuses.

    `write(start, stop)` writes a range of rows. Ranges are halved until only refused rows are left, in a transaction
    that is rolled back. Of two rows that exclude each other, the first one stays.
    """
    with trial(connection, namespace):
        yield from write_accepted(connection, count, write)


@contextmanager
def trial(connection: Connection, namespace: Namespace) -> Iterator[None]:
    """Execute the block in a transaction that is rolled back, in which the target checks every constraint at once.

    In an open transaction it is a savepoint, and the transaction decides which constraints are checked at once.
    """
    is_nested = is_in_transaction(connection)
    with connection.transaction(force_rollback=True):
        record_transaction(connection, namespace)
        if not is_nested:
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        yield


def write_accepted(
    connection: Connection, count: int, write: Callable[[int, int], None]
) -> Iterator[tuple[int, psycopg.Error]]:
    """Write what the target accepts of `count` rows; yield the index and the error of each other row.

    Requires a `trial`: what is written gets the transaction IDs of savepoints.
    """
    ranges = [(0, count)] if count else []
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


def find_documents(
    connection: Connection, namespace: Namespace, collection: str, causes: Mapping[str, psycopg.Error]
) -> dict[bytes, str]:
    """Return the documents of refused rows: `source_id` → detail of the reject. `causes`: `target_id` → error."""
    query = namespace.sql(
        "SELECT source_id, target_id FROM {ledger} WHERE collection = %s AND outcome = 'loaded' AND target_id = ANY(%s)"
    )
    found = connection.execute(query, (collection, list(causes)), binary=True)
    return {bytes(source_id): reject_for(causes[target_id]).detail for source_id, target_id in found}


def forget_dropped_constraints(connection: Connection, namespace: Namespace, collection: Collection) -> None:
    """Delete the records of documents that were refused by constraints and indexes which no longer exist."""
    metadata, table = collection.table.metadata, name_of(collection.table)
    present = [each.name for each in read_constraints(connection, metadata) if each.table == table]
    query = namespace.sql(
        "DELETE FROM {refusals} WHERE collection = %s AND NOT (detail = ANY(%s) OR starts_with(detail, %s) AND %s)"
    )
    values = (collection.name, present, UNNAMED, has_expressions(connection, metadata, table))
    connection.execute(query, values)


def read_known_refusals(connection: Connection, namespace: Namespace, collection: str) -> dict[bytes, str]:
    """Return the documents that must be rejected because the target refuses them: `source_id` → detail.

    In a run these are the documents whose row could not be changed later. A verification rejects all documents that the
    run has rejected, because its tables have no constraints of the owner.
    """
    query = namespace.sql("SELECT source_id, detail FROM {refusals} WHERE collection = %s")
    if namespace == SCRATCH_NAMESPACE:
        query = Namespace().sql(
            "SELECT source_id, detail FROM {rejects} WHERE collection = %s AND reason = {reason}",
            reason=sql.Literal(REASON),
        )
    found = connection.execute(query, (collection,), binary=True)
    return {bytes(source_id): detail for source_id, detail in found}
