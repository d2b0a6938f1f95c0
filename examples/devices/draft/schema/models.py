"""Table models: the collection models, 8 documents."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from schema.base import metadata

models = Table(
    "models",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text),
)
