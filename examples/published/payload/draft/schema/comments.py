"""Table comments: the collection comments, 150 documents."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Table, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID

from schema.base import metadata

comments = Table(
    "comments",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
    Column("post_id", UUID, ForeignKey("posts.id")),
    Column("name", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("approved", Boolean, nullable=False),
    Column("parent_id", UUID),
    Index("comments_created_at_idx", "created_at"),
    Index("comments_updated_at_idx", "updated_at"),
    Index("comments_post_id_idx", "post_id"),
)
