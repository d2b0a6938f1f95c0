"""What a target server must offer, read with a few small queries. Nothing is written.

Each check takes a connection and yields problems. Privileges have a module of their own (`privileges`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from migrator.postgres.privileges import quote

Connection = psycopg.Connection[Any]
Level = Literal["warning", "blocker"]
CLOCK_SECONDS = 60  # a larger difference between the clocks makes times in reports misleading
UNICODE = "UTF8"
UNCHECKED = "SQL_ASCII"  # the server stores any bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a migration cannot run, or what an operator should know; and what to do."""

    level: Level
    text: str
    remedy: str = ""


def check_encoding(connection: Connection) -> Iterator[Problem]:
    """Yields a blocker for an encoding that cannot hold every Unicode text, a warning for SQL_ASCII."""
    name, encoding = _row(connection, "SELECT current_database(), current_setting('server_encoding')")
    if encoding == UNCHECKED:
        yield Problem(
            level="warning",
            text=f"database {name} has the encoding SQL_ASCII, so the server does not check or convert texts",
            remedy="Use a database with the encoding UTF8 if other clients do not all use UTF-8.",
        )
    elif encoding != UNICODE:
        yield Problem(
            level="blocker",
            text=f"database {name} has the encoding {encoding}, which cannot hold every text of the source",
            remedy=f"CREATE DATABASE {quote(name + '_utf8')} ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0;"
            " and name it in target.url.",
        )


def check_writable(connection: Connection) -> Iterator[Problem]:
    """Yields a blocker for a standby server, and for a setting that makes transactions read-only."""
    standby, read_only = _row(
        connection, "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')"
    )
    if standby:
        yield Problem(
            level="blocker",
            text="the server is a standby, which is read-only",
            remedy="Connect to the primary server in target.url.",
        )
    elif read_only == "on":
        origin, remedy = _read_only_origin(connection)
        yield Problem(level="blocker", text=f"default_transaction_read_only is on, set for {origin}", remedy=remedy)


def _read_only_origin(connection: Connection) -> tuple[str, str]:
    """Returns where the setting comes from, and the statement that changes it."""
    query = """
        SELECT r.rolname, d.datname FROM pg_db_role_setting s
          LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
         WHERE (s.setrole = 0 OR r.rolname = session_user) AND (s.setdatabase = 0 OR d.datname = current_database())
           AND EXISTS (SELECT FROM unnest(s.setconfig) c WHERE c LIKE 'default\\_transaction\\_read\\_only=%%')
         ORDER BY s.setrole <> 0 AND s.setdatabase <> 0 DESC, s.setrole <> 0 DESC
         LIMIT 1
    """
    found = connection.execute(query).fetchone()
    if found is None:
        return (
            "the server or this connection",
            "ALTER SYSTEM RESET default_transaction_read_only; or remove it from target.url.",
        )
    role, database = found
    if role is not None:
        inside = f" IN DATABASE {quote(database)}" if database is not None else ""
        return f"role {role}", f"ALTER ROLE {quote(role)}{inside} RESET default_transaction_read_only;"
    return f"database {database}", f"ALTER DATABASE {quote(database)} RESET default_transaction_read_only;"


def check_extensions(connection: Connection, names: tuple[str, ...]) -> Iterator[Problem]:
    """Yields a blocker for an extension that the server does not offer, or whose schema the role may not use."""
    for name in names:
        query = """
            SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = %(name)s), n.nspname,
                   has_schema_privilege(n.oid, 'USAGE'), current_user
              FROM (SELECT) one LEFT JOIN pg_extension e ON e.extname = %(name)s
              LEFT JOIN pg_namespace n ON n.oid = e.extnamespace
        """
        offered, schema, usable, role = _row(connection, query, {"name": name})
        if schema is None and not offered:
            yield Problem(
                level="blocker",
                text=f"the server does not offer the extension {name}",
                remedy=f"Install it on the server (Debian: postgresql-NN-{'pgvector' if name == 'vector' else name}).",
            )
        elif schema is not None and not usable:
            yield Problem(
                level="blocker",
                text=f"role {role} may not use schema {schema}, which contains the extension {name}",
                remedy=f"GRANT USAGE ON SCHEMA {quote(schema)} TO {quote(role)};",
            )


def check_tablespace(connection: Connection) -> Iterator[Problem]:
    """Yields a blocker where new tables go to a tablespace in which the role may not create any."""
    query = """
        SELECT s.spcname, current_user FROM pg_tablespace s
         WHERE s.spcname = current_setting('default_tablespace') AND NOT has_tablespace_privilege(s.oid, 'CREATE')
           AND s.oid <> (SELECT dattablespace FROM pg_database WHERE datname = current_database())
    """
    for name, role in connection.execute(query):
        yield Problem(
            level="blocker",
            text=f"role {role} may not create objects in tablespace {name} (default_tablespace)",
            remedy=f"GRANT CREATE ON TABLESPACE {quote(name)} TO {quote(role)};"
            f" or ALTER ROLE {quote(role)} RESET default_tablespace;",
        )


def check_free_connections(connection: Connection, needed: int) -> Iterator[Problem]:
    """Yields a blocker where fewer than `needed` further connections can be opened by this role."""
    query = """
        SELECT current_setting('max_connections')::int
               - CASE WHEN r.rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::int
                      + coalesce(current_setting('reserved_connections', true)::int, 0) END
               - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
               CASE WHEN r.rolconnlimit < 0 THEN NULL ELSE r.rolconnlimit
                    - (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user) END,
               CASE WHEN d.datconnlimit < 0 OR r.rolsuper THEN NULL ELSE d.datconnlimit
                    - (SELECT count(*) FROM pg_stat_activity a WHERE a.datname = d.datname) END
          FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()
    """
    server, role, database = _row(connection, query)
    free = min(limit for limit in (server, role, database) if limit is not None)
    if free < needed:
        yield Problem(
            level="blocker",
            text=f"the server has {max(free, 0)} free connections for this role; {needed} are needed",
            remedy="Close other connections, raise max_connections or the CONNECTION LIMIT, or lower engine.workers.",
        )


def check_clock(connection: Connection) -> Iterator[Problem]:
    """Yields a warning where the clocks of the server and of this machine differ."""
    (seconds,) = _row(connection, "SELECT extract(epoch FROM clock_timestamp())::float8")
    difference = float(seconds) - time.time()
    if abs(difference) > CLOCK_SECONDS:
        yield Problem(
            level="warning",
            text=f"the clocks of the server and of this machine differ by {abs(difference):,.0f} s",
            remedy="Synchronise both clocks (NTP); times in reports are those of the server.",
        )


def describe_server(connection: Connection) -> str:
    """Returns version and encoding of the server in words, for output."""
    version, encoding = _row(connection, "SELECT current_setting('server_version'), current_setting('server_encoding')")
    return f"PostgreSQL {version}, {encoding}"


def _row(connection: Connection, query: Any, values: dict[str, Any] | None = None) -> tuple[Any, ...]:
    row = connection.execute(query, values).fetchone()
    assert row is not None  # the queries return one row
    return tuple(row)
