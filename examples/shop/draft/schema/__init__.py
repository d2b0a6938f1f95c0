"""The tables of the target: one module for each."""

from __future__ import annotations

from schema import carts, categories, customers, orders, payments, products, reviews
from schema.base import metadata

__all__ = [
    "carts",
    "categories",
    "customers",
    "metadata",
    "orders",
    "payments",
    "products",
    "reviews",
]
