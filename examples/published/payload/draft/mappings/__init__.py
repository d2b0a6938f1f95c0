"""The migration of the database payload: one module for each collection."""

from __future__ import annotations

from mappings import (
    categories,
    comments,
    globals,
    media,
    posts,
    posts_versions,
    tags,
    users,
)

# References lead from later to earlier ones.
MAPPINGS = (
    categories.mapping,
    media.mapping,
    tags.mapping,
    users.mapping,
    posts.mapping,
    posts_versions.mapping,
    comments.mapping,
    globals.mapping,
)
