"""Table comments: the collection comments, 400 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Table, Text
from sqlalchemy.dialects.postgresql import UUID

from schema.base import metadata

comments = Table(
    "comments",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("article_id", Text, ForeignKey("articles.id"), nullable=False),
    Column("text", Text, nullable=False),
    Column("likes", BigInteger, nullable=False),
    Column("spam", Boolean, nullable=False),
    Column("reply_to_id", UUID),
    Index("comments_article_id_idx", "article_id"),
)
