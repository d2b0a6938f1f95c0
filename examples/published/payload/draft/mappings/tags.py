"""Collection tags → table tags."""

from __future__ import annotations

from migrator.mapping.codecs import DATETIME, INDEXED_TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.tags import tags

mapping = Collection(
    name="tags",
    table=tags,
    key=shared.TAGS,
    unique={"name": "duplicate_key"},
    rules=(
        map_field("createdAt", "created_at", DATETIME, required=True),
        map_field("updatedAt", "updated_at", DATETIME, required=True),
        map_field("name", "name", INDEXED_TEXT, required=True),
        imply_field("__v", 0),
    ),
)
