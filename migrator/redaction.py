"""Describes errors of other libraries without the data that their text may quote.

PostgreSQL quotes the row that violates a constraint, Python the value that it cannot convert, BSON the value that it
cannot encode. This may be personal data, and logs have other readers.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator

import psycopg
from bson.errors import BSONError

# The text of these errors may quote data.
_QUOTING = (ValueError, LookupError, BSONError)
_QUOTING_STATES = ("22", "23")  # SQLSTATE classes: data exceptions, integrity constraints
_RAISED = "P0001"  # raised by a trigger, with any text
_FRAME = re.compile(r'^  File "[^"\n]+", line \d+, in \S+$', re.MULTILINE)
_VALUES = re.compile(r"=\(.*\)", re.DOTALL)  # Key (email)=(a@example.org)


def describe_error(error: BaseException) -> str:
    """Returns the type of an error, and its text if that cannot quote data."""
    name = type(error).__name__
    if name == "_RemoteTraceback":  # the traceback of a worker process, as text
        return "\n".join(("in a worker process:", *_FRAME.findall(str(error))))
    if isinstance(error, psycopg.Error):
        return f"{name}: {_describe_server_error(error)}".removesuffix(": ")
    if isinstance(error, _QUOTING) and not isinstance(error, UnicodeError):
        return f"{name} (message redacted: it may quote data)"
    if isinstance(error, UnicodeError):
        return f"{name}: {getattr(error, 'reason', '')}"
    return f"{name}: {error}".removesuffix(": ")


def _describe_server_error(error: psycopg.Error) -> str:
    message = error.diag.message_primary
    if message is None:
        return " ".join(str(error).split())
    if (error.sqlstate or "")[:2] not in _QUOTING_STATES and error.sqlstate != _RAISED:
        return message
    places = (("table", error.diag.table_name), ("column", error.diag.column_name))
    named = [f"{kind} {name}" for kind, name in (*places, ("constraint", error.diag.constraint_name)) if name]
    return f"SQLSTATE {error.sqlstate}" + (f", {', '.join(named)}" if named else "")


def hide_values(detail: str | None) -> str:
    """Returns PostgreSQL's detail without the values of a key: `Key (email)=(…) is duplicated.`"""
    return _VALUES.sub("=(…)", detail or "")


def format_traceback(error: BaseException) -> str:
    """Returns the traceback, causes first, with errors as `describe_error` describes them."""
    return "\n".join(_trace(error, set()))


def _trace(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _trace(before, seen)
    frames = "".join(traceback.format_tb(error.__traceback__))
    yield f"Traceback (most recent call last):\n{frames}{describe_error(error)}\n"
