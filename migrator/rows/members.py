"""Which ObjectIds belong to a row: queries over the ledger and the rows of member collections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bson import ObjectId
from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.mapping.references import MemberList
from migrator.postgres.table_names import name_of
from migrator.state.records import Namespace
from migrator.state.row_keys import key_of

_SOURCE_ID_SIZE = 22  # bytes of the BSON document {"_id": ObjectId}
_OBJECTID_SIZE = 12  # bytes


def owners_of(mappings: Mapping[str, Collection], name: str) -> Iterator[tuple[Collection, MemberList]]:
    """Yield the collections that list documents of the collection `name`, with the rule for the list."""
    for mapping in mappings.values():
        yield from ((mapping, rule) for rule in mapping.member_lists if rule.collection == name)


def lister_of(mappings: Mapping[str, Collection], name: str) -> str | None:
    """Return the column of the collection `name` that names the row which lists its documents; None if there is none.

    If there are several, the first one is returned. The members of the other lists are found by a join."""
    return next((rule.reference_column for _, rule in owners_of(mappings, name)), None)


def read_list(members: bytes | None) -> list[ObjectId]:
    """Return the ObjectIds that `members_query` has concatenated, sorted."""
    data = members or b""
    return [
        ObjectId(each) for each in sorted(data[at : at + _OBJECTID_SIZE] for at in range(0, len(data), _OBJECTID_SIZE))
    ]


def members_query(namespace: Namespace, mappings: Mapping[str, Collection], rule: MemberList) -> sql.Composed:
    """Return the query `SELECT owner, members`: the ObjectIds of the rows that name the same owner, in any order.

    The caller adds a WHERE clause, if any, and `GROUP BY 1`.
    """
    return namespace.sql(
        "SELECT m.{by}::text AS owner, string_agg(substr(g.source_id, 10, 12), ''::bytea) AS members"
        " FROM {table} m JOIN {ledger} g ON g.target_id = {key} AND g.collection = {name}"
        " AND g.outcome = 'loaded' AND length(g.source_id) = {size} AND get_byte(g.source_id, 4) = 7",
        **_names(namespace, mappings, rule),
    )


def some_members_query(
    namespace: Namespace, mappings: Mapping[str, Collection], rule: MemberList, owners: sql.Composable
) -> sql.Composed:
    """Return the query `SELECT owner, members` for the rows that name one of `owners` (an SQL array).

    OFFSET 0 keeps the planner from starting with the ledger: it expects one row there, because of the conditions on
    `source_id`, and would compare every row of the ledger with every member.
    """
    return namespace.sql(
        "SELECT m.{by}::text AS owner, string_agg(substr(g.source_id, 10, 12), ''::bytea) AS members"
        " FROM {table} m CROSS JOIN LATERAL (SELECT l.source_id FROM {ledger} l WHERE l.target_id = {key}"
        " AND l.collection = {name} AND l.outcome = 'loaded' OFFSET 0) g"
        " WHERE m.{by} = ANY({owners}) AND length(g.source_id) = {size} AND get_byte(g.source_id, 4) = 7 GROUP BY 1",
        **_names(namespace, mappings, rule),
        owners=owners,
    )


def batch_members_query(
    namespace: Namespace, mappings: Mapping[str, Collection], rule: MemberList, owners: sql.Composable
) -> sql.Composed:
    """Return the query `SELECT owner, members` for the rows that name one of many `owners` (an SQL array).

    The entries of all members are found by one scan of the index, in its order. One search for each of 18,000 members
    took twice as long (PostgreSQL 17 or later). OFFSET 0 keeps the conditions on `source_id` from the planner.
    """
    return namespace.sql(
        "WITH p AS MATERIALIZED (SELECT m.{by}::text AS owner, {key} AS id FROM {table} m WHERE m.{by} = ANY({owners}))"
        " SELECT p.owner, string_agg(substr(g.source_id, 10, 12), ''::bytea) AS members FROM p JOIN"
        " (SELECT l.target_id, l.source_id FROM {ledger} l WHERE l.target_id = ANY(ARRAY(SELECT id FROM p))"
        " AND l.collection = {name} AND l.outcome = 'loaded' OFFSET 0) g ON g.target_id = p.id"
        " WHERE length(g.source_id) = {size} AND get_byte(g.source_id, 4) = 7 GROUP BY 1",
        **_names(namespace, mappings, rule),
        owners=owners,
    )


def _names(namespace: Namespace, mappings: Mapping[str, Collection], rule: MemberList) -> dict[str, sql.Composable]:
    there = mappings[rule.collection]
    return {
        "by": sql.Identifier(rule.reference_column),
        "table": namespace.table(name_of(there.table)),
        "key": key_of(there).text("m"),
        "name": sql.Literal(there.name),
        "size": sql.Literal(_SOURCE_ID_SIZE),
    }
