"""The migration of the database reaction: one module for each collection."""

from __future__ import annotations

from mappings import accounts, groups, orders, products, shops, tags

# References lead from later to earlier ones.
MAPPINGS = (
    shops.mapping,
    groups.mapping,
    products.mapping,
    tags.mapping,
    accounts.mapping,
    orders.mapping,
)
