"""Collection payments → table payments."""

from __future__ import annotations

from migrator.documents.codec import Document
from migrator.mapping.codecs import DATETIME, INTEGER, UUID_TEXT, Enum
from migrator.mapping.collection import Collection
from migrator.mapping.context import Context, Match, Rejected
from migrator.mapping.references import Key, Reference, reference_to
from migrator.mapping.rules import map_field

from mappings import shared
from schema.payments import METHODS, payments


def reject_payment(context: Context, document: Document) -> Match:
    """A payment without its order cannot become a row: it is kept, with the reason."""
    raise Rejected("orphan", "orderNumber")


mapping = Collection(
    name="payments",
    table=payments,
    key=Key(path="_id", collection="payments", codec=UUID_TEXT),
    rules=(
        Reference(
            path="orderNumber",
            column="order_id",
            key=shared.ORDER_NUMBERS,
            on_missing=reject_payment,
        ),
        map_field("orderNumber", "order_number", INTEGER, required=True),
        reference_to(
            "customerId",
            "customer_id",
            shared.CUSTOMERS,
            shared.AS_HEX,
            required=True,
        ),
        map_field("amount", "amount", shared.MONEY, required=True),
        map_field("method", "method", Enum(METHODS), required=True),
        map_field("paidAt", "paid_at", DATETIME, required=True),
    ),
)
