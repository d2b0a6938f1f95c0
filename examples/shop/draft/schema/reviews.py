"""Table reviews: the collection reviews, 200 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Table
from sqlalchemy.dialects.postgresql import UUID

from schema.base import metadata

reviews = Table(
    "reviews",
    metadata,
    Column("id", UUID, primary_key=True),
    Column("product_id", UUID, ForeignKey("products.id"), nullable=False),
    # 1 of 83 distinct values have no document
    Column("author_id", UUID, ForeignKey("customers.id")),
    Column("stars", BigInteger, nullable=False),
    Index("reviews_product_id_idx", "product_id"),
    Index("reviews_author_id_idx", "author_id"),
)
