"""Collection posts → table posts."""

from __future__ import annotations

from migrator.mapping.children import Children, junction
from migrator.mapping.codecs import DATETIME, INDEXED_TEXT, JSON, JSON_OBJECT, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.references import IdCodec, reference_to
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.posts import post_categories, post_links, post_tags, posts

mapping = Collection(
    name="posts",
    table=posts,
    key=shared.POSTS,
    unique={"slug": "duplicate_key"},
    rules=(
        map_field("createdAt", "created_at", DATETIME, required=True),
        map_field("updatedAt", "updated_at", DATETIME, required=True),
        map_field("title", "title", TEXT, required=True),
        map_field("slug", "slug", INDEXED_TEXT, required=True),
        map_field("author", "author_id", IdCodec(shared.USERS, shared.AS_OBJECTID)),
        map_field("publishedAt", "published_at", DATETIME),
        map_field("meta", "meta", JSON_OBJECT, restore_null=True),
        map_field("layout", "layout", JSON),
        map_field("_status", "status", INDEXED_TEXT, required=True),
        map_field("body", "body", JSON_OBJECT),
        reference_to("hero", "hero_id", shared.MEDIA, shared.AS_OBJECTID),
        junction(
            "categories",
            post_categories,
            parent="post_id",
            reference=reference_to(
                "value",
                "category_id",
                shared.CATEGORIES,
                shared.AS_OBJECTID,
                required=True,
            ),
        ),
        junction(
            "tags",
            post_tags,
            parent="post_id",
            reference=reference_to(
                "value",
                "tag_id",
                shared.TAGS,
                shared.AS_OBJECTID,
                required=True,
            ),
        ),
        Children(
            path="links",
            table=post_links,
            parent="post_id",
            rules=(
                map_field("label", "label", TEXT, required=True),
                map_field("target", "target", JSON_OBJECT),
                map_field("id", "post_link_id", TEXT, required=True),
                map_field("url", "url", TEXT),
            ),
        ),
        imply_field("__v", 0),
    ),
)
