"""The order in which conflicts are resolved: by `_id` (`id_order`), and among documents with the same `_id`."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from bson.errors import InvalidBSON

from migrator.documents.codec import decode_untrusted, encode, is_faithful
from migrator.mapping.context import Row
from migrator.reconciliation.id_order import id_order


def tie_breaker(raw: bytes) -> bytes:
    """Return the sort key among documents with the same `_id`, which a dump may contain.

    The key of a document does not change when the document is rebuilt from its row.
    """
    try:
        document = decode_untrusted(raw)
    except InvalidBSON:
        return sha256(raw).digest()
    return sha256(encode(dict(sorted(document.items()))) if is_faithful(document, raw) else raw).digest()


@dataclass(frozen=True, slots=True)
class Incumbent:
    """An existing row whose ID or unique value a document needs.

    `source_id`, `raw` and `row` are None if the row was not loaded by this migration.
    """

    row_id: Any
    source_id: bytes | None
    raw: bytes | None
    row: Row | None

    def yields_to(self, source_id: bytes, raw: bytes) -> bool:
        """Return whether this row comes after the given document in the order."""
        if self.source_id is None or self.raw is None:
            return False
        if self.source_id == source_id:
            return tie_breaker(self.raw) > tie_breaker(raw)
        return id_order(self.source_id) > id_order(source_id)
