"""What the target's role may do: asked before the work, with the statement that grants what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from migrator.errors import TargetError

Connection = psycopg.Connection[Any]

# What PostgreSQL refuses, and what an administrator may run about it. {role} and {name} are quoted.
_GRANTS: tuple[tuple[str, str], ...] = (
    (
        r"permission denied for schema (?P<name>.+)$",
        "GRANT USAGE ON SCHEMA {name} TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA {name} TO {role};",
    ),
    (r"permission denied for database (?P<name>.+)$", "GRANT CREATE, TEMPORARY ON DATABASE {name} TO {role};"),
    (
        r"permission denied for (?:table|sequence|view|materialized view) (?P<name>.+)$",
        "GRANT ALL ON {name} TO {role}; to read, SELECT is enough. Or connect as the owner.",
    ),
    (r"must be owner of \S+ (?P<name>.+)$", "Connect as the owner of {name}, or GRANT the owner's role TO {role};"),
)


def suggest_grant(error: psycopg.Error, role: str = "") -> str:
    """How to mend an `InsufficientPrivilege`: on what, and for whom, if that is known."""
    said, whom = error.diag.message_primary or "", quote(role) if role else "the role"
    for pattern, grant in _GRANTS:
        if found := re.search(pattern, said):
            return grant.format(name=quote(found["name"]), role=whom)
    return f"Connect as the owner of the tables, or grant this to {whom}."


@contextmanager
def explain_missing_privileges(dsn: str) -> Iterator[None]:
    """What the role of a target may not do, as an error with the statement that lets it."""
    role = str(conninfo_to_dict(dsn).get("user") or "")
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise TargetError(
            f"the target's role {role} lacks a right: {error.diag.message_primary}", hint=suggest_grant(error, role)
        ) from error


def require_create(connection: Connection, extensions: Sequence[str]) -> None:
    """Raises `TargetError` with all that the role lacks to build the schema, and the statements that grant it."""
    asked = connection.execute(
        "SELECT current_user, current_database(), has_schema_privilege('public', 'CREATE'),"
        " has_database_privilege(current_database(), 'CREATE') OR to_regnamespace('migrator') IS NOT NULL"
    ).fetchone()
    assert asked is not None  # a SELECT of values always answers
    role, database, in_schema, in_database = asked
    lacks, grants = [], []
    if not in_schema:  # since PostgreSQL 15 a role that may create schemas may not create anything in `public`
        lacks.append("create anything in schema public")
        grants.append(f"GRANT CREATE ON SCHEMA public TO {quote(role)};")
    if not in_database:
        lacks.append(f"create a schema in database {database}")
        grants.append(f"GRANT CREATE ON DATABASE {quote(database)} TO {quote(role)};")
    for name in missing_extensions(connection, extensions):
        lacks.append(f"create the extension {name}")
        grants.append(f"CREATE EXTENSION {quote(name)}; (as a superuser, in this database)")
    if lacks:
        raise TargetError(f"the target's role {role} may not {', nor '.join(lacks)}", hint=" ".join(grants))


def missing_extensions(connection: Connection, names: Sequence[str]) -> Iterator[str]:
    """Those that are offered but not there, and that this role may not create."""
    query = (
        "SELECT a.name FROM pg_available_extensions a WHERE a.name = ANY(%s) AND a.installed_version IS NULL"
        " AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
        " AND NOT EXISTS (SELECT FROM pg_available_extension_versions v WHERE v.name = a.name AND v.trusted"
        " AND v.version = a.default_version AND has_database_privilege(current_database(), 'CREATE')) ORDER BY 1"
    )
    yield from (str(row[0]) for row in connection.execute(query, (list(names),)))


def refuse_hidden_rows(connection: Connection, tables: Sequence[str]) -> None:
    """Raises `TargetError` where row security holds for the role: COPY does not work under it, and what it hides could
    be neither counted nor checked."""
    query = """
        SELECT relname, current_user FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relname = ANY(%s) AND row_security_active(oid)
         ORDER BY relname
    """
    hidden = connection.execute(query, (list(tables),)).fetchall()
    if hidden:
        role = quote(hidden[0][1])
        raise TargetError(
            f"row-level security hides rows from the target's role {hidden[0][1]} in"
            f" {', '.join(name for name, _ in hidden)}",
            hint="Connect as the owner of the tables (without FORCE ROW LEVEL SECURITY), or as a role with BYPASSRLS;"
            f" to read one tenant: ALTER ROLE {role} SET app.current_tenant_id = '…';",
        )


def quote(name: str) -> str:
    """A name as a statement needs it, and no more quotes than that."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else sql.Identifier(name).as_string()
