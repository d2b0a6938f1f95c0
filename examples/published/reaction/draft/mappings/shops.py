"""Collection Shops → table shops."""

from __future__ import annotations

from migrator.mapping.children import Children
from migrator.mapping.codecs import (
    BOOLEAN,
    DATETIME,
    JSON_ARRAY,
    JSON_OBJECT,
    TEXT,
    Array,
)
from migrator.mapping.collection import Collection
from migrator.mapping.rules import map_field

from mappings import shared
from schema.shops import (
    shop_address_book,
    shop_address_book_metafields,
    shop_brand_assets,
    shop_emails,
    shop_languages,
    shop_metafields,
    shop_units_of_length,
    shop_units_of_measure,
    shops,
)

mapping = Collection(
    name="Shops",
    table=shops,
    key=shared.SHOPS,
    rules=(
        map_field("allowGuestCheckout", "allow_guest_checkout", BOOLEAN),
        map_field("slug", "slug", TEXT),
        map_field("shopType", "shop_type", TEXT),
        map_field("active", "active", BOOLEAN),
        map_field("status", "status", TEXT),
        map_field("name", "name", TEXT),
        map_field("description", "description", TEXT),
        map_field("domains", "domains", Array(TEXT)),
        map_field("defaultPaymentMethod", "default_payment_method", TEXT),
        map_field("currency", "currency", TEXT),
        map_field("currencies", "currencies", JSON_OBJECT),
        map_field("locales", "locales", JSON_OBJECT),
        map_field("language", "language", TEXT),
        map_field("public", "public", TEXT),
        map_field("timezone", "timezone", TEXT),
        map_field("defaultParcelSize", "default_parcel_size", JSON_OBJECT),
        map_field("theme", "theme", JSON_OBJECT),
        map_field("createdAt", "created_at", DATETIME),
        map_field("updatedAt", "updated_at", DATETIME),
        map_field("paymentMethods", "payment_methods", JSON_ARRAY),
        map_field("availablePaymentMethods", "available_payment_methods", Array(TEXT)),
        map_field("workflow", "workflow", JSON_OBJECT),
        map_field("defaultNavigationTreeId", "default_navigation_tree_id", TEXT),
        map_field("storefrontUrls", "storefront_urls", JSON_OBJECT),
        map_field("allowCustomUserLocale", "allow_custom_user_locale", BOOLEAN),
        map_field("keywords", "keywords", TEXT),
        map_field("baseUOL", "base_uol", TEXT),
        map_field("baseUOM", "base_uom", TEXT),
        map_field("defaultSellerRoles", "default_seller_roles", Array(TEXT)),
        map_field("layout", "layout", JSON_ARRAY),
        map_field("shopLogoUrls", "shop_logo_urls", JSON_OBJECT),
        Children(
            path="addressBook",
            table=shop_address_book,
            parent="shop_id",
            key="id",
            rules=(
                map_field("_id", "shop_address_book_id", TEXT),
                map_field("fullName", "full_name", TEXT),
                map_field("firstName", "first_name", TEXT),
                map_field("lastName", "last_name", TEXT),
                map_field("address1", "address_1", TEXT),
                map_field("address2", "address_2", TEXT),
                map_field("city", "city", TEXT),
                map_field("company", "company", TEXT),
                map_field("phone", "phone", TEXT),
                map_field("region", "region", TEXT),
                map_field("postal", "postal", TEXT),
                map_field("country", "country", TEXT),
                map_field("isCommercial", "is_commercial", BOOLEAN),
                map_field("isBillingDefault", "is_billing_default", BOOLEAN),
                map_field("failedValidation", "failed_validation", BOOLEAN),
                map_field("addressName", "address_name", TEXT),
                map_field("isShippingDefault", "is_shipping_default", BOOLEAN),
                Children(
                    path="metafields",
                    table=shop_address_book_metafields,
                    parent="shop_address_book_id",
                    rules=(
                        map_field("namespace", "namespace", TEXT),
                        map_field("value", "value", TEXT),
                        map_field("valueType", "value_type", TEXT),
                        map_field("description", "description", TEXT),
                        map_field("key", "key", TEXT),
                        map_field("scope", "scope", TEXT),
                    ),
                ),
            ),
        ),
        Children(
            path="languages",
            table=shop_languages,
            parent="shop_id",
            rules=(
                map_field("label", "label", TEXT),
                map_field("i18n", "i_18_n", TEXT),
                map_field("enabled", "enabled", BOOLEAN),
            ),
        ),
        Children(
            path="unitsOfLength",
            table=shop_units_of_length,
            parent="shop_id",
            rules=(
                map_field("label", "label", TEXT),
                map_field("uol", "uol", TEXT),
                map_field("default", "default", BOOLEAN),
            ),
        ),
        Children(
            path="metafields",
            table=shop_metafields,
            parent="shop_id",
            rules=(
                map_field("key", "key", TEXT),
                map_field("namespace", "namespace", TEXT),
                map_field("value", "value", TEXT),
                map_field("valueType", "value_type", TEXT),
            ),
        ),
        Children(
            path="brandAssets",
            table=shop_brand_assets,
            parent="shop_id",
            rules=(map_field("mediaId", "media_id", TEXT),),
        ),
        Children(
            path="emails",
            table=shop_emails,
            parent="shop_id",
            rules=(
                map_field("address", "address", TEXT),
                map_field("verified", "verified", BOOLEAN),
                map_field("provides", "provides", TEXT),
            ),
        ),
        Children(
            path="unitsOfMeasure",
            table=shop_units_of_measure,
            parent="shop_id",
            rules=(
                map_field("uom", "uom", TEXT),
                map_field("label", "label", TEXT),
            ),
        ),
    ),
)
