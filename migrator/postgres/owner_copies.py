"""Copies the constraints and indexes of the target's owner into the database of a rehearsal.

So a rehearsal refuses the same rows as a run. Extensions, types and functions that they use are copied where that is
possible. What cannot be copied is returned with the reason: its rejects are known only after the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import MetaData

from migrator.postgres.catalog import load_queries
from migrator.postgres.owner_objects import OwnerConstraint, find_unrepeatable, read_columns, read_constraints
from migrator.postgres.search_path import owner_path, use_owner_path
from migrator.postgres.table_names import name_of

Connection = psycopg.Connection[Any]
QUERIES = load_queries("owner_copies.sql")
NOT_ENFORCED = " NOT ENFORCED"


def copy_owner_constraints(source: Connection, rehearsal: Connection, metadata: MetaData) -> list[str]:
    """Create copies of the owner's columns, constraints and indexes; return a line for each that cannot be copied."""
    found, columns = read_constraints(source, metadata), read_columns(source, metadata)
    if not found and not columns:
        return []
    _copy_support(source, rehearsal, found)
    reading = find_unrepeatable(source, [name_of(table) for table in metadata.sorted_tables])
    made = [((table, name), f"column {name} of {table}", statement) for table, name, statement in columns]
    # Placeholder rows of the rehearsal have few values, so they are not checked.
    made += [((each.table, each.name), str(each), _not_valid(each)) for each in found if not each.own]
    lines = []
    for key, name, statement in made:
        error = (
            f"function {reading[key]} uses tables or other objects that are not copied"
            if key in reading
            else _try(rehearsal, statement)
        )
        if error is not None:
            text = f"{name} cannot be rehearsed ({error}); documents that it refuses are known only after the run"
            lines.append(text)
    return lines


def _not_valid(constraint: OwnerConstraint) -> str:
    """Return the statement that adds a constraint without checking the rows that exist."""
    checked = constraint.type in "cf" and not constraint.definition.endswith(NOT_ENFORCED)
    return constraint.definition + (" NOT VALID" if checked else "")


def check_own_keys(source: Connection, rehearsal: Connection, metadata: MetaData) -> Iterator[str]:
    """Yield a line for each foreign key of the owner to its own table that rows of the rehearsal violate."""
    for each in read_constraints(source, metadata):
        if each.own and (error := _try(rehearsal, each.definition)) is not None:
            yield f"{each} cannot be created again after the load: {error}"


def _copy_support(source: Connection, rehearsal: Connection, found: list[OwnerConstraint]) -> None:
    """Create what the constraints may need. An error shows when the constraint is created."""
    _copy_search_path(source, rehearsal)
    # Functions and types may need each other.
    for name in ("extensions", "schemas", "types", "functions", "types", "functions"):
        for (statement,) in source.execute(QUERIES[name]).fetchall():
            _try(rehearsal, f"SET LOCAL check_function_bodies = off; {statement}")
    own = {each.relation for each in found}
    for parent in {each.parent for each in found if each.type == "f" and each.parent is not None} - own:
        _copy_parent(source, rehearsal, parent)


def _copy_search_path(source: Connection, rehearsal: Connection) -> None:
    """Let functions in the rehearsal find others as in the target, also in sessions that will be opened."""
    with source.transaction():
        path = owner_path(source)
    use_owner_path(rehearsal, path)
    name = sql.Identifier(rehearsal.info.dbname)
    rehearsal.execute(sql.SQL("ALTER DATABASE {} SET search_path = {}").format(name, sql.SQL(path)))


def _copy_parent(source: Connection, rehearsal: Connection, parent: str) -> None:
    """Copy the keys of a table that a foreign key refers to, unless the rehearsal has the table."""
    if rehearsal.execute("SELECT to_regclass(%s) IS NOT NULL", (parent,)).fetchone() == (True,):
        return
    for table, columns, names, keys in source.execute(QUERIES["parents"], {"parent": parent}).fetchall():
        if _try(rehearsal, f"CREATE TABLE {table} ({columns}, {', '.join(keys)})") is None:
            with (
                source.cursor().copy(f"COPY {table} ({names}) TO STDOUT".encode()) as rows,
                rehearsal.cursor().copy(f"COPY {table} ({names}) FROM STDIN".encode()) as sink,
            ):
                for data in rows:
                    sink.write(data)


def _try(connection: Connection, statement: str) -> str | None:
    """Execute a statement; return the message of its error, or None."""
    try:
        with connection.transaction():
            connection.execute(statement.encode())
    except psycopg.Error as error:
        return error.diag.message_primary or type(error).__name__
    return None
