"""Definitions that several mappings share."""

from __future__ import annotations

from migrator.mapping.codecs import TEXT
from migrator.mapping.references import Key

GROUPS = Key(path="apikey", collection="groups", text=True)

AS_TEXT = TEXT.write
