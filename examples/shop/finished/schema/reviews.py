"""Table reviews."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, SmallInteger, Table
from sqlalchemy.dialects.postgresql import UUID

from schema.base import metadata

reviews = Table(
    "reviews",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("product_id", UUID, ForeignKey("products.id"), nullable=False),
    # NULL: the customer was deleted, the review stays
    Column("author_id", UUID, ForeignKey("customers.id")),
    Column("stars", SmallInteger, nullable=False),
    Index("reviews_product_id_idx", "product_id"),
    Index("reviews_author_id_idx", "author_id"),
)
