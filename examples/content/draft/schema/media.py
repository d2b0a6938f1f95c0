"""Table media: the collection media, 133 documents."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import UUID

from schema.base import metadata

media = Table(
    "media",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("file", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("thumbnail", LargeBinary, nullable=False),
    Column("uploaded_by", UUID, ForeignKey("authors.id"), nullable=False),
    Index("media_uploaded_by_idx", "uploaded_by"),
)

media_used_in = Table(
    "media_used_in",
    metadata,
    Column("media_id", UUID, ForeignKey("media.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("article_id", Text, ForeignKey("articles.id"), nullable=False),
    Column("position_2", BigInteger, nullable=False),
    Index("media_used_in_article_id_idx", "article_id"),
)
