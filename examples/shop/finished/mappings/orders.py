"""Collection orders → table orders."""

from __future__ import annotations

from migrator.mapping.children import Children
from migrator.mapping.codecs import DATETIME, INTEGER, TEXT, Enum
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import imply_field, map_field

from mappings import shared
from schema.orders import ORDER_STATES, order_items, orders

mapping = Collection(
    name="orders",
    table=orders,
    key=Key(path="_id", collection="orders"),
    unique={"order_number": "duplicate_key"},
    rules=(
        map_field("orderNumber", "order_number", INTEGER, required=True),
        reference_to(
            "customer",
            "customer_id",
            shared.CUSTOMERS,
            shared.AS_OBJECTID,
            required=True,
        ),
        map_field(
            "shippingAddress.street",
            "shipping_street",
            TEXT,
            required=True,
        ),
        map_field("shippingAddress.city", "shipping_city", TEXT, required=True),
        map_field("shippingAddress.zip", "shipping_zip", TEXT, required=True),
        map_field(
            "shippingAddress.country",
            "shipping_country",
            TEXT,
            required=True,
        ),
        map_field("total", "total", shared.MONEY, required=True),
        map_field("status", "status", Enum(ORDER_STATES), required=True),
        map_field("coupon", "coupon", TEXT, restore_null=True),
        map_field("placedAt", "placed_at", DATETIME, required=True),
        Children(
            path="items",
            table=order_items,
            parent="order_id",
            rules=(
                reference_to(
                    "product",
                    "product_id",
                    shared.PRODUCTS,
                    shared.AS_OBJECTID,
                    required=True,
                ),
                map_field("sku", "sku", TEXT, required=True),
                map_field("quantity", "quantity", INTEGER, required=True),
                map_field("price", "price", shared.MONEY, required=True),
            ),
        ),
        imply_field("__v", 0),
    ),
)
