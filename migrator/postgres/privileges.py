"""Checks the privileges of the target role before the work, and suggests the GRANT for what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from migrator.errors import TargetError
from migrator.postgres.table_names import PUBLIC, catalog_query, split_name

Connection = psycopg.Connection[Any]

# What a role lacks in the schemas of a migration. %s: the names of the schemas.
_LACKING = """
    SELECT n.nspname, current_user, has_schema_privilege(n.oid, 'USAGE'),
           coalesce(bool_and(has_table_privilege(c.oid, 'SELECT')), true),
           coalesce(bool_and(has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')
             AND has_table_privilege(c.oid, 'DELETE')), true),
           coalesce(array_agg(DISTINCT pg_get_userbyid(c.relowner)::text)
             FILTER (WHERE NOT pg_has_role(c.relowner, 'USAGE') AND NOT o.rolsuper), '{}')
      FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm')
      LEFT JOIN pg_roles o ON o.oid = c.relowner
     WHERE n.nspname = ANY (%s)
     GROUP BY n.oid, n.nspname
     ORDER BY n.nspname
"""
SCHEMAS = ("migrator", "public")
CONNECT_AS_OWNER = "Connect as the owner of the tables, or grant the missing privilege."


def suggest_grants(connection: Connection) -> str:
    """Return the statements that grant what the role of a connection lacks in the schemas of a migration."""
    grants: list[str] = []
    for schema, name, usable, readable, writable, owners in connection.execute(_LACKING, (list(SCHEMAS),)).fetchall():
        where, role = quote(schema), quote(name)
        grants += [] if usable else [f"GRANT USAGE ON SCHEMA {where} TO {role};"]
        grants += [] if readable else [f"GRANT SELECT ON ALL TABLES IN SCHEMA {where} TO {role}; (enough to read)"]
        if readable and not writable:
            grants.append(f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {where} TO {role};")
        grants += [f"GRANT {quote(owner)} TO {role}; (to change tables of schema {where})" for owner in owners]
    return " ".join(dict.fromkeys(grants)) or CONNECT_AS_OWNER


@contextmanager
def explain_missing_privileges(dsn: str) -> Iterator[None]:
    """Convert `InsufficientPrivilege` errors in the block to a `TargetError` with the GRANT for the role in `dsn`."""
    role = str(conninfo_to_dict(dsn).get("user") or "")
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        hint = CONNECT_AS_OWNER
        with suppress(psycopg.Error), psycopg.connect(dsn, autocommit=True) as connection:
            hint = suggest_grants(connection)
        text = f"the target role {role} lacks a privilege: {error.diag.message_primary}"
        raise TargetError(text, hint=hint) from error


def require_create(connection: Connection, extensions: Sequence[str], schemas: Sequence[str] = (PUBLIC,)) -> None:
    """Check that the role may create the objects in `schemas`, which need not exist, and the extensions.

    Raises:
        TargetError: it may not; the error lists all missing privileges and the statements that grant them.
    """
    asked = connection.execute(
        "SELECT current_user, current_database(),"
        " ARRAY(SELECT nspname::text FROM pg_namespace WHERE nspname = ANY(%(schemas)s)"
        "  AND NOT has_schema_privilege(oid, 'CREATE') ORDER BY 1),"
        " has_database_privilege(current_database(), 'CREATE') OR (to_regnamespace('migrator') IS NOT NULL"
        "  AND NOT EXISTS (SELECT unnest(%(schemas)s::text[]) EXCEPT SELECT nspname FROM pg_namespace))",
        {"schemas": list(schemas)},
    ).fetchone()
    assert asked is not None  # the SELECT returns one row
    role, database, refused, in_database = asked
    missing, grants = [], []
    for schema in refused:  # since PostgreSQL 15 not a default privilege
        missing.append(f"create objects in schema {schema}")
        grants.append(f"GRANT CREATE ON SCHEMA {quote(schema)} TO {quote(role)};")
    if not in_database:
        missing.append(f"create a schema in database {database}")
        grants.append(f"GRANT CREATE ON DATABASE {quote(database)} TO {quote(role)};")
    for name in missing_extensions(connection, extensions):
        missing.append(f"create the extension {name}")
        grants.append(f"CREATE EXTENSION {quote(name)}; (as a superuser, in this database)")
    if missing:
        raise TargetError(f"the target role {role} may not {' or '.join(missing)}", hint=" ".join(grants))


def missing_extensions(connection: Connection, names: Sequence[str]) -> Iterator[str]:
    """Yield the extensions that are available but not installed, and that this role may not create."""
    query = (
        "SELECT a.name FROM pg_available_extensions a WHERE a.name = ANY(%s) AND a.installed_version IS NULL"
        " AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
        " AND NOT EXISTS (SELECT FROM pg_available_extension_versions v WHERE v.name = a.name AND v.trusted"
        " AND v.version = a.default_version AND has_database_privilege(current_database(), 'CREATE')) ORDER BY 1"
    )
    yield from (str(row[0]) for row in connection.execute(query, (list(names),)))


def refuse_hidden_rows(connection: Connection, tables: Sequence[str]) -> None:
    """Check that row-level security does not apply to the role.

    COPY FROM does not work with row-level security, and hidden rows could be neither counted nor verified.

    Raises:
        TargetError: it applies to some of `tables`.
    """
    query = catalog_query(
        "SELECT TABLE_NAME(c), current_user FROM pg_class c WHERE TABLE_NAME(c) = ANY(%s)"
        " AND row_security_active(c.oid) ORDER BY 1"
    )
    hidden = connection.execute(query.encode(), (list(tables),)).fetchall()
    if hidden:
        role = quote(hidden[0][1])
        raise TargetError(
            f"row-level security hides rows from the target role {hidden[0][1]} in"
            f" {', '.join(name for name, _ in hidden)}",
            hint="Connect as the owner of the tables (without FORCE ROW LEVEL SECURITY), or as a role with BYPASSRLS;"
            f" to read one tenant: ALTER ROLE {role} SET app.current_tenant_id = '…';",
        )


def quote_table(name: str) -> str:
    """Quote the name of a table, with its schema if that is not public."""
    schema, table = split_name(name)
    return quote(table) if schema == PUBLIC else f"{quote(schema)}.{quote(table)}"


def quote(name: str) -> str:
    """Quote an identifier if it needs quotes."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else sql.Identifier(name).as_string()
