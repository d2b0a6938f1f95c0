"""The migration of the database shop: one module for each collection.

Carts have no table: they expire within days, and are kept in the archive.
"""

from __future__ import annotations

from mappings import categories, customers, orders, payments, products, reviews

# References lead from later to earlier ones.
MAPPINGS = (
    categories.mapping,
    customers.mapping,
    products.mapping,
    reviews.mapping,
    orders.mapping,
    payments.mapping,
)
