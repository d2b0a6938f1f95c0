"""Collection Groups → table groups."""

from __future__ import annotations

from migrator.mapping.codecs import DATETIME, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.groups import groups

mapping = Collection(
    name="Groups",
    table=groups,
    key=Key(path="_id", collection="Groups", text=True),
    rules=(
        map_field("name", "name", TEXT),
        map_field("description", "description", TEXT),
        map_field("slug", "slug", TEXT),
        reference_to("shopId", "shop_id", shared.SHOPS, shared.AS_TEXT),
        map_field("createdAt", "created_at", DATETIME),
        map_field("updatedAt", "updated_at", DATETIME),
        map_field("createdBy", "created_by", TEXT),
    ),
)
