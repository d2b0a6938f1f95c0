"""Table categories: the collection categories, 14 documents."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID

from schema.base import metadata

categories = Table(
    "categories",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("created_at", TIMESTAMP(timezone=True)),
    Column("updated_at", TIMESTAMP(timezone=True)),
    Column("title", Text),
    Column("parent_id", UUID),
    Index("categories_created_at_idx", "created_at"),
    Index("categories_updated_at_idx", "updated_at"),
)
