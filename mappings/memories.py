"""memoryentries → memories."""

from __future__ import annotations

from typing import Any

from mappings import shared
from migrator.documents.codec import Document
from migrator.mapping.codecs import INDEXED_TEXT, MOMENT, TEXT, UNREADABLE
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Context, Row, kind_of
from migrator.mapping.references import Key
from migrator.mapping.rules import Compute, created_at, imply, take
from schema.users import memories


def created_of(context: Context, created: Any, changed: int) -> int:
    """createdAt; LibreChat has none here, so that updated_at stands for both."""
    if created is ABSENT or created is None:
        return changed
    plain = MOMENT.read(created, context.note, "createdAt")
    if isinstance(plain, int):
        return plain
    context.note("wrong_type", f"createdAt ({kind_of(created)})")
    return changed


def changed_at(document: Document, row: Row, context: Context) -> int:
    """The fallback for the change date: the creation date, as everywhere."""
    created = document.get("createdAt")
    plain = UNREADABLE if created is None else MOMENT.read(created, lambda code, detail: None, "createdAt")
    return plain if isinstance(plain, int) else created_at(document, row, context)


def created_back(created: int, changed: int) -> Any:
    return ABSENT if created == changed else MOMENT.write(created)


mapping = Collection(
    name="memoryentries",
    table=memories,
    key=Key(path="_id", collection="memoryentries"),
    constants=shared.tenant,
    probes={"value": "to_tsvector('english', {})"},
    rules=(
        shared.owner("userId"),
        take("key", "key", INDEXED_TEXT, required=True),
        take("value", "value", TEXT, required=True),
        take("updated_at", "updated_at", MOMENT, otherwise=changed_at),
        Compute(
            columns=("created_at",),
            fields=("createdAt",),
            after=("updated_at",),
            function=created_of,
            to="createdAt",
            reverse=created_back,
            reverse_of=("created_at", "updated_at"),
        ),
        imply("__v", 0),
    ),
)
