"""Identifiers of tables in statements, from their names (`table_names.py`)."""

from __future__ import annotations

from psycopg import sql

from migrator.postgres.table_names import PUBLIC, split_name


def identify(name: str, rows: str = PUBLIC) -> sql.Identifier:
    """Return the qualified identifier of a table. `rows`: the schema of the namespace."""
    return sql.Identifier(*split_name(name, rows))
