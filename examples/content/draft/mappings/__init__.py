"""The migration of the database content: one module for each collection."""

from __future__ import annotations

from mappings import articles, authors, comments, media, revisions, sites, tags

# References lead from later to earlier ones.
MAPPINGS = (
    authors.mapping,
    sites.mapping,
    tags.mapping,
    articles.mapping,
    comments.mapping,
    revisions.mapping,
    media.mapping,
)
