"""What may be said of an error that is not ours: its cause, never the data it quotes.

PostgreSQL tells the row that broke a key, Python the value that it could not convert, BSON the one that it could not
encode. Those are a user's, and a log is read by others.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator

import psycopg
from bson.errors import BSONError

# Of these the text is likely to quote what was being worked on.
_QUOTING = (ValueError, LookupError, BSONError)
_QUOTING_STATES = ("22", "23")  # classes of SQLSTATE: data exceptions, constraints
_RAISED = "P0001"  # by a trigger, which says what it likes
_FRAME = re.compile(r'^  File "[^"\n]+", line \d+, in \S+$', re.MULTILINE)
_VALUES = re.compile(r"=\(.*\)", re.DOTALL)  # Key (email)=(a@example.org)


def say_error(error: BaseException) -> str:
    """One line: what kind of error it is, and its text as far as that quotes nobody's data."""
    name = type(error).__name__
    if name == "_RemoteTraceback":  # of a worker process: its whole traceback, as text
        return "\n".join(("in a worker:", *_FRAME.findall(str(error))))
    if isinstance(error, psycopg.Error):
        return f"{name}: {_say_server(error)}".removesuffix(": ")
    if isinstance(error, _QUOTING) and not isinstance(error, UnicodeError):
        return f"{name} (its words may quote data, and are left out)"
    if isinstance(error, UnicodeError):
        return f"{name}: {getattr(error, 'reason', '')}"
    return f"{name}: {error}".removesuffix(": ")


def _say_server(error: psycopg.Error) -> str:
    said = error.diag.message_primary
    if said is None:
        return " ".join(str(error).split())
    if (error.sqlstate or "")[:2] not in _QUOTING_STATES and error.sqlstate != _RAISED:
        return said
    places = (("table", error.diag.table_name), ("column", error.diag.column_name))
    named = [f"{kind} {name}" for kind, name in (*places, ("constraint", error.diag.constraint_name)) if name]
    return f"SQLSTATE {error.sqlstate}" + (f", {', '.join(named)}" if named else "")


def hide_values(detail: str | None) -> str:
    """PostgreSQL's detail without the values of a key: `Key (email)=(…) is duplicated.`"""
    return _VALUES.sub("=(…)", detail or "")


def trace_error(error: BaseException) -> str:
    """A traceback, causes first, in which every error is said by `say_error`."""
    return "\n".join(_trace(error, set()))


def _trace(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _trace(before, seen)
    frames = "".join(traceback.format_tb(error.__traceback__))
    yield f"Traceback (most recent call last):\n{frames}{say_error(error)}\n"
