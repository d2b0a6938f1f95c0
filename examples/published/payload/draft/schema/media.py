"""Table media: the collection media, 30 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from schema.base import metadata

media = Table(
    "media",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
    Column("alt", Text),
    Column("width", BigInteger, nullable=False),
    Column("focal", JSONB, nullable=False),
    Index("media_created_at_idx", "created_at"),
    Index("media_updated_at_idx", "updated_at"),
)
