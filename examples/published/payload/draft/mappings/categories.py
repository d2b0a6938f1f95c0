"""Collection categories → table categories."""

from __future__ import annotations

from migrator.mapping.codecs import DATETIME, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.references import IdCodec
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.categories import categories

mapping = Collection(
    name="categories",
    table=categories,
    key=shared.CATEGORIES,
    rules=(
        map_field("createdAt", "created_at", DATETIME),
        map_field("updatedAt", "updated_at", DATETIME),
        map_field("title", "title", TEXT),
        map_field(
            "parent",
            "parent_id",
            IdCodec(shared.CATEGORIES, shared.AS_OBJECTID),
        ),
        imply_field("__v", 0),
    ),
)
