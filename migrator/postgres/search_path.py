"""Which schemas a statement searches for names, and how names of the target are kept from replacing those we mean.

PostgreSQL uses the function or operator whose argument types fit best, in whichever schema of the search path it is:
`count(anyelement)` in schema public would replace the aggregate of pg_catalog. So our sessions search no schema of the
owner (`ISOLATED`), and statements qualify relations and types of extensions. The owner's own functions need the owner's
search path while we write rows (`session.owner_search_path`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

Connection = psycopg.Connection[Any]
Record = dict[str, Any]

ISOLATED = "pg_catalog, pg_temp"
OWNER_PATH = "migrate.owner_path"  # a setting of our sessions
_KEEP_OWNER_PATH = (
    f"SELECT pg_catalog.set_config('{OWNER_PATH}', CAST(pg_catalog.current_schemas(false) AS pg_catalog.text), false)"
)
# The schemas of the role's or database's setting, then `public` and the schema of pgvector.
_COMPLETE_OWNER_PATH = """
    SELECT set_config('migrate.owner_path', string_agg(quote_ident(name), ', ' ORDER BY place) || ', pg_temp', false)
      FROM (SELECT name, min(place) AS place
              FROM (SELECT name, place
                      FROM unnest(current_setting('migrate.owner_path')::name[]) WITH ORDINALITY AS o (name, place)
                     UNION ALL
                    SELECT 'public', 1000000
                     UNION ALL
                    SELECT n.nspname, 1000001 FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                     WHERE e.extname = 'vector') listed
             WHERE name NOT IN ('pg_catalog', 'pg_temp') GROUP BY name) schemas
"""


def isolate_session(connection: Connection) -> None:
    """Search no schema of the owner in this session from now on; remember which ones its setting names."""
    connection.execute(_KEEP_OWNER_PATH)
    connection.execute(f"SET search_path = {ISOLATED}")
    connection.execute(_COMPLETE_OWNER_PATH)


@contextmanager
def search_path(connection: Connection, schemas: Iterable[str]) -> Iterator[None]:
    """Set the search_path in the block, within the current transaction."""
    before = connection.execute("SELECT pg_catalog.current_setting('search_path')").fetchone()
    path = sql.SQL(", ").join(map(sql.Identifier, schemas)).as_string(connection)
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))
    yield
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", before)


@contextmanager
def schema_first(connection: Connection, schema: str) -> Iterator[None]:
    """Set the search_path to `schema` and the schemas of the extensions, within the current transaction.

    PostgreSQL then renders names in these schemas without the schema.
    """
    with search_path(connection, [schema, *extension_schemas(connection)]):
        yield


def extension_schemas(connection: Connection) -> list[str]:
    """Return the schemas of the extensions of the database: that of pgvector, then the others by name."""
    query = (
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace GROUP BY n.nspname"
        " ORDER BY bool_or(e.extname = 'vector') DESC, n.nspname"
    )
    return [name for (name,) in connection.execute(query) if name != "pg_catalog"]


def schema_of_extension(connection: Connection, extension: str) -> str:
    """Return the schema of an extension; `public` if it is not installed."""
    query = "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = %s"
    found = connection.execute(query, (extension,)).fetchone()
    return str(found[0]) if found else "public"


def render(connection: Connection, query: str, values: Mapping[str, Any], schema: str) -> list[Record]:
    """Execute a query whose results contain names, without the schema if it is `schema` or one of an extension.

    Requires a transaction. PostgreSQL resolves the names in a query when a cursor is declared, and renders names in
    results by the search path at the fetch. So no function or operator of `schema` can be used by mistake.
    """
    with connection.cursor("migrator_render", row_factory=dict_row) as cursor:
        cursor.execute(query.encode(), values)
        with schema_first(connection, schema):
            return cursor.fetchall()


def create_object(connection: Connection, statement: str) -> None:
    """Execute a statement that creates an object of the declared schema, within a transaction.

    A name that pg_catalog does not have is one of an extension (`vector`, `vector_cosine_ops`).
    """
    try:
        with connection.transaction():
            connection.execute(statement.encode())
    except (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedFunction):
        with search_path(connection, ["pg_catalog", *extension_schemas(connection)]):
            connection.execute(statement.encode())
