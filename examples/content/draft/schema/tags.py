"""Table tags: the collection tags, 25 documents."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from schema.base import metadata

tags = Table(
    "tags",
    metadata,
    Column("id", Text, primary_key=True),
    Column("label", Text, nullable=False),
)
