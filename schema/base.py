"""What all tables share: the metadata, the names of keys, the two enums, and columns that recur. No tables here."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, MetaData, Table, Text, func, text
from sqlalchemy.dialects.postgresql import ENUM, TIMESTAMP, UUID


def target_of(constraint: ForeignKeyConstraint, _table: Table) -> str:
    """`users_id` of a key to users.id. SQLAlchemy's own token for it needs the other table to be defined already."""
    return "_".join(constraint.elements[0].target_fullname.split(".")[-2:])


# Drizzle's own names, so that `drizzle-kit push` finds nothing to rename.
NAMES: dict[str, Any] = {
    "target": target_of,
    "pk": "%(table_name)s_pkey",
    "uq": "%(table_name)s_%(column_0_name)s_unique",
    "fk": "%(table_name)s_%(column_0_name)s_%(target)s_fk",
}

# `extensions` is read by the engine: what must be there before the first table.
metadata = MetaData(naming_convention=NAMES, info={"extensions": ("vector",)})

# One `role` for accounts and for messages, because the document gives both columns the same enum.
role = ENUM("user", "admin", "assistant", "system", name="role", metadata=metadata)
tier = ENUM("free", "pro", "admin", name="tier", metadata=metadata)


def uuid_key() -> Column[Any]:
    """`id`, a UUID the database makes up where none is given."""
    return Column("id", UUID, primary_key=True, server_default=func.gen_random_uuid())


def text_key() -> Column[Any]:
    """`id`, a text the application chooses."""
    return Column("id", Text, primary_key=True)


def tenant() -> Column[Any]:
    """`tenant_id`: whose row it is; it goes when the tenant goes."""
    return owner("tenant_id", "tenants.id")


def owner(name: str, target: str) -> Column[Any]:
    """A reference to what a row belongs to: mandatory, and the row goes with it."""
    return Column(name, UUID, ForeignKey(target, ondelete="CASCADE"), nullable=False)


def created_at() -> Column[Any]:
    return Column("created_at", TIMESTAMP, nullable=False, server_default=func.now())


def updated_at() -> Column[Any]:
    return Column("updated_at", TIMESTAMP, nullable=False, server_default=func.now())


def tier_column(name: str = "tier", *, nullable: bool = False) -> Column[Any]:
    return Column(name, tier, nullable=nullable, server_default=text("'free'"))
