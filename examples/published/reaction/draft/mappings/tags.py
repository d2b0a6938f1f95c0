"""Collection Tags → table tags."""

from __future__ import annotations

from migrator.mapping.codecs import (
    BIGINT,
    BOOLEAN,
    DATETIME,
    INDEXED_TEXT,
    JSON,
    TEXT,
    Array,
)
from migrator.mapping.collection import Collection
from migrator.mapping.references import IdCodec, reference_to
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.tags import tags

mapping = Collection(
    name="Tags",
    table=tags,
    key=shared.TAGS,
    rules=(
        map_field("name", "name", TEXT, required=True),
        map_field("slug", "slug", INDEXED_TEXT, required=True),
        map_field("type", "type", TEXT),
        map_field("metafields", "metafields", JSON),
        map_field("position", "position", BIGINT),
        map_field("isDeleted", "is_deleted", BOOLEAN, required=True),
        map_field("isTopLevel", "is_top_level", BOOLEAN, required=True),
        map_field("isVisible", "is_visible", BOOLEAN, required=True),
        reference_to("shopId", "shop_id", shared.SHOPS, shared.AS_TEXT, required=True),
        map_field("createdAt", "created_at", DATETIME, required=True),
        map_field("updatedAt", "updated_at", DATETIME, required=True),
        map_field(
            "relatedTagIds",
            "related_tag_ids",
            Array(IdCodec(shared.TAGS, shared.AS_TEXT)),
        ),
        map_field("displayTitle", "display_title", TEXT),
        map_field("featuredProductIds", "featured_product_ids", Array(TEXT)),
        map_field("heroMediaUrl", "hero_media_url", TEXT),
        imply_field("groups", []),
    ),
)
