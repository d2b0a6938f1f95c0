"""The one boundary where psycopg's errors become ours: cause, remedy, exit code. Nothing else knows both."""

from __future__ import annotations

import psycopg
from psycopg import errors

from migrator.errors import MigrateError, StoppedError, TargetError
from migrator.postgres.privileges import suggest_grant
from migrator.redaction import say_error

AGAIN = "What was committed is consistent: run the same command again to go on."

LOST = ("08", "57")  # classes of SQLSTATE that say that the connection failed, not what was asked for


def translate_error(error: psycopg.Error) -> MigrateError | None:
    """Our error for a driver error that has a cause outside; None for a defect of ours."""
    said = error.diag.message_primary or str(error).strip()
    if isinstance(error, errors.DiskFull):
        return StoppedError(f"the target has no disk space left: {said}", hint=f"Free some space. {AGAIN}")
    if isinstance(error, errors.InsufficientPrivilege):
        return TargetError(f"the target's role lacks a right: {said}", hint=suggest_grant(error))
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return TargetError(f"the target is read-only: {said}", hint="Connect to the primary server.")
    if (error.sqlstate or "")[:2] in ("53", "58"):
        return TargetError(f"the target's server is in trouble: {said}", hint=f"Its log says more. {AGAIN}")
    if isinstance(error, errors.CheckViolation | errors.ExclusionViolation | errors.RaiseException):
        said = say_error(error)  # what the server says quotes the row
        return TargetError(f"the target refuses rows: {said}", hint="Is this rule, or trigger, the application's own?")
    if isinstance(error, errors.QueryCanceled | errors.LockNotAvailable | errors.DeadlockDetected):
        return StoppedError(f"the target ended a statement: {said}", hint=AGAIN)
    if isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08")[:2] in LOST:
        return TargetError(f"the connection to the target was lost: {said}", hint=AGAIN)
    return None
