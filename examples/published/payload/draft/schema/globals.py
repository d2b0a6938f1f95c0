"""Table globals: the collection globals, 1 documents."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID

from schema.base import metadata

globals = Table(
    "globals",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("created_at", TIMESTAMP(timezone=True)),
    Column("updated_at", TIMESTAMP(timezone=True)),
    Column("global_type", Text),
)

global_items = Table(
    "global_items",
    metadata,
    Column("global_id", UUID, ForeignKey("globals.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("label", Text),
    Column("post_id", UUID, ForeignKey("posts.id")),
    Column("global_item_id", Text),
    Index("global_items_post_id_idx", "post_id"),
)
