"""The rejected documents: list them, show one, export all. Retrying them is in `workflows/retry_rejects.py`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bson import json_util
from bson.binary import Binary
from bson.errors import InvalidBSON

from migrator.documents.codec import decode_untrusted, format_id
from migrator.errors import UsageError
from migrator.state.records import Connection, Namespace, has_records


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


def list_rejects(connection: Connection, namespace: Namespace, limit: int) -> list[Rejected]:
    """Return the first `limit` rejects, by collection and reason."""
    _require_records(connection, namespace)
    query = namespace.sql(
        "SELECT id, collection, source_id, reason, detail FROM {rejects} ORDER BY collection, reason, id LIMIT %s"
    )
    return [_from_row(row) for row in connection.execute(query, (limit,))]


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
