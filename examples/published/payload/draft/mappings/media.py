"""Collection media → table media."""

from __future__ import annotations

from migrator.mapping.codecs import BIGINT, DATETIME, JSON_OBJECT, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.media import media

mapping = Collection(
    name="media",
    table=media,
    key=shared.MEDIA,
    rules=(
        map_field("createdAt", "created_at", DATETIME, required=True),
        map_field("updatedAt", "updated_at", DATETIME, required=True),
        map_field("alt", "alt", TEXT),
        map_field("width", "width", BIGINT, required=True),
        map_field("focal", "focal", JSON_OBJECT, required=True),
        imply_field("__v", 0),
    ),
)
