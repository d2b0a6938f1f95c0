"""Which schemas a statement searches for names, and how names of the target are kept from replacing those we mean.

PostgreSQL uses the function or operator whose argument types fit best, in whichever schema of the search path it is:
`count(anyelement)` in schema public would replace the aggregate of pg_catalog. So our sessions search no schema of the
owner (`ISOLATED`), and statements qualify relations and types of extensions. The owner's own functions need the owner's
search path while we write rows (`session.owner_search_path`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

Connection = psycopg.Connection[Any]
Record = dict[str, Any]

ISOLATED = "pg_catalog, pg_temp"
_READ_OWNER_PATH = """
    SELECT pg_catalog.current_schemas(false),
           (SELECT n.nspname FROM pg_catalog.pg_extension e, pg_catalog.pg_namespace n
             WHERE n.oid OPERATOR(pg_catalog.=) e.extnamespace AND e.extname OPERATOR(pg_catalog.=) 'vector')
"""
_owner_paths: WeakKeyDictionary[Connection, str] = WeakKeyDictionary()


def owner_path(connection: Connection) -> str:
    """Return the schemas of the role's or database's setting, then `public` and the schema of pgvector.

    Requires a transaction. The setting is read when a connection needs it first: most write no rows of the owner.
    """
    if connection not in _owner_paths:
        connection.execute("SET LOCAL search_path TO DEFAULT")
        row = connection.execute(_READ_OWNER_PATH).fetchone()
        connection.execute(f"SET LOCAL search_path = {ISOLATED}")
        assert row is not None  # a SELECT of values returns one row
        found, extension = row
        schemas = dict.fromkeys([*found, "public", *([extension] if extension else ())])
        named = [_quote(name) for name in schemas if name not in ("pg_catalog", "pg_temp")]
        _owner_paths[connection] = ", ".join([*named, "pg_temp"])
    return _owner_paths[connection]


def use_owner_path(connection: Connection, path: str) -> None:
    """Let the functions of the owner find others by this path: that of another database."""
    _owner_paths[connection] = path


def _quote(name: str) -> str:
    return sql.Identifier(name).as_string()


@contextmanager
def search_path(connection: Connection, schemas: Iterable[str]) -> Iterator[None]:
    """Set the search_path in the block, within the current transaction."""
    before = connection.execute("SELECT pg_catalog.current_setting('search_path')").fetchone()
    path = sql.SQL(", ").join(map(sql.Identifier, schemas)).as_string(connection)
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))
    yield
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", before)


@contextmanager
def schemas_first(connection: Connection, schemas: Sequence[str]) -> Iterator[None]:
    """Set the search_path to `schemas` and those of the extensions, within the current transaction.

    PostgreSQL then renders names in these schemas without the schema.
    """
    with search_path(connection, dict.fromkeys([*schemas, *extension_schemas(connection)])):
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


def render(
    connection: Connection, queries: Mapping[str, str], values: Mapping[str, Any], schemas: Sequence[str]
) -> dict[str, list[Record]]:
    """Execute queries whose results contain names, without the schema if it is one of `schemas` or of an extension.

    Requires a transaction. PostgreSQL resolves the names in a query when a cursor is declared, and renders names in
    results by the search path at the fetch. So no function or operator of them can be used by mistake.
    """
    with ExitStack() as opened:
        cursors: dict[str, psycopg.ServerCursor[Record]] = {}
        for name, query in queries.items():
            cursor = connection.cursor(f"migrator_render_{len(cursors)}", row_factory=dict_row)
            cursors[name] = opened.enter_context(cursor)
            cursor.execute(query.encode(), values)
        with schemas_first(connection, schemas):
            return {name: cursor.fetchall() for name, cursor in cursors.items()}


def create_objects(connection: Connection, scripts: Iterable[str], extensions: Iterable[str]) -> None:
    """Execute scripts that create objects of the declared schema, in their order, within a transaction.

    Scripts that do not mention one of the extensions are executed together: a schema has a hundred objects.
    """
    known = tuple(extensions)
    for mentioned, group in groupby(scripts, lambda script: any(name in script for name in known)):
        several = list(group)
        if mentioned or not _execute(connection, "; ".join(several)):
            for script in several:
                create_object(connection, script)


def create_object(connection: Connection, script: str) -> None:
    """Execute a script that creates an object of the declared schema, within a transaction.

    A name that pg_catalog does not have is one of an extension (`vector`, `vector_cosine_ops`).
    """
    if not _execute(connection, script):
        with extension_path(connection):
            connection.execute(script.encode())


def _execute(connection: Connection, script: str) -> bool:
    """Execute a script in a round trip; return whether it succeeded. If a name is missing, nothing has changed."""
    try:
        connection.execute(f"SAVEPOINT migrator_script; {script}; RELEASE SAVEPOINT migrator_script".encode())
    except (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedFunction):
        connection.execute("ROLLBACK TO SAVEPOINT migrator_script; RELEASE SAVEPOINT migrator_script")
        return False
    return True


@contextmanager
def extension_path(connection: Connection) -> Iterator[None]:
    """Search the schemas of the extensions, too, within the current transaction."""
    with search_path(connection, ["pg_catalog", *extension_schemas(connection)]):
        yield
