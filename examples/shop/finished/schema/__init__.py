"""The tables of the target: one module for each."""

from __future__ import annotations

from schema import categories, customers, orders, payments, products, reviews
from schema.base import metadata

__all__ = [
    "categories",
    "customers",
    "metadata",
    "orders",
    "payments",
    "products",
    "reviews",
]
