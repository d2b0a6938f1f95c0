"""Table authors: the collection authors, 40 documents."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text
from sqlalchemy.dialects.postgresql import UUID

from schema.base import metadata

authors = Table(
    "authors",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("handle", Text, nullable=False),
    Column("bio", Text, nullable=False),
)
