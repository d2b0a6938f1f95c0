"""What is said of errors that are not ours: enough to find the mistake, and nobody's data."""

from __future__ import annotations

import bson
import psycopg
import pytest
from psycopg import errors

from migrator.redaction import describe_error, format_traceback, hide_values

SECRET = "hunter2@example.org"


def provoke(url: str, statement: str) -> psycopg.Error:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE people (email text UNIQUE, age integer, CHECK (age > 0))")
        connection.execute("INSERT INTO people VALUES (%s, 1)", (SECRET,))
        with pytest.raises(psycopg.Error) as raised:
            connection.execute(statement.replace("SECRET", SECRET).encode())
    return raised.value


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("INSERT INTO people VALUES ('SECRET', 2)", "UniqueViolation: SQLSTATE 23505, table people"),
        ("INSERT INTO people VALUES ('SECRET2', -1)", "constraint people_age_check"),
        ("INSERT INTO people VALUES ('x', 'SECRET')", "InvalidTextRepresentation: SQLSTATE 22P02"),
        ("SELECT 'SECRET'::jsonb", "SQLSTATE 22"),
        ("SELECT nothing FROM people", 'UndefinedColumn: column "nothing" does not exist'),
    ],
)
def test_what_a_server_quotes_is_left_out(server_url: str, statement: str, named: str) -> None:
    """PostgreSQL names the row that broke a key: we name the table and the key."""
    error = provoke(server_url, statement)
    assert named in describe_error(error)
    for text in (describe_error(error), format_traceback(error)):
        assert SECRET not in text


def test_what_python_quotes_is_left_out() -> None:
    """So do int(), a dict, and BSON; of other errors the words are kept."""
    known: dict[str, int] = dict.fromkeys("ab", 1)
    for act in (
        lambda: int(SECRET),
        lambda: known[SECRET],
        lambda: bson.encode({"a": {SECRET}}),
        lambda: "é".encode("ascii"),
    ):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - each its own
            act()
        assert SECRET not in describe_error(raised.value) + format_traceback(raised.value)
        assert type(raised.value).__name__ in describe_error(raised.value)
    assert describe_error(OSError("disk on fire")) == "OSError: disk on fire"
    assert describe_error(AssertionError()) == "AssertionError"


def fail_twice() -> None:
    try:
        raise KeyError(SECRET)
    except KeyError as error:
        raise RuntimeError("then this") from error


def test_a_trace_has_its_causes_first() -> None:
    """Every error of a chain with its frames, as Python does, and rings end."""
    with pytest.raises(RuntimeError) as raised:
        fail_twice()
    told = format_traceback(raised.value)
    cause = raised.value.__cause__
    assert cause is not None
    cause.__cause__ = raised.value
    assert format_traceback(raised.value).count("RuntimeError: then this") == 1
    assert told.index("KeyError (message redacted") < told.index("RuntimeError: then this")
    assert told.count("in fail_twice") == 2
    assert SECRET not in told


def test_keys_without_their_values() -> None:
    """The detail of a duplicate names its columns."""
    detail = f"Key (email, lower(name))=({SECRET}, a)=(b) is duplicated."
    assert hide_values(detail) == "Key (email, lower(name))=(…) is duplicated."
    assert hide_values(None) == ""
    assert describe_error(errors.UniqueViolation("x")) == "UniqueViolation: x"
