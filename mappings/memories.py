"""memoryentries → memories."""

from __future__ import annotations

from typing import Any

from mappings import shared
from migrator.documents.codec import Document
from migrator.mapping.codecs import DATETIME, INDEXED_TEXT, TEXT, UNREADABLE
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Context, Row, type_name
from migrator.mapping.references import Key
from migrator.mapping.rules import Compute, created_at, imply_field, map_field
from schema.users import memories


def created_of(context: Context, created: Any, changed: int) -> int:
    """createdAt; LibreChat has none here, so that updated_at stands for both."""
    if created is ABSENT or created is None:
        return changed
    plain = DATETIME.read(created, context.note, "createdAt")
    if isinstance(plain, int):
        return plain
    context.note("wrong_type", f"createdAt ({type_name(created)})")
    return changed


def changed_at(document: Document, row: Row, context: Context) -> int:
    """The fallback for the change date: the creation date, as everywhere."""
    created = document.get("createdAt")
    plain = UNREADABLE if created is None else DATETIME.read(created, lambda code, detail: None, "createdAt")
    return plain if isinstance(plain, int) else created_at(document, row, context)


def created_back(created: int, changed: int) -> Any:
    return ABSENT if created == changed else DATETIME.write(created)


mapping = Collection(
    name="memoryentries",
    table=memories,
    key=Key(path="_id", collection="memoryentries"),
    constants=shared.tenant,
    probes={"value": "to_tsvector('english', {})"},
    rules=(
        shared.owner("userId"),
        map_field("key", "key", INDEXED_TEXT, required=True),
        map_field("value", "value", TEXT, required=True),
        map_field("updated_at", "updated_at", DATETIME, default_factory=changed_at),
        Compute(
            columns=("created_at",),
            fields=("createdAt",),
            inputs=("updated_at",),
            function=created_of,
            restores="createdAt",
            reverse=created_back,
            reverse_inputs=("created_at", "updated_at"),
        ),
        imply_field("__v", 0),
    ),
)
