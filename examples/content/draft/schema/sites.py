"""Table sites: the collection sites, 3 documents."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from schema.base import metadata

sites = Table(
    "sites",
    metadata,
    Column("id", Text, primary_key=True),
    Column("domain", Text),
)
