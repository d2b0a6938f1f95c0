"""The translation of driver errors: each external cause gets a message that names it, and a lost connection is
recognized by its SQLSTATE."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from migrator.postgres.errors import is_connection_lost, translate_error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.OperationalError("server closed the connection unexpectedly"), "lost connection"),
        (errors.AdminShutdown("terminating connection"), "lost connection"),
        (errors.ConnectionFailure("no"), "lost connection"),
        (errors.DiskFull("could not extend file"), "no disk space"),
        (errors.OutOfMemory("out of memory"), "error on the target server"),
        (errors.IoError("could not read block"), "error on the target server"),
        (errors.InsufficientPrivilege("permission denied for schema public"), "lacks a privilege"),
        (errors.ReadOnlySqlTransaction("cannot execute INSERT"), "read-only"),
        (errors.QueryCanceled("canceling statement"), "canceled a statement"),
        (errors.ProgramLimitExceeded("index row"), "rejected a row"),
        (errors.NotNullViolation("null value"), "rejected a row"),
    ],
)
def test_external_causes_are_named(error: psycopg.Error, expected: str) -> None:
    """An external cause gets a message that names it, and a hint."""
    found = translate_error(error)
    assert found is not None
    assert expected in found.message
    assert found.hint


@pytest.mark.parametrize("error", [errors.UndefinedTable("x"), errors.SyntaxError("x")])
def test_other_errors_are_internal(error: psycopg.Error) -> None:
    """A statement that the server cannot execute is an internal error, not a lost connection."""
    assert translate_error(error) is None


@pytest.mark.parametrize(
    ("state", "lost"),
    [
        ("08000", True),  # connection_exception
        ("08001", True),  # sqlclient_unable_to_establish_sqlconnection
        ("08003", True),  # connection_does_not_exist
        ("08004", True),  # sqlserver_rejected_establishment_of_sqlconnection
        ("08006", True),  # connection_failure
        ("08007", True),  # transaction_resolution_unknown
        ("08P01", False),  # protocol_violation
        ("57000", False),  # operator_intervention
        ("57014", False),  # query_canceled
        ("57P01", True),  # admin_shutdown
        ("57P02", True),  # crash_shutdown
        ("57P03", True),  # cannot_connect_now
        ("57P04", True),  # database_dropped
        ("57P05", True),  # idle_session_timeout
        ("40001", False),  # serialization_failure
        ("40P01", False),  # deadlock_detected
        ("53100", False),  # disk_full
        ("53300", False),  # too_many_connections
        ("55P03", False),  # lock_not_available
        ("58030", False),  # io_error
        ("23505", False),  # unique_violation
        ("42501", False),  # insufficient_privilege
    ],
)
def test_lost_connections_are_recognized_by_sqlstate(state: str, lost: bool) -> None:
    """Only connection exceptions and shutdowns of the server mean a lost connection, whatever the message says."""
    assert is_connection_lost(errors.lookup(state)("server closed the connection unexpectedly")) is lost


def test_an_operational_error_without_sqlstate_is_a_lost_connection() -> None:
    """libpq gives no SQLSTATE for a connection that broke; other errors without SQLSTATE are not lost connections."""
    assert is_connection_lost(psycopg.OperationalError("die Verbindung wurde beendet"))
    assert not is_connection_lost(psycopg.ProgrammingError("no result"))
    assert not is_connection_lost(OSError("closed"))
