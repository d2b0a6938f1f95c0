"""Collection transactions → table transactions. LibreChat's usage records of the same collection are archived."""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from typing import Any

from mappings import shared
from mappings.settings import Settings
from migrator.documents.codec import Document
from migrator.mapping.codecs import INDEXED_TEXT, TEXT, UNREADABLE
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Archived, Context, Rejected, Row, type_name
from migrator.mapping.numbers import number_of
from migrator.mapping.references import Key
from migrator.mapping.rules import Compute, Filter, Return, imply_field, map_field
from schema.payments import transactions

# Currencies without a minor unit (Stripe's list).
ZERO_DECIMAL = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"]
)

# The default context keeps 28 digits. A Decimal128 has 34, a number in a text up to 80.
_EXACT = decimal.Context(prec=100)


def archive_credits(context: Context, amount: Any, status: Any, type_: Any) -> None:
    """Archive usage records: they have none of the three fields.

    Raises:
        Archived: the document is not a payment.
    """
    if amount is ABSENT and status is ABSENT and type_ is ABSENT:
        raise Archived("not_a_payment", "")


def compute_currency(context: Context, currency: Any) -> str:
    """Return the currency in lower case; usd if the source has none."""
    if currency is ABSENT or currency is None:
        context.note("defaulted", "currency")
        return "usd"
    plain = TEXT.read(currency, context.note, "currency")
    if plain is UNREADABLE:
        context.note("wrong_type", f"currency ({type_name(currency)})")
        return "usd"
    return str(plain).lower()


def compute_amount(context: Context, amount: Any, currency: str) -> int:
    """Return the exact amount in the minor unit. A fraction of a cent is not rounded.

    Raises:
        Rejected: the amount is missing, not a number, out of range, or has a fraction of a cent.
    """
    if amount is ABSENT or amount is None:
        raise Rejected("missing_required", f"amount ({type_name(amount)})")
    number = number_of(amount)
    if number is None:
        raise Rejected("wrong_type", f"amount ({type_name(amount)})")
    major = context.options.config.transactions.amount_unit == "major"
    cents = _EXACT.multiply(number, 100) if major and currency not in ZERO_DECIMAL else number
    if cents != cents.to_integral_value():
        raise Rejected("fractional_amount", "amount")
    if not -(2**31) <= cents < 2**31:
        raise Rejected("wrong_type", "amount: beyond the column's range")
    if isinstance(amount, str):
        context.note("coerced", "amount")
    return int(cents)


def find_blockers(settings: Settings, rejects: Mapping[str, int]) -> list[str]:
    """Return a blocker if amounts have a fraction although the unit is cents: the unit is probably wrong."""
    count = rejects.get("fractional_amount", 0)
    if settings.transactions.amount_unit != "cents" or not count:
        return []
    return [
        f"{count:,} amounts have a fraction, but transactions.amount_unit is cents;"
        ' if the amounts are in the major unit, set amount_unit = "major"'
    ]


def return_amount(document: Document, row: Row) -> None:
    """Set the amount in the major unit: for documents that do not count cents."""
    cents = row["amount"]
    document["amount"] = cents // 100 if cents % 100 == 0 else cents / 100


mapping = Collection(
    name="transactions",
    table=transactions,
    key=Key(path="_id", collection="transactions"),
    unique={"stripe_session_id": "duplicate_key"},
    rules=(
        Filter(archive_credits, ("amount", "status", "type")),
        shared.owner("user"),
        Compute(
            columns=("currency",),
            fields=("currency",),
            function=compute_currency,
            restores="currency",
            reverse=str,
            reverse_inputs=("currency",),
        ),
        Compute(
            columns=("amount",),
            fields=("amount",),
            inputs=("currency",),
            function=compute_amount,
            restores="amount",
            reverse=int,
            reverse_inputs=("amount",),
        ),
        map_field("status", "status", TEXT, required=True),
        map_field("type", "type", TEXT, required=True),
        map_field("stripeSessionId", "stripe_session_id", INDEXED_TEXT),
        map_field("stripeCustomerId", "stripe_customer_id", TEXT),
        map_field("stripeSubscriptionId", "stripe_subscription_id", TEXT),
        map_field("productId", "product_id", TEXT),
        map_field("productName", "product_name", TEXT),
        *shared.dates(),
        imply_field("__v", 0),
    ),
    returns=(Return(("amount", "currency"), return_amount),),
)
