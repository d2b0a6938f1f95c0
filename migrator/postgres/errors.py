"""Translates psycopg errors into the errors of this package: cause, remedy, exit code. No other module does this.

The tests for lost and idle connections are here, too. Not here: failed attempts to connect (`connection_failure.py`).
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from migrator.errors import RESUME, MigrateError, StoppedError, TargetError
from migrator.postgres.privileges import CONNECT_AS_OWNER
from migrator.redaction import describe_error

# SQLSTATEs that report a lost connection. Class 08: connection exceptions, except 08P01 (protocol violation), which
# reports a faulty message on a working connection. 57P01 to 57P05: the server shut down, crashed, does not accept
# connections yet, dropped the database, or ended an idle session. Class 57 also holds 57014 (query canceled), after
# which the connection still works.
_LOST_CLASS = "08"
_LOST_CODES = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05"})
_PROTOCOL_VIOLATION = "08P01"


def is_connection_lost(error: BaseException) -> bool:
    """Return whether `error` means that the connection to PostgreSQL failed, not the statement.

    libpq reports a lost connection as an operational error without SQLSTATE; every error that the server sends has one.
    """
    if not isinstance(error, psycopg.OperationalError):
        return False
    state = error.sqlstate
    if state is None:
        return True
    return state in _LOST_CODES or (state.startswith(_LOST_CLASS) and state != _PROTOCOL_VIOLATION)


def is_idle(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the connection is open and outside a transaction, so that it can execute statements."""
    return not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE


def _is_refused_row(error: psycopg.Error) -> bool:
    """Return whether a constraint, an index or a trigger on a table of the application refused a row."""
    if isinstance(error, psycopg.IntegrityError):
        return not (error.diag.schema_name or "").startswith("migrator")
    return isinstance(error, errors.RaiseException | errors.ProgramLimitExceeded)


def translate_error(error: psycopg.Error) -> MigrateError | None:
    """Return the error of this package for a driver error with an external cause; None for an internal error."""
    reason = error.diag.message_primary or str(error).strip()
    state_class = (error.sqlstate or "")[:2]
    if isinstance(error, errors.DiskFull):
        return StoppedError(f"no disk space left on the target server: {reason}", hint=f"Free disk space. {RESUME}")
    if isinstance(error, errors.InsufficientPrivilege):
        return TargetError(f"the target role lacks a privilege: {reason}", hint=CONNECT_AS_OWNER)
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return TargetError(f"the target is read-only: {reason}", hint="Connect to the primary server.")
    if state_class in ("53", "58"):
        return TargetError(f"error on the target server: {reason}", hint=f"Check the server log. {RESUME}")
    if _is_refused_row(error):
        reason = describe_error(error)  # the server's message quotes the row
        hint = "A constraint, index or trigger of the application rejects it. Change it, or drop it for the migration."
        return TargetError(f"the target rejected a row: {reason}", hint=hint)
    if isinstance(error, psycopg.ProgrammingError) and error.diag.internal_query is not None:
        hint = (
            "Constraints, indexes, defaults and triggers call it for migrated rows. Correct it, or drop what calls it."
        )
        return TargetError(f"a function of the target's owner fails: {reason}", hint=hint)
    if isinstance(error, errors.QueryCanceled | errors.LockNotAvailable | errors.DeadlockDetected):
        return StoppedError(f"the target canceled a statement: {reason}", hint=RESUME)
    if is_connection_lost(error):
        return TargetError(f"lost connection to the target: {reason}", hint=RESUME)
    return None
