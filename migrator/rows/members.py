"""Which ObjectIds belong to a row: queries over ledger and rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bson import ObjectId
from psycopg import sql

from migrator.mapping.collection import Collection
from migrator.mapping.references import MemberList
from migrator.state.journal import Namespace

_SOURCE_ID = 22  # bytes of the BSON document {"_id": ObjectId}


_OBJECTID = 12  # bytes


def owners_of(mappings: Mapping[str, Collection], name: str) -> Iterator[tuple[Collection, MemberList]]:
    """The collections that list documents of the collection `name`."""
    for mapping in mappings.values():
        yield from ((mapping, rule) for rule in mapping.members if rule.collection == name)


def lister_of(mappings: Mapping[str, Collection], name: str) -> str | None:
    """The column of the collection `name` with the row that lists its documents; None where none does.

    Of several such columns the first: the members of the others are found by a join."""
    return next((rule.by for _, rule in owners_of(mappings, name)), None)


def read_list(members: bytes | None) -> list[ObjectId]:
    """The ids in what `members_query` gathers, in their order."""
    data = members or b""
    return [ObjectId(each) for each in sorted(data[at : at + _OBJECTID] for at in range(0, len(data), _OBJECTID))]


def members_query(namespace: Namespace, mappings: Mapping[str, Collection], rule: MemberList) -> sql.Composed:
    """`SELECT by, members`: the ObjectIds of the rows that name the same row, in any order."""
    there = mappings[rule.collection]
    return namespace.sql(
        "SELECT m.{by}::text AS owner, string_agg(substr(g.source_id, 10, 12), ''::bytea) AS members"
        " FROM {table} m JOIN {ledger} g ON g.target_id = m.{key}::text AND g.collection = {name}"
        " AND g.outcome = 'loaded' AND length(g.source_id) = {size} AND get_byte(g.source_id, 4) = 7",
        by=sql.Identifier(rule.by),
        table=namespace.table(there.table.name),
        key=sql.Identifier(there.key.column),
        name=sql.Literal(there.name),
        size=sql.Literal(_SOURCE_ID),
    )
