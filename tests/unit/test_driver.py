"""The boundary where the driver's errors become ours: what is said of each fits what happened."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from migrator.postgres.errors import translate_error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (psycopg.OperationalError("server closed the connection unexpectedly"), "was lost"),
        (errors.AdminShutdown("terminating connection"), "was lost"),
        (errors.ConnectionFailure("no"), "was lost"),
        (errors.DiskFull("could not extend file"), "no disk space"),
        (errors.OutOfMemory("out of memory"), "in trouble"),
        (errors.IoError("could not read block"), "in trouble"),
        (errors.InsufficientPrivilege("permission denied for schema public"), "lacks a right"),
        (errors.ReadOnlySqlTransaction("cannot execute INSERT"), "read-only"),
        (errors.QueryCanceled("canceling statement"), "ended a statement"),
    ],
)
def test_causes_outside_are_named(error: psycopg.Error, said: str) -> None:
    """A cause that an administrator can see to is named as what it is."""
    found = translate_error(error)
    assert found is not None
    assert said in found.message
    assert found.hint


@pytest.mark.parametrize("error", [errors.ProgramLimitExceeded("index row"), errors.SyntaxError("x")])
def test_the_rest_are_defects(error: psycopg.Error) -> None:
    """A statement that the server could never have carried out is our mistake, not a lost connection."""
    assert translate_error(error) is None
