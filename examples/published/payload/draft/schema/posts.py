"""Table posts: the collection posts, 90 documents."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from schema.base import metadata

posts = Table(
    "posts",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
    Column("title", Text, nullable=False),
    Column("slug", Text, nullable=False),
    # 1 of 9 distinct values have no document
    Column("author_id", UUID),
    # date 66, string 1
    Column("published_at", TIMESTAMP(timezone=True)),
    Column("meta", JSONB),
    # array 89, object 1
    Column("layout", JSONB),
    Column("status", Text, nullable=False),
    Column("body", JSONB),
    Column("hero_id", UUID, ForeignKey("media.id")),
    UniqueConstraint("slug"),
    Index("posts_status_idx", "status"),
    Index("posts_created_at_idx", "created_at"),
    Index("posts_updated_at_idx", "updated_at"),
    Index("posts_hero_id_idx", "hero_id"),
)

post_categories = Table(
    "post_categories",
    metadata,
    Column("post_id", UUID, ForeignKey("posts.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("category_id", UUID, ForeignKey("categories.id"), nullable=False),
    Index("post_categories_category_id_idx", "category_id"),
)

post_tags = Table(
    "post_tags",
    metadata,
    Column("post_id", UUID, ForeignKey("posts.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("tag_id", UUID, ForeignKey("tags.id"), nullable=False),
    Index("post_tags_tag_id_idx", "tag_id"),
)

post_links = Table(
    "post_links",
    metadata,
    Column("post_id", UUID, ForeignKey("posts.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("label", Text, nullable=False),
    Column("target", JSONB),
    Column("post_link_id", Text, nullable=False),
    Column("url", Text),
)
