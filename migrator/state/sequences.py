"""Sequences of columns that the mappings fill: the next number of the application must not be one of a migrated row.

`setval` is not undone by a rollback. So a sequence is advanced after the rows, and set back after the commit of a
revert.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from migrator.mapping.collection import Collection
from migrator.postgres.identifiers import identify
from migrator.postgres.table_names import catalog_query, name_of
from migrator.state import journal
from migrator.state.records import Connection, Namespace, has_records

STEP = "sequences"
# Sequences of identity columns, and those that a column owns.
_FIND = catalog_query("""
    SELECT TABLE_NAME(c), a.attname::text, n.nspname::text, s.relname::text, q.seqincrement
      FROM pg_depend d
      JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
      JOIN pg_namespace n ON n.oid = s.relnamespace
      JOIN pg_sequence q ON q.seqrelid = s.oid
      JOIN pg_class c ON c.oid = d.refobjid
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
       AND TABLE_NAME(c) = ANY (%s)
     ORDER BY 3, 4
""").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """A sequence that was set to `after`. Before, it had `last_value` and `is_called`."""

    schema: str
    name: str
    last_value: int
    is_called: bool
    after: int

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def advance(connection: Connection, namespace: Namespace, mappings: Iterable[Collection], run: int) -> None:
    """Set each sequence of a filled column to the largest number in the column, if it is behind. Can be repeated.

    Only in the target: the tables of a scratch schema share the sequences of the real ones.
    """
    if namespace != Namespace():
        return
    filled = dict(_filled_columns(mappings))
    known = {(each.schema, each.name): each for each in _read(connection, namespace)}
    for table, column, schema, name, increment in connection.execute(_FIND, (list(filled),)).fetchall():
        if column not in filled[table]:
            continue
        number = _extreme(connection, table, column, increment)
        last_value, is_called = _state(connection, sql.Identifier(schema, name))
        is_behind = number is not None and (number > last_value if increment > 0 else number < last_value)
        if number is None or not (is_behind or (number == last_value and not is_called)):
            continue
        first = known.get((schema, name))
        if first is not None and (last_value, is_called) == (first.after, True):  # it was not used since
            last_value, is_called = first.last_value, first.is_called
        known[schema, name] = Advanced(
            schema=schema, name=name, last_value=last_value, is_called=is_called, after=number
        )
        _record(connection, namespace, run, known.values())  # before: an interrupted run leaves a record
        _set(connection, known[schema, name].identifier, number, is_called=True)


def read_advanced(connection: Connection, namespace: Namespace) -> list[Advanced]:
    """Return the sequences that this migration has advanced."""
    return _read(connection, namespace) if has_records(connection, namespace) else []


def set_back(connection: Connection, advanced: Iterable[Advanced]) -> None:
    """Set sequences back that still exist and were not used since they were advanced."""
    for each in advanced:
        found = connection.execute("SELECT to_regclass(%s) IS NULL", (each.identifier.as_string(),)).fetchone()
        if found == (True,) or _state(connection, each.identifier) != (each.after, True):
            continue
        _set(connection, each.identifier, each.last_value, is_called=each.is_called)


def _filled_columns(mappings: Iterable[Collection]) -> Iterator[tuple[str, set[str]]]:
    """Yield each table with the columns that documents fill."""
    found: dict[str, set[str]] = {}
    for mapping in mappings:
        found.setdefault(name_of(mapping.table), set()).update(mapping.filled_columns)
        for rule in mapping.child_rules:
            found.setdefault(name_of(rule.table), set()).update(rule.element_columns)
    yield from found.items()


def _extreme(connection: Connection, table: str, column: str, increment: int) -> int | None:
    """Return the number of a column after which the sequence must continue; None if the table is empty."""
    function = sql.SQL("max" if increment > 0 else "min")
    query = sql.SQL("SELECT {}({})::bigint FROM {}").format(function, sql.Identifier(column), identify(table))
    row = connection.execute(query).fetchone()
    return None if row is None else row[0]


def _state(connection: Connection, sequence: sql.Identifier) -> tuple[int, bool]:
    row: Any = connection.execute(sql.SQL("SELECT last_value, is_called FROM {}").format(sequence)).fetchone()
    return int(row[0]), bool(row[1])


def _set(connection: Connection, sequence: sql.Identifier, number: int, *, is_called: bool) -> None:
    connection.execute("SELECT setval(%s::regclass, %s, %s)", (sequence.as_string(), number, is_called))


def _read(connection: Connection, namespace: Namespace) -> list[Advanced]:
    return [Advanced(**each) for each in journal.step_detail(connection, namespace, STEP) or ()]


def _record(connection: Connection, namespace: Namespace, run: int, advanced: Iterable[Advanced]) -> None:
    query = namespace.sql(
        "INSERT INTO {steps} (step, run, detail) VALUES (%s, %s, %s)"
        " ON CONFLICT (step) DO UPDATE SET detail = excluded.detail"
    )
    connection.execute(query, (STEP, run, Jsonb([asdict(each) for each in advanced])))
