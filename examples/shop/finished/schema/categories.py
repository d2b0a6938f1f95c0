"""Table categories."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import UUID

from schema.base import metadata

categories = Table(
    "categories",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False),
    Column("parent_id", UUID),  # no foreign key: see README.md
    UniqueConstraint("slug"),
)
