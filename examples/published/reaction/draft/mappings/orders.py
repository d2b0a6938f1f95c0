"""Collection Orders → table orders."""

from __future__ import annotations

from migrator.mapping.children import Children
from migrator.mapping.codecs import (
    BIGINT,
    DATETIME,
    INDEXED_TEXT,
    JSON,
    JSON_ARRAY,
    JSON_OBJECT,
    TEXT,
    Double,
)
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.orders import (
    order_anonymous_access_tokens,
    order_discounts,
    order_documents,
    order_export_history,
    order_history,
    order_notes,
    order_transactions,
    orders,
)

mapping = Collection(
    name="Orders",
    table=orders,
    key=Key(path="_id", collection="Orders", text=True),
    unique={"reference_id": "duplicate_key"},
    rules=(
        reference_to("accountId", "account_id", shared.ACCOUNTS, shared.AS_TEXT),
        map_field("billingAddress", "billing_address", JSON_OBJECT),
        map_field("createdAt", "created_at", DATETIME),
        map_field("currencyCode", "currency_code", TEXT, required=True),
        map_field("customFields", "custom_fields", JSON_OBJECT),
        map_field("email", "email", TEXT),
        map_field("referenceId", "reference_id", INDEXED_TEXT, required=True),
        map_field("shipping", "shipping", JSON),
        reference_to("shopId", "shop_id", shared.SHOPS, shared.AS_TEXT, required=True),
        map_field("totalItemQuantity", "total_item_quantity", BIGINT),
        map_field("updatedAt", "updated_at", DATETIME),
        map_field("workflow", "workflow", JSON_OBJECT, required=True),
        map_field("payments", "payments", JSON_ARRAY),
        map_field("surcharges", "surcharges", JSON_ARRAY),
        map_field("cartId", "cart_id", TEXT),
        map_field("ordererPreferredLanguage", "orderer_preferred_language", TEXT),
        Children(
            path="anonymousAccessTokens",
            table=order_anonymous_access_tokens,
            parent="order_id",
            rules=(
                map_field("createdAt", "created_at", DATETIME, required=True),
                map_field("hashedToken", "hashed_token", TEXT, required=True),
            ),
        ),
        Children(
            path="documents",
            table=order_documents,
            parent="order_id",
            rules=(
                map_field("docId", "doc_id", TEXT, required=True),
                map_field("docType", "doc_type", TEXT),
            ),
        ),
        Children(
            path="exportHistory",
            table=order_export_history,
            parent="order_id",
            rules=(
                map_field("status", "status", TEXT, required=True),
                map_field("dateAttempted", "date_attempted", DATETIME, required=True),
                map_field("exportMethod", "export_method", TEXT, required=True),
                map_field("shopId", "shop_id", TEXT, required=True),
                map_field("destinationIdentifier", "destination_identifier", TEXT),
            ),
        ),
        Children(
            path="history",
            table=order_history,
            parent="order_id",
            rules=(
                map_field("event", "event", TEXT, required=True),
                map_field("value", "value", TEXT, required=True),
                map_field("userId", "user_id", TEXT, required=True),
                map_field("updatedAt", "updated_at", DATETIME, required=True),
            ),
        ),
        Children(
            path="notes",
            table=order_notes,
            parent="order_id",
            rules=(
                map_field("content", "content", TEXT, required=True),
                map_field("userId", "user_id", TEXT, required=True),
                map_field("updatedAt", "updated_at", DATETIME, required=True),
            ),
        ),
        Children(
            path="transactions",
            table=order_transactions,
            parent="order_id",
            rules=(
                map_field("shipmentId", "shipment_id", TEXT),
                map_field("createdAt", "created_at", DATETIME, required=True),
                map_field("itemId", "item_id", TEXT),
                map_field("paymentId", "payment_id", TEXT),
                map_field("inventoryId", "inventory_id", TEXT),
            ),
        ),
        Children(
            path="discounts",
            table=order_discounts,
            parent="order_id",
            rules=(
                map_field("amount", "amount", Double(whole_as_int=True), required=True),
                map_field("discountId", "discount_id", TEXT, required=True),
            ),
        ),
    ),
)
