"""Collection carts → table carts."""

from __future__ import annotations

from migrator.mapping.children import Children
from migrator.mapping.codecs import BIGINT, DATETIME
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.carts import cart_lines, carts

mapping = Collection(
    name="carts",
    table=carts,
    key=Key(path="_id", collection="carts"),
    rules=(
        reference_to(
            "customer",
            "customer_id",
            shared.CUSTOMERS,
            shared.AS_OBJECTID,
            required=True,
        ),
        map_field("expiresAt", "expires_at", DATETIME, required=True),
        Children(
            path="lines",
            table=cart_lines,
            parent="cart_id",
            rules=(
                reference_to(
                    "productId",
                    "product_id",
                    shared.PRODUCTS,
                    shared.AS_OBJECTID,
                    required=True,
                ),
                map_field("quantity", "quantity", BIGINT, required=True),
            ),
        ),
    ),
)
