"""Definitions that several mappings share."""

from __future__ import annotations

from migrator.mapping.codecs import ObjectIdText
from migrator.mapping.references import Key

CATEGORIES = Key(path="_id", collection="categories")
COMMENTS = Key(path="_id", collection="comments")
MEDIA = Key(path="_id", collection="media")
POSTS = Key(path="_id", collection="posts")
TAGS = Key(path="_id", collection="tags")
USERS = Key(path="_id", collection="users")

AS_OBJECTID = ObjectIdText().write
