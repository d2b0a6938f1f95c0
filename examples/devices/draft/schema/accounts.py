"""Table accounts: the collection accounts, 40 documents."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from schema.base import metadata

accounts = Table(
    "accounts",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("limits_devices", BigInteger, nullable=False),
    Column("limits_users", BigInteger, nullable=False),
)
