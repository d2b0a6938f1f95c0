"""Collection Products → table products."""

from __future__ import annotations

from migrator.mapping.children import Children
from migrator.mapping.codecs import BIGINT, BOOLEAN, DATETIME, JSON_OBJECT, TEXT, Array
from migrator.mapping.collection import Collection
from migrator.mapping.references import IdCodec, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.products import product_metafields, products

mapping = Collection(
    name="Products",
    table=products,
    key=shared.PRODUCTS,
    rules=(
        map_field(
            "ancestors",
            "ancestor_ids",
            Array(IdCodec(shared.PRODUCTS, shared.AS_TEXT)),
        ),
        map_field("createdAt", "created_at", DATETIME),
        map_field("description", "description", TEXT),
        map_field("handle", "handle", TEXT),
        map_field("isDeleted", "is_deleted", BOOLEAN, required=True),
        map_field("isVisible", "is_visible", BOOLEAN, required=True),
        map_field("originCountry", "origin_country", TEXT),
        map_field("pageTitle", "page_title", TEXT),
        map_field("productType", "product_type", TEXT),
        map_field("publishedProductHash", "published_product_hash", TEXT),
        reference_to("shopId", "shop_id", shared.SHOPS, shared.AS_TEXT, required=True),
        map_field("shouldAppearInSitemap", "should_appear_in_sitemap", BOOLEAN),
        map_field(
            "supportedFulfillmentTypes",
            "supported_fulfillment_types",
            Array(TEXT),
        ),
        map_field("template", "template", TEXT),
        map_field("title", "title", TEXT, required=True),
        map_field("twitterMsg", "twitter_msg", TEXT),
        map_field("type", "type", TEXT, required=True),
        map_field(
            "hashtags",
            "hashtag_ids",
            Array(IdCodec(shared.TAGS, shared.AS_TEXT)),
        ),
        map_field("attributeLabel", "attribute_label", TEXT),
        map_field("height", "height", BIGINT),
        map_field("index", "index", BIGINT),
        map_field("length", "length", BIGINT),
        map_field("optionTitle", "option_title", TEXT),
        map_field("sku", "sku", TEXT),
        map_field("updatedAt", "updated_at", DATETIME),
        map_field("width", "width", BIGINT),
        map_field("workflow", "workflow", JSON_OBJECT),
        map_field("weight", "weight", BIGINT),
        map_field("barcode", "barcode", TEXT),
        map_field("minOrderQuantity", "min_order_quantity", BIGINT),
        map_field("facebookMsg", "facebook_msg", TEXT),
        map_field("googleplusMsg", "googleplus_msg", TEXT),
        map_field("pinterestMsg", "pinterest_msg", TEXT),
        map_field("publishedAt", "published_at", DATETIME),
        map_field("vendor", "vendor", TEXT),
        map_field("currentProductHash", "current_product_hash", TEXT),
        map_field("metaDescription", "meta_description", TEXT),
        map_field("parcel", "parcel", JSON_OBJECT),
        Children(
            path="metafields",
            table=product_metafields,
            parent="product_id",
            rules=(
                map_field("key", "key", TEXT),
                map_field("scope", "scope", TEXT),
                map_field("value", "value", TEXT),
                map_field("valueType", "value_type", TEXT),
                map_field("description", "description", TEXT),
                map_field("namespace", "namespace", TEXT),
            ),
        ),
    ),
)
