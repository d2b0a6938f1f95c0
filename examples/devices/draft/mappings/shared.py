"""Definitions that several mappings share."""

from __future__ import annotations

from migrator.mapping.codecs import LONG, TEXT, UUID
from migrator.mapping.references import Key

ACCOUNTS = Key(path="_id", collection="accounts", codec=LONG)
DEVICES = Key(path="_id", collection="devices", codec=UUID)
MODELS = Key(path="_id", collection="models", text=True)

AS_LONG = LONG.write
AS_TEXT = TEXT.write
AS_UUID = UUID.write
