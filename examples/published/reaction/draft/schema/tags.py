"""Table tags: the collection Tags, 25 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

from schema.base import metadata

tags = Table(
    "tags",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False),
    Column("type", Text),
    # array 16, object 1
    Column("metafields", JSONB),
    Column("position", BigInteger),
    Column("is_deleted", Boolean, nullable=False),
    Column("is_top_level", Boolean, nullable=False),
    Column("is_visible", Boolean, nullable=False),
    Column("shop_id", Text, ForeignKey("shops.id"), nullable=False),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
    Column("related_tag_ids", ARRAY(Text)),
    Column("display_title", Text),
    Column("featured_product_ids", ARRAY(Text)),
    Column("hero_media_url", Text),
    Index("tags_slug_idx", "slug"),
    Index("tags_shop_id_idx", "shop_id"),
)
