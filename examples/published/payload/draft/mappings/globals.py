"""Collection globals → table globals."""

from __future__ import annotations

from migrator.mapping.children import Children
from migrator.mapping.codecs import DATETIME, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.globals import global_items, globals

mapping = Collection(
    name="globals",
    table=globals,
    key=Key(path="_id", collection="globals"),
    rules=(
        map_field("createdAt", "created_at", DATETIME),
        map_field("updatedAt", "updated_at", DATETIME),
        map_field("globalType", "global_type", TEXT),
        Children(
            path="items",
            table=global_items,
            parent="global_id",
            rules=(
                map_field("label", "label", TEXT),
                reference_to("post", "post_id", shared.POSTS, shared.AS_OBJECTID),
                map_field("id", "global_item_id", TEXT),
            ),
        ),
        imply_field("__v", 0),
    ),
)
