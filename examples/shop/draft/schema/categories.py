"""Table categories: the collection categories, 12 documents."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text
from sqlalchemy.dialects.postgresql import UUID

from schema.base import metadata

categories = Table(
    "categories",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("name", Text),
    Column("slug", Text),
    Column("parent_id", UUID),
)
