"""Who refers to whom: the foreign keys of a database, and those of the target's metadata that a run has yet to make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from sqlalchemy import ForeignKeyConstraint, MetaData

from migrator.postgres.catalog import load_queries

Connection = psycopg.Connection[Any]
QUERIES = load_queries("foreign_keys.sql")


class Relation(NamedTuple):
    """A table of any schema."""

    schema: str
    name: str

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def label(self) -> str:
        """How to name it to people: without the schema where that is `public`."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """`sets_null`: when the parent's row goes, the child's stays, without its reference."""

    child: Relation
    child_columns: tuple[str, ...]
    parent: Relation
    parent_columns: tuple[str, ...]
    sets_null: bool

    def condition(self, child: str, parent: str) -> sql.Composed:
        """That a row (by alias) refers to another."""
        pairs = zip(self.child_columns, self.parent_columns, strict=True)
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(child, one), sql.Identifier(parent, other)) for one, other in pairs
        )


def relation_exists(connection: Connection, relation: Relation) -> bool:
    query = "SELECT to_regclass(quote_ident(%s) || '.' || quote_ident(%s)) IS NOT NULL"
    return connection.execute(query, relation).fetchone() == (True,)


def find_keys(connection: Connection, metadata: MetaData, schema: str = "public") -> list[ForeignKey]:
    """All there are, and those of the metadata whose tables are there: a load goes without them."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = [_from_record(record) for record in cursor.execute(QUERIES["foreign_keys"])]
    known = {(key.child, key.child_columns, key.parent) for key in found}
    wanted = (
        _from_metadata(constraint, schema)
        for table in metadata.sorted_tables
        for constraint in sorted(table.foreign_key_constraints, key=lambda each: str(each.name))
    )
    missing = [key for key in wanted if (key.child, key.child_columns, key.parent) not in known]
    return found + [
        key for key in missing if relation_exists(connection, key.child) and relation_exists(connection, key.parent)
    ]


def _from_record(record: dict[str, Any]) -> ForeignKey:
    return ForeignKey(
        child=Relation(record["child_schema"], record["child_table"]),
        child_columns=tuple(record["child_columns"]),
        parent=Relation(record["parent_schema"], record["parent_table"]),
        parent_columns=tuple(record["parent_columns"]),
        sets_null=record["sets_null"],
    )


def _from_metadata(constraint: ForeignKeyConstraint, schema: str) -> ForeignKey:
    return ForeignKey(
        child=Relation(schema, constraint.table.name),
        child_columns=tuple(constraint.column_keys),
        parent=Relation(schema, constraint.referred_table.name),
        parent_columns=tuple(element.column.name for element in constraint.elements),
        sets_null=constraint.ondelete in ("SET NULL", "SET DEFAULT"),
    )


def is_referenced(connection: Connection, keys: Iterable[ForeignKey], row_id: Any) -> bool:
    """Whether rows refer to a row by one of these keys."""
    query = sql.SQL("SELECT FROM {} WHERE {} = %s LIMIT 1")
    statements = (query.format(key.child.identifier, sql.Identifier(key.child_columns[0])) for key in keys)
    return any(connection.execute(statement, (row_id,)).fetchone() is not None for statement in statements)


def referencing_tables(keys: Iterable[ForeignKey], start: Iterable[Relation]) -> set[Relation]:
    """The tables whose rows refer to rows of these, and so on; these included."""
    reached = set(start)
    keys = list(keys)
    while more := {key.child for key in keys if key.parent in reached} - reached:
        reached |= more
    return reached


def primary_key(connection: Connection, relation: Relation) -> list[str]:
    """Its columns; none where the table has no primary key."""
    named = {"relation": relation.identifier.as_string(connection)}
    return [row[0] for row in connection.execute(QUERIES["primary_key"], named)]


def lock_tables(connection: Connection, relations: Iterable[Relation]) -> None:
    """Keeps everybody from writing in these tables, and from referring to their rows, until the transaction ends."""
    for relation in sorted(relations):
        connection.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(relation.identifier))
