"""Definitions that several mappings share."""

from __future__ import annotations

from migrator.mapping.codecs import TEXT
from migrator.mapping.references import Key

ACCOUNTS = Key(path="_id", collection="Accounts", text=True)
PRODUCTS = Key(path="_id", collection="Products", text=True)
SHOPS = Key(path="_id", collection="Shops", text=True)
TAGS = Key(path="_id", collection="Tags", text=True)

AS_TEXT = TEXT.write
