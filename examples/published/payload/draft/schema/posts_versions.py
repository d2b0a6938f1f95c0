"""Table posts_versions: the collection _posts_versions, 133 documents."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Table
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from schema.base import metadata

posts_versions = Table(
    "posts_versions",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("parent_id", UUID, ForeignKey("posts.id"), nullable=False),
    Column("version", JSONB, nullable=False),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
    Column("latest", Boolean),
    Index("posts_versions_created_at_idx", "created_at"),
    Index("posts_versions_latest_idx", "latest"),
    Index("posts_versions_parent_id_idx", "parent_id"),
    Index("posts_versions_updated_at_idx", "updated_at"),
)
