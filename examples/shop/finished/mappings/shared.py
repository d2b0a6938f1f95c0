"""Definitions that several mappings share."""

from __future__ import annotations

from migrator.mapping.codecs import INTEGER, Double, Numeric, ObjectIdText
from migrator.mapping.references import Key

CATEGORIES = Key(path="_id", collection="categories")
CUSTOMERS = Key(path="_id", collection="customers")
PRODUCTS = Key(path="_id", collection="products")
ORDER_NUMBERS = Key(
    path="orderNumber",
    collection="orders",
    column="order_number",
    codec=INTEGER,
)

MONEY = Numeric(12, 2)
SIZE = Double(whole_as_int=True)  # numbers of JavaScript

AS_HEX = ObjectIdText(as_text=True).write
AS_OBJECTID = ObjectIdText().write
