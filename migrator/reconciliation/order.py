"""The order of claimants: by `_id`, in MongoDB's order of types."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any

import bson
from bson.errors import InvalidBSON

from migrator import ids
from migrator.documents.codec import decode_sound, encode, is_faithful
from migrator.mapping.context import Row


def id_order(source_id: bytes) -> tuple[int, Any]:
    """A sort key over `_id`s of every BSON type, in MongoDB's order of types."""
    try:
        value = decode_sound(source_id).get("_id")
    except InvalidBSON:
        return 10, source_id
    if isinstance(value, bool):
        return 8, value
    if isinstance(value, int | float | bson.Decimal128):
        number = value.to_decimal() if isinstance(value, bson.Decimal128) else Decimal(value)
        return (2, number) if number.is_finite() else (1, str(number))
    if isinstance(value, str):
        return 3, value.encode()
    if isinstance(value, bson.ObjectId):
        return 7, value.binary
    return 9, ids.canonical_json(value)


def tie(raw: bytes) -> bytes:
    """What puts documents of one `_id` (a dump may hold such) in order: the same for a document that was rebuilt."""
    try:
        document = decode_sound(raw)
    except InvalidBSON:
        return sha256(raw).digest()
    return sha256(encode(dict(sorted(document.items()))) if is_faithful(document, raw) else raw).digest()


@dataclass(frozen=True, slots=True)
class Incumbent:
    """A loaded row of ours that has what a document claims; `source_id` is None where the row is not ours."""

    row_id: Any
    source_id: bytes | None
    raw: bytes | None
    row: Row | None

    def yields_to(self, source_id: bytes, raw: bytes) -> bool:
        """Whether this row has to give way to a document."""
        if self.source_id is None or self.raw is None:
            return False
        if self.source_id == source_id:
            return tie(self.raw) > tie(raw)
        return id_order(self.source_id) > id_order(source_id)
