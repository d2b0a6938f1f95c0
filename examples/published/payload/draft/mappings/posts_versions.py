"""Collection _posts_versions → table posts_versions."""

from __future__ import annotations

from migrator.mapping.codecs import BOOLEAN, DATETIME, JSON_OBJECT
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.posts_versions import posts_versions

mapping = Collection(
    name="_posts_versions",
    table=posts_versions,
    key=Key(path="_id", collection="_posts_versions"),
    rules=(
        reference_to(
            "parent",
            "parent_id",
            shared.POSTS,
            shared.AS_OBJECTID,
            required=True,
        ),
        map_field("version", "version", JSON_OBJECT, required=True),
        map_field("createdAt", "created_at", DATETIME, required=True),
        map_field("updatedAt", "updated_at", DATETIME, required=True),
        map_field("latest", "latest", BOOLEAN),
        imply_field("__v", 0),
    ),
)
