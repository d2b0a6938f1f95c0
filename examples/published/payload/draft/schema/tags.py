"""Table tags: the collection tags, 20 documents."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID

from schema.base import metadata

tags = Table(
    "tags",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
    Column("name", Text, nullable=False),
    UniqueConstraint("name"),
    Index("tags_created_at_idx", "created_at"),
    Index("tags_updated_at_idx", "updated_at"),
)
