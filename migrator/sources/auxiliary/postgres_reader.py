"""Reads a PostgreSQL database in read-only transactions with a server-side cursor.

A role with SELECT is sufficient. All errors become a `SourceError` without secrets.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from migrator.errors import SourceError, TargetError
from migrator.masking import Secrets, url_secrets
from migrator.postgres.connection_failure import explain_connection_error
from migrator.postgres.conninfo import label_of, parse_url
from migrator.postgres.errors import is_connection_lost
from migrator.postgres.session import prepare_transaction

Connection = psycopg.Connection[Any]
FETCH_ROWS = 500  # rows per fetch; transcripts are long


class PostgresReader:
    """Reads from the database at `url`; `section` is its section of migrate.toml."""

    def __init__(self, url: str, section: str) -> None:
        self._section, self._secrets = section, Secrets(url_secrets(url))
        parts = parse_url(url, self._secrets, f"{section}.url")
        self.label = label_of(parts)
        self._role = parts.get("user", "of the system user")
        self._dsn = make_conninfo("", **{"connect_timeout": "10"} | parts)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a connection with a read-only transaction and one snapshot."""
        with self._connect() as connection, self.explained():
            prepare_transaction(connection)
            # A policy would hide rows without an error, and the migration would be incomplete.
            connection.execute("SET LOCAL row_security = off")
            yield connection

    def _connect(self) -> Connection:
        try:
            # Connection poolers can send prepared statements to another session.
            connection = psycopg.connect(
                self._dsn, application_name="migrate", client_encoding="UTF8", prepare_threshold=None
            )
        except psycopg.Error as error:
            raise self._failure(
                explain_connection_error(error, self._dsn, self.label, self._secrets, f"{self._section}.url")
            ) from None
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return connection

    def _failure(self, error: TargetError) -> SourceError:
        key = f"{self._section}.url"
        failure = SourceError(error.message, error.hint if key in error.hint else f"{key}: {error.hint}")
        failure.transient = error.transient
        return failure

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Translate the driver's errors to `SourceError`."""
        try:
            yield
        except psycopg.errors.InsufficientPrivilege as error:
            hint = (
                "Grant the role SELECT on the table and USAGE on its schema. If the table has row-level security,"
                " connect as its owner or as a role that bypasses it (ALTER ROLE … BYPASSRLS)."
            )
            raise SourceError(f"{self.label}: {self._text(error)} (role {self._role})", hint) from None
        except UnicodeDecodeError:
            hint = "The encoding of the database is SQL_ASCII. Correct the value, or export the table."
            raise SourceError(f"{self.label}: a value is not valid UTF-8", hint) from None
        except psycopg.OperationalError as error:
            failure = SourceError(f"{self.label}: {self._text(error)}", "Run the same command again to resume.")
            failure.transient = is_connection_lost(error)
            raise failure from None
        except psycopg.Error as error:
            raise SourceError(f"{self.label}: {self._text(error)}", f"Check [{self._section}].") from None

    def _text(self, error: psycopg.Error) -> str:
        return self._secrets.mask(" ".join((error.diag.message_primary or str(error)).split()))


def read_columns(connection: Connection, table: sql.Composable, name: str, section: str) -> dict[str, int]:
    """Return column → OID of its type, of a table or view on the search path.

    Raises: `SourceError` if the table does not exist, or row-level security may hide rows.
    """
    # row_security_active: false for roles that bypass row-level security, and for the owner unless it is forced.
    found = connection.execute(
        "SELECT t, t IS NOT NULL AND has_table_privilege(t, 'SELECT') AND row_security_active(t), current_user"
        " FROM (SELECT to_regclass(%s)::oid AS t) s",
        (table.as_string(connection),),
    ).fetchone()
    if not found or found[0] is None:
        raise SourceError(
            f"table {name} not found", f"Check [{section}]; for a table in another schema write SCHEMA.TABLE."
        )
    if found[1]:
        raise SourceError(
            f"row-level security of table {name} applies to role {found[2]} and may hide rows",
            f"Set another role in {section}.url: the owner of the table, or one that bypasses row-level security"
            f" (ALTER ROLE {sql.Identifier(found[2]).as_string(connection)} BYPASSRLS).",
        )
    query = (
        "SELECT attname, CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END FROM pg_attribute a"
        " JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped"
        " ORDER BY a.attnum"
    )
    return dict(connection.execute(query, (found[0],)).fetchall())


def table_identifier(name: str) -> sql.Identifier:
    """Return the identifier of `table` or `schema.table`."""
    return sql.Identifier(*name.split(".", 1))


def stream_rows(connection: Connection, query: sql.Composed, skip: int) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query without the first `skip`, from a server-side cursor."""
    with connection.cursor("auxiliary") as cursor:
        cursor.itersize = FETCH_ROWS
        cursor.execute(query, binary=True)
        if skip:
            cursor.scroll(skip)
        yield from cursor


def fingerprint_rows(connection: Connection, columns: sql.Composable, source: sql.Composable) -> str:
    """Return a digest of the values of all rows that does not depend on their order."""
    query = sql.SQL(
        "SELECT count(*), coalesce(sum(hashtextextended(ROW({})::text, 0)::numeric), 0)::text FROM {}"
    ).format(columns, source)
    count, total = connection.execute(query).fetchone() or (0, "0")
    return f"{count}:{total}"
