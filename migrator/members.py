"""Fields that list the `_id`s of a row's own rows (`references.Members`): out of the residue, and into it again.

The ledger gives the list back while it is what the document had, or begins with that: LibreChat rewrites the list when
it saves a conversation, which need not be after the last message. So whoever loads or takes out members of finished
rows calls `withdraw` before and `settle` after: in between, the lists stand in the residues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import psycopg
from bson import ObjectId
from psycopg import sql

from migrator.exact import Document, close_residue, open_residue
from migrator.journal import Place
from migrator.mapping import Collection
from migrator.references import Members

Connection = psycopg.Connection[Any]
Entry = tuple[str, bytes | None, bytes | None]  # target_id, residue, members
Change = Callable[[Members, Document, list[ObjectId]], None]  # of a residue's parts
AT_ONCE = 5000
_OBJECTID = 22  # bytes of the BSON document {"_id": ObjectId}


def owners_of(mappings: Mapping[str, Collection], name: str) -> Iterator[tuple[Collection, Members]]:
    """The collections that list documents of the collection `name`."""
    for mapping in mappings.values():
        yield from ((mapping, rule) for rule in mapping.members if rule.collection == name)


def read_list(members: bytes | None) -> list[ObjectId]:
    """The ids in what `members_query` gathers."""
    data = members or b""
    return [ObjectId(data[start + 9 : start + 21]) for start in range(0, len(data), _OBJECTID)]


def members_query(place: Place, mappings: Mapping[str, Collection], rule: Members) -> sql.Composed:
    """`SELECT by, members`: the source_ids of the rows that name the same row, one after the other."""
    there = mappings[rule.collection]
    return place.sql(
        "SELECT m.{by} AS owner, string_agg(g.source_id, ''::bytea ORDER BY g.source_id) AS members"
        " FROM {table} m JOIN {ledger} g ON g.target_id = m.{key}::text AND g.collection = {name}"
        " AND g.outcome = 'loaded' AND length(g.source_id) = {size} AND get_byte(g.source_id, 4) = 7",
        by=sql.Identifier(rule.by),
        table=place.table(there.table.name),
        key=sql.Identifier(there.key.column),
        name=sql.Literal(there.name),
        size=sql.Literal(_OBJECTID),
    )


def settle(connection: Connection, place: Place, mappings: Mapping[str, Collection], name: str) -> None:
    """Takes out of the residues the lists that the ledger gives back. Can be repeated."""
    for mapping, rule in owners_of(mappings, name):
        kept = sql.SQL(" AND position({} IN l.residue) > 0").format(b"\x04" + rule.path.encode() + b"\0")
        _change_all(
            connection, place, mapping, rule, _entries(connection, place, mappings, mapping, rule, kept), take_out
        )


def withdraw(connection: Connection, place: Place, mappings: Mapping[str, Collection], name: str) -> None:
    """Puts the lists into the residues again. Can be repeated."""
    for mapping, rule in owners_of(mappings, name):
        found = _entries(connection, place, mappings, mapping, rule, sql.SQL(""))
        _change_all(connection, place, mapping, rule, found, put_in)


def take_out(rule: Members, parts: Document, members: list[ObjectId]) -> None:
    """Leaves a list to the ledger, where that has it: all of it, or as many of the first as the list holds."""
    listed = parts.get("set", {}).get(rule.path)
    if type(listed) is not list or listed != members[: len(listed)]:
        return
    if len(listed) < len(members):
        if not listed:
            return  # an empty list is shorter than the number that would tell it
        parts.setdefault("first", {})[rule.path] = len(listed)
    del parts["set"][rule.path]


def put_in(rule: Members, parts: Document, members: list[ObjectId]) -> None:
    """The way back from `take_out`."""
    if "raw" in parts or rule.path in parts.get("unset", ()) or rule.path in parts.get("set", {}):
        return
    count = parts.get("first", {}).pop(rule.path, None)
    parts.setdefault("set", {})[rule.path] = members[:count]


def _change_all(
    connection: Connection, place: Place, mapping: Collection, rule: Members, found: Iterator[Entry], change: Change
) -> None:
    while batch := list(islice(found, AT_ONCE)):
        changed = [
            (target_id, kept)
            for target_id, residue, members in batch
            if (kept := _changed(rule, residue, read_list(members), change)) != residue
        ]
        _write(connection, place, mapping, changed)


def _changed(rule: Members, residue: bytes | None, members: list[ObjectId], change: Change) -> bytes | None:
    parts = open_residue(residue)
    change(rule, parts, members)
    return close_residue(parts)


def _entries(
    connection: Connection,
    place: Place,
    mappings: Mapping[str, Collection],
    mapping: Collection,
    rule: Members,
    condition: sql.Composable,
) -> Iterator[Entry]:
    query = place.sql(
        "SELECT l.target_id, l.residue, k.members FROM {ledger} l"
        " LEFT JOIN ({members} GROUP BY 1) k ON k.owner = l.target_id::uuid"
        " WHERE l.collection = {name} AND l.outcome = 'loaded'{condition}",
        members=members_query(place, mappings, rule),
        name=sql.Literal(mapping.name),
        condition=condition,
    )
    # WITH HOLD: the changes made meanwhile commit, and the cursor lives on.
    with connection.cursor("members", withhold=True, binary=True) as cursor:
        cursor.itersize = AT_ONCE
        cursor.execute(query)
        yield from cursor


def _write(connection: Connection, place: Place, mapping: Collection, changed: list[tuple[str, bytes | None]]) -> None:
    if not changed:
        return
    query = place.sql(
        "UPDATE {ledger} l SET residue = c.residue FROM unnest(%s::text[], %s::bytea[]) AS c (target_id, residue)"
        " WHERE l.collection = %s AND l.outcome = 'loaded' AND l.target_id = c.target_id"
    )
    ids, residues = zip(*changed, strict=True)
    connection.execute(query, (list(ids), list(residues), mapping.name))
