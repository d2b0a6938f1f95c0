"""Definitions that several mappings share."""

from __future__ import annotations

from migrator.mapping.codecs import ObjectIdText
from migrator.mapping.references import Key

CATEGORIES = Key(path="_id", collection="categories")
CUSTOMERS = Key(path="_id", collection="customers")
PRODUCTS = Key(path="_id", collection="products")

AS_HEX = ObjectIdText(as_text=True).write
AS_OBJECTID = ObjectIdText().write
