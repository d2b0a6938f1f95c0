"""The rejected documents: list them, show one, export all. Retrying them is in `workflows/retry_rejects.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from bson import ObjectId, json_util
from bson.binary import Binary
from bson.errors import InvalidBSON

from migrator.documents.codec import decode_untrusted, format_id
from migrator.errors import UsageError
from migrator.state.records import Connection, Namespace, has_records

MAX_ID = 80  # characters of a missing ID in a detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A rejected document. `id`: its number in the record `rejects`; `document`: extended JSON, None in lists."""

    id: int
    collection: str
    source_id: str
    reason: str
    detail: str
    document: Any = None

    def as_json(self) -> dict[str, Any]:
        shown = {name: getattr(self, name) for name in ("id", "collection", "source_id", "reason", "detail")}
        return shown if self.document is None else {**shown, "document": self.document}


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectFilter:
    """Which rejects to list: those of a collection and a reason (None: all), page by page of `limit`, from page 1."""

    collection: str | None = None
    reason: str | None = None
    limit: int = 100
    page: int = 1

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.limit


def list_rejects(connection: Connection, namespace: Namespace, chosen: RejectFilter) -> list[Rejected]:
    """Return the rejects of one page, by collection and reason. The detail of an orphan names the missing ID."""
    _require_records(connection, namespace)
    query = namespace.sql(
        "SELECT id, collection, source_id, reason, detail, CASE WHEN reason = 'orphan' THEN document END"
        " FROM {rejects} WHERE collection = coalesce(%s, collection) AND reason = coalesce(%s, reason)"
        " ORDER BY collection, reason, id LIMIT %s OFFSET %s"
    )
    values = (chosen.collection, chosen.reason, chosen.limit, chosen.offset)
    return [_with_missing_id(row) for row in connection.execute(query, values)]


def count_rejects(connection: Connection, namespace: Namespace, chosen: RejectFilter) -> dict[tuple[str, str], int]:
    """Return (collection, reason) → number of rejects, on all pages."""
    _require_records(connection, namespace)
    query = namespace.sql(
        "SELECT collection, reason, count(*) FROM {rejects}"
        " WHERE collection = coalesce(%s, collection) AND reason = coalesce(%s, reason) GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return {(row[0], row[1]): row[2] for row in connection.execute(query, (chosen.collection, chosen.reason))}


def count_by_reason(connection: Connection, namespace: Namespace) -> dict[str, int]:
    """Return reason → number of rejected documents."""
    query = namespace.sql("SELECT reason, count(*) FROM {rejects} GROUP BY 1")
    return {str(reason): int(count) for reason, count in connection.execute(query)}


def _with_missing_id(row: tuple[Any, ...]) -> Rejected:
    """Return a reject for a list. The detail of an orphan begins with the field that refers to the missing record."""
    *values, document = row
    found = _from_row(tuple(values))
    path = found.detail.partition(" ")[0]
    if document is None or not path:
        return found
    try:
        value: Any = decode_untrusted(bytes(document))
    except InvalidBSON:
        return found
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, str | int | ObjectId | UUID | Binary):
        return found
    return replace(found, detail=f"{found.detail}: {str(value)[:MAX_ID]}")


def show_reject(connection: Connection, namespace: Namespace, number: int) -> Rejected:
    """Return a reject with its document.

    Raises:
        UsageError: there is no reject of this number.
    """
    _require_records(connection, namespace)
    query = namespace.sql("SELECT id, collection, source_id, reason, detail, document FROM {rejects} WHERE id = %s")
    row = connection.execute(query, (number,)).fetchone()
    if row is None:
        raise UsageError(f"no reject has the number {number}", hint="`migrate rejects list` shows the numbers.")
    return _from_row(row)


def export_rejects(connection: Connection, namespace: Namespace, path: Path) -> int:
    """Write all rejects to a new file, one JSON document per line; return how many."""
    _require_records(connection, namespace)
    query = namespace.sql(
        "SELECT id, collection, source_id, reason, detail, document FROM {rejects} ORDER BY collection, id"
    )
    count = 0
    try:
        with path.open("x", encoding="utf-8") as file, connection.cursor("rejects", withhold=True) as cursor:
            for row in cursor.execute(query):
                file.write(json.dumps(_from_row(row).as_json(), ensure_ascii=False) + "\n")
                count += 1
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="Use the path of a new file.") from error
    return count


def _from_row(row: tuple[Any, ...]) -> Rejected:
    number, collection, source_id, reason, detail, *document = row
    return Rejected(
        id=number,
        collection=collection,
        source_id=format_id(bytes(source_id)),
        reason=reason,
        detail=detail,
        document=_as_json(bytes(document[0])) if document else None,
    )


def _as_json(raw: bytes) -> Any:
    """Return a document as canonical extended JSON; the bytes in that form if it cannot be decoded."""
    document: Any
    try:
        document = decode_untrusted(raw)
    except InvalidBSON:
        document = Binary(raw)
    return json.loads(json_util.dumps(document, json_options=json_util.CANONICAL_JSON_OPTIONS))


def _require_records(connection: Connection, namespace: Namespace) -> None:
    if not has_records(connection, namespace):
        raise UsageError("the target contains no migration", hint="Start with `migrate run`.")
