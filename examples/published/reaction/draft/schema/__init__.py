"""The tables of the target: one module for each."""

from __future__ import annotations

from schema import accounts, groups, orders, products, shops, tags
from schema.base import metadata

__all__ = ["accounts", "groups", "metadata", "orders", "products", "shops", "tags"]
