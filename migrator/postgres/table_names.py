"""Names of tables: a table of schema public has its own name, one of another schema the name `schema.table`.

This is the name in records, messages and plain values. Schemas and tables whose names have a dot are refused
(`mapping/schema_checks.py`), so that a name has one meaning.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # importing it takes longer than some commands
    from sqlalchemy import Table

PUBLIC: Final = "public"
SCRATCH: Final = "migrator_scratch"  # holds copies of all tables, by their names
# The name of a table in SQL: alias of pg_class → expression.
_OF_CATALOG: Final = (
    "(CASE WHEN {0}.relnamespace = 'public'::regnamespace THEN {0}.relname::text"
    " ELSE (SELECT nspname FROM pg_namespace WHERE oid = {0}.relnamespace) || '.' || {0}.relname END)"
)
_MACRO: Final = re.compile(r"TABLE_NAME\((\w+)\)")


def name_of(table: Table) -> str:
    """Return the name of a table."""
    return qualify(table.schema or PUBLIC, table.name)


def qualify(schema: str, name: str) -> str:
    """Return the name of a table, index or type of a schema."""
    return name if schema in (PUBLIC, SCRATCH) else f"{schema}.{name}"


def split_name(name: str, rows: str = PUBLIC) -> tuple[str, str]:
    """Return the schema and the name of a table there. `rows`: the schema of the namespace (`state.records`)."""
    schema, dot, local = name.partition(".")
    return (schema, local) if dot and rows == PUBLIC else (rows, name)


def schema_of(name: str) -> str:
    """Return the schema of a table."""
    return split_name(name)[0]


def catalog_query(query: str) -> str:
    """Return a query in which `TABLE_NAME(c)` is the name of the table of an alias of pg_class."""
    return _MACRO.sub(lambda found: _OF_CATALOG.format(found[1]), query)
