"""Table revisions: the collection revisions, 585 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from schema.base import metadata

revisions = Table(
    "revisions",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("article_id", Text, ForeignKey("articles.id"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("editor_id", UUID, ForeignKey("authors.id"), nullable=False),
    Column("at", TIMESTAMP(timezone=True), nullable=False),
    Index("revisions_article_id_idx", "article_id"),
    Index("revisions_editor_id_idx", "editor_id"),
)

revision_changes = Table(
    "revision_changes",
    metadata,
    Column("revision_id", UUID, ForeignKey("revisions.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("op", Text, nullable=False),
    Column("path", Text, nullable=False),
    # null 208, int 191, string 186
    Column("value", JSONB),
)
