"""Checks of the schema of a migration alone: names of tables, the tenant, rows with embeddings."""

from __future__ import annotations

import sqlalchemy as sa

from migrator.errors import UsageError
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.table_names import PUBLIC, name_of, schema_of
from migrator.postgres.tenancy import tenancy_of

LONGEST_NAME = 63  # bytes: PostgreSQL cuts longer names
RESERVED = frozenset({"migrator", "information_schema"})
TENANT_COLUMNS = ("id", "name", "subdomain")  # of the table of tenants: what section [tenant] sets


def check_names(metadata: sa.MetaData) -> None:
    """Raises: `UsageError` if the name of a table is ambiguous, or cannot be used."""
    for table in metadata.tables.values():
        name = name_of(table)
        if "." in table.name or "." in (table.schema or ""):
            raise UsageError(f"table {name}: names of schemas and tables must not have a dot", hint="Rename it.")
        if len(name.encode()) > LONGEST_NAME:
            raise UsageError(f"table {name}: the name has more than {LONGEST_NAME} bytes", hint="Use a shorter one.")
        if table.schema == PUBLIC:
            raise UsageError(f"table {name}: public is named as its schema", hint="Leave schema out: it is public.")
        if table.schema is not None and (table.schema in RESERVED or table.schema.startswith(("pg_", "migrator_"))):
            raise UsageError(f"table {name}: the schema {table.schema} is reserved", hint="Use another schema.")


def check_tenancy(metadata: sa.MetaData) -> None:
    """Raises: `UsageError` if the table of tenants, or a column of the tenant, cannot be used."""
    tenancy = tenancy_of(metadata)
    if tenancy is None:
        return
    table = metadata.tables.get(tenancy.table)
    missing = [name for name in TENANT_COLUMNS if table is None or name not in table.c]
    if missing:
        lacks = f"the table {tenancy.table} of tenants"
        raise UsageError(
            f"{lacks} is not in the schema" if table is None else f"{lacks} has no column {', '.join(missing)}",
            hint="Correct `tenancy` in the `info` of the metadata, or remove it if rows belong to no tenant.",
        )
    for each in metadata.tables.values():
        if tenancy.column in each.c and kind_of_column(each.c[tenancy.column]) != "uuid":
            raise UsageError(
                f"column {each.name}.{tenancy.column}: the column of the tenant must have the type uuid",
                hint="Change the type, or remove `tenancy` from the `info` of the metadata.",
            )


def check_embedded(table: sa.Table) -> None:
    """Raises: `UsageError` if the table with the embeddings is not in schema public."""
    if schema_of(name_of(table)) != PUBLIC:
        raise UsageError(
            f"EMBEDDED: the table {name_of(table)} is in another schema than public",
            hint="Rows with embeddings need a table of the schema public.",
        )
