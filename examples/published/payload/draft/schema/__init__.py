"""The tables of the target: one module for each."""

from __future__ import annotations

from schema import (
    categories,
    comments,
    globals,
    media,
    posts,
    posts_versions,
    tags,
    users,
)
from schema.base import metadata

__all__ = [
    "categories",
    "comments",
    "globals",
    "media",
    "metadata",
    "posts",
    "posts_versions",
    "tags",
    "users",
]
