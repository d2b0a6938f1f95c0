"""Definitions that several mappings share."""

from __future__ import annotations

from migrator.mapping.codecs import TEXT, ObjectIdText
from migrator.mapping.references import Key

ARTICLES = Key(path="_id", collection="articles", text=True)
AUTHORS = Key(path="_id", collection="authors")
COMMENTS = Key(path="_id", collection="comments")
SITES = Key(path="_id", collection="sites", text=True)
TAGS = Key(path="_id", collection="tags", text=True)

AS_HEX = ObjectIdText(as_text=True).write
AS_OBJECTID = ObjectIdText().write
AS_TEXT = TEXT.write
