"""Collection articles → table articles."""

from __future__ import annotations

from migrator.mapping.children import junction
from migrator.mapping.codecs import BOOLEAN, DATETIME, LONG, TEXT, Array
from migrator.mapping.collection import Collection
from migrator.mapping.references import IdCodec, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.articles import article_tags, articles

mapping = Collection(
    name="articles",
    table=articles,
    key=shared.ARTICLES,
    rules=(
        map_field("title", "title", TEXT, required=True),
        map_field("body", "body", TEXT, required=True),
        reference_to(
            "authorId",
            "author_id",
            shared.AUTHORS,
            shared.AS_HEX,
            required=True,
        ),
        reference_to("site", "site_id", shared.SITES, shared.AS_TEXT, required=True),
        map_field("seo.title", "seo_title", TEXT, required=True),
        map_field("seo.noIndex", "seo_no_index", BOOLEAN, required=True),
        map_field("status", "status", TEXT, required=True),
        map_field("publishedAt", "published_at", DATETIME, restore_null=True),
        map_field("views", "views", LONG, required=True),
        map_field(
            "related",
            "related_ids",
            Array(IdCodec(shared.ARTICLES, shared.AS_TEXT)),
        ),
        junction(
            "tags",
            article_tags,
            parent="article_id",
            reference=reference_to("value", "tag_id", shared.TAGS, shared.AS_TEXT, required=True),
        ),
    ),
)
