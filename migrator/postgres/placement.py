"""In which schemas the declared objects are created: in their own, or in scratch schemas in place of these."""

from __future__ import annotations

from typing import Any

from sqlalchemy import MetaData
from sqlalchemy.dialects.postgresql import DOMAIN, ENUM

from migrator.postgres.table_names import PUBLIC


def placed_type(original: Any, copied: Any, schema: str) -> Any:
    """Return the type of a copied column. SQLAlchemy 2.0 and 2.1 copy named types into different schemas."""
    if isinstance(original, ENUM):
        return ENUM(*original.enums, name=original.name, schema=place_schema(original.schema, schema))
    if isinstance(original, DOMAIN):
        return DOMAIN(
            str(original.name),
            original.data_type,
            collation=original.collation,
            default=original.default,
            constraint_name=original.constraint_name,
            not_null=original.not_null,
            check=original.check,
            schema=place_schema(original.schema, schema),
        )
    return copied


def place_schema(own: str | None, schema: str) -> str:
    """Return the schema in place of `own`: `schema` in place of public, and one that begins with it for any other."""
    if own in (None, PUBLIC):
        return schema
    return str(own) if schema == PUBLIC else f"{schema}_{own}"


def original_schema(placed: str, schema: str) -> str:
    """Return the schema for which `place_schema` has given `placed`."""
    if placed == schema:
        return PUBLIC
    return placed if schema == PUBLIC else placed.removeprefix(f"{schema}_")


def schemas_in(metadata: MetaData) -> tuple[str, ...]:
    """Return the schemas of the tables and of their types, public first."""
    found = {table.schema or PUBLIC for table in metadata.tables.values()}
    for column in (column for table in metadata.tables.values() for column in table.columns):
        if isinstance(column.type, ENUM | DOMAIN):
            found.add(column.type.schema or PUBLIC)
    return (PUBLIC, *sorted(found - {PUBLIC}))
