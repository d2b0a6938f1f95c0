"""The migration of the database shop: one module for each collection."""

from __future__ import annotations

from mappings import carts, categories, customers, orders, payments, products, reviews

# References lead from later to earlier ones.
MAPPINGS = (
    categories.mapping,
    customers.mapping,
    products.mapping,
    payments.mapping,
    reviews.mapping,
    carts.mapping,
    orders.mapping,
)
