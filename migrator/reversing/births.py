"""The `_id`s of documents for rows that the application has created in PostgreSQL. Pure functions."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import Any

from bson import ObjectId

from migrator import ids
from migrator.documents.codec import encode
from migrator.mapping.collection import Collection
from migrator.mapping.context import Row
from migrator.translation.encoder import format_target_id

MOST_SECONDS = 2**32 - 1


def new_source_id(collection: Collection, row: Row) -> bytes:
    """Return the `source_id` of the document of a new row.

    If the ID of the row contains an ObjectId, it is that; otherwise the second in which the row was created, and eight
    bytes of a digest of its ID.
    """
    row_id = row[collection.key.column]
    if collection.key.path == "_id" and (found := contained_objectid(collection, row_id)) is not None:
        return encode({"_id": found})
    created = row.get("created_at")
    seconds = created // 1_000_000 if type(created) is int else int(time.time())
    digest = sha256(f"{collection.name}\0{format_target_id(row_id)}".encode()).digest()
    return encode({"_id": ObjectId(min(max(seconds, 0), MOST_SECONDS).to_bytes(4, "big") + digest[:8])})


def contained_objectid(collection: Collection, row_id: Any) -> ObjectId | None:
    """Return the ObjectId that a row ID was made from; None if it was not made from one."""
    if type(row_id) is not bytes:
        return None
    found = ids.uuid_to_objectid(row_id)
    if found is None or found[1] != ids.collection_tag(collection.key.collection):
        return None
    return ObjectId(found[0])
