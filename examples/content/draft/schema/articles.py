"""Table articles: the collection articles, 400 documents."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP, UUID

from schema.base import metadata

articles = Table(
    "articles",
    metadata,
    Column("id", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("author_id", UUID, ForeignKey("authors.id"), nullable=False),
    Column("site_id", Text, ForeignKey("sites.id"), nullable=False),
    Column("seo_title", Text, nullable=False),
    Column("seo_no_index", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("published_at", TIMESTAMP(timezone=True)),
    Column("views", BigInteger, nullable=False),
    Column("related_ids", ARRAY(Text)),
    Index("articles_author_id_idx", "author_id"),
    Index("articles_site_id_idx", "site_id"),
)

article_tags = Table(
    "article_tags",
    metadata,
    Column("article_id", Text, ForeignKey("articles.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("tag_id", Text, ForeignKey("tags.id"), nullable=False),
    Index("article_tags_tag_id_idx", "tag_id"),
)
