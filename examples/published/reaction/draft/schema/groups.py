"""Table groups: the collection Groups, 4 documents."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Table, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP

from schema.base import metadata

groups = Table(
    "groups",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text),
    Column("description", Text),
    Column("slug", Text),
    Column("shop_id", Text, ForeignKey("shops.id")),
    Column("created_at", TIMESTAMP(timezone=True)),
    Column("updated_at", TIMESTAMP(timezone=True)),
    Column("created_by", Text),
    Index("groups_shop_id_idx", "shop_id"),
)
