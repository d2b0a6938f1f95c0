"""The tables of the target: one module for each."""

from __future__ import annotations

from schema import articles, authors, comments, media, revisions, sites, tags
from schema.base import metadata

__all__ = [
    "articles",
    "authors",
    "comments",
    "media",
    "metadata",
    "revisions",
    "sites",
    "tags",
]
