"""Defaults of columns, for the option `default_factory` of fields."""

from __future__ import annotations

from typing import Any

from bson import ObjectId

from migrator.documents.codec import Document
from migrator.mapping.codecs import DATETIME, UNREADABLE
from migrator.mapping.context import Context, Row


def created_at(document: Document, row: Row, context: Context) -> int:
    """Return the default of a creation date, in microseconds since 1970, and record the finding `defaulted`.

    It is the time in the ObjectId, else the date of the last change, else 1970.
    """
    context.note("defaulted", "createdAt")
    oid = document.get("_id")
    if isinstance(oid, ObjectId):
        return int.from_bytes(oid.binary[:4], "big") * 1_000_000
    value = document.get("updatedAt")
    plain = UNREADABLE if value is None else DATETIME.read(value, lambda code, detail: None, "updatedAt")
    return plain if isinstance(plain, int) else 0


def updated_at(document: Document, row: Row, context: Context) -> Any:
    """Return the default of a change date: the creation date."""
    return row["created_at"]
