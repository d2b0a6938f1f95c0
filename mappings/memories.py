"""Collection memoryentries → table memories."""

from __future__ import annotations

from typing import Any

from mappings import shared
from migrator.documents.codec import Document
from migrator.ids import canonical_uuid
from migrator.mapping.codecs import DATETIME, INDEXED_TEXT, TEXT, UNREADABLE
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Context, Row, type_name
from migrator.mapping.defaults import created_at
from migrator.mapping.references import Key
from migrator.mapping.rules import Compute, imply_field, map_field
from schema.users import memories

KEPT_COLUMNS = ("category", "source", "source_id")


def compute_created_at(context: Context, created: Any, changed: int) -> int:
    """Return createdAt. LibreChat does not write it here, so the default is updated_at."""
    if created is ABSENT or created is None:
        return changed
    plain = DATETIME.read(created, context.note, "createdAt")
    if isinstance(plain, int):
        return plain
    context.note("wrong_type", f"createdAt ({type_name(created)})")
    return changed


def default_updated_at(document: Document, row: Row, context: Context) -> int:
    """Return the default of updated_at: the creation date."""
    created = document.get("createdAt")
    plain = UNREADABLE if created is None else DATETIME.read(created, lambda code, detail: None, "createdAt")
    return plain if isinstance(plain, int) else created_at(document, row, context)


def restore_created_at(created: int, changed: int) -> Any:
    """Return the creation date, unless it equals the change date."""
    return ABSENT if created == changed else DATETIME.write(created)


def compute_kept(context: Context, kept: Any) -> tuple[Any, Any, Any]:
    """Return category, source and source_id. LibreChat has none of them; a returned document keeps them."""
    if kept is ABSENT:
        return None, None, None
    category, source, source_id = (shared.kept_value(kept, name) for name in KEPT_COLUMNS)
    return (
        None if category is ABSENT else category,
        None if source is ABSENT else source,
        canonical_uuid(source_id) if isinstance(source_id, str) else None,
    )


mapping = Collection(
    name="memoryentries",
    table=memories,
    key=Key(path="_id", collection="memoryentries"),
    probes={"value": "to_tsvector('english', {})"},
    rules=(
        shared.owner("userId"),
        map_field("key", "key", INDEXED_TEXT, required=True),
        map_field("value", "value", TEXT, required=True),
        map_field("updated_at", "updated_at", DATETIME, default_factory=default_updated_at),
        Compute(
            columns=("created_at",),
            fields=("createdAt",),
            inputs=("updated_at",),
            function=compute_created_at,
            restores="createdAt",
            reverse=restore_created_at,
            reverse_inputs=("created_at", "updated_at"),
        ),
        Compute(columns=KEPT_COLUMNS, fields=(shared.KEPT,), function=compute_kept),
        imply_field("__v", 0),
    ),
    returns=(shared.keep_columns(*KEPT_COLUMNS),),
)
