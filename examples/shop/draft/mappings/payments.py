"""Collection payments → table payments."""

from __future__ import annotations

from migrator.mapping.codecs import BIGINT, DATETIME, NUMERIC, TEXT
from migrator.mapping.collection import Collection
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.payments import payments

mapping = Collection(
    name="payments",
    table=payments,
    key=Key(path="_id", collection="payments"),
    rules=(
        map_field("orderNumber", "order_number", BIGINT, required=True),
        reference_to(
            "customerId",
            "customer_id",
            shared.CUSTOMERS,
            shared.AS_HEX,
            required=True,
        ),
        map_field("amount", "amount", NUMERIC),
        map_field("method", "method", TEXT, required=True),
        map_field("paidAt", "paid_at", DATETIME, required=True),
    ),
)
