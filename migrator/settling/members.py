"""Fields that list the `_id`s of a row's own rows (`references.Members`): out of the residue, and into it again.

The ledger gives the list back while it is what the document had, or begins with that: LibreChat rewrites the list when
it saves a conversation, which need not be after the last message. So whoever loads or takes out members of finished
rows calls `withdraw` before and `settle` after: in between, the lists stand in the residues.

Every batch notes whose members it brought (records: `members`), which spares a join of ledger and rows. The notes hold
until something loaded gives way to another document: who changes that calls `forget` before, and the join is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
from bson import ObjectId
from psycopg import sql

from migrator.database.copying import copy
from migrator.journal import Place
from migrator.mapping import Collection
from migrator.translation.exact import Document, close_residue, open_residue
from migrator.translation.references import Members
from migrator.translation.rows import write_row

Connection = psycopg.Connection[Any]
Entry = tuple[str, bytes | None, bytes | None]  # target_id, residue, members
Change = Callable[[Members, Document, list[ObjectId]], None]  # of a residue's parts
AT_ONCE = 5000
_SOURCE_ID = 22  # bytes of the BSON document {"_id": ObjectId}
_OBJECTID = 12  # bytes


def owners_of(mappings: Mapping[str, Collection], name: str) -> Iterator[tuple[Collection, Members]]:
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


def members_query(place: Place, mappings: Mapping[str, Collection], rule: Members) -> sql.Composed:
    """`SELECT by, members`: the ObjectIds of the rows that name the same row, in any order."""
    there = mappings[rule.collection]
    return place.sql(
        "SELECT m.{by}::text AS owner, string_agg(substr(g.source_id, 10, 12), ''::bytea) AS members"
        " FROM {table} m JOIN {ledger} g ON g.target_id = m.{key}::text AND g.collection = {name}"
        " AND g.outcome = 'loaded' AND length(g.source_id) = {size} AND get_byte(g.source_id, 4) = 7",
        by=sql.Identifier(rule.by),
        table=place.table(there.table.name),
        key=sql.Identifier(there.key.column),
        name=sql.Literal(there.name),
        size=sql.Literal(_SOURCE_ID),
    )


def settle(connection: Connection, place: Place, mappings: Mapping[str, Collection], name: str) -> None:
    """Takes out of the residues the lists that the ledger gives back. Can be repeated."""
    for mapping, rule in owners_of(mappings, name):
        kept = sql.SQL(" AND position({} IN l.residue) > 0").format(b"\x04" + rule.path.encode() + b"\0")
        gathered = _noted_query(connection, place, mappings, rule) or _joined_query(place, mappings, rule)
        _change_all(connection, place, mapping, rule, _entries(place, mapping, gathered, kept), take_out)


def withdraw(connection: Connection, place: Place, mappings: Mapping[str, Collection], name: str) -> None:
    """Puts the lists into the residues again. Can be repeated."""
    for mapping, rule in owners_of(mappings, name):
        found = _entries(place, mapping, _joined_query(place, mappings, rule), sql.SQL(""))
        _change_all(connection, place, mapping, rule, found, put_in)


def forget(connection: Connection, place: Place, name: str) -> None:
    """The notes of the batches of a collection are of no use any more."""
    connection.execute(place.sql("DELETE FROM {members} WHERE collection = %s"), (name,))


def _noted_query(
    connection: Connection, place: Place, mappings: Mapping[str, Collection], rule: Members
) -> sql.Composed | None:
    """What the batches noted, in the shape of `members_query`; None where there are no notes."""
    if rule.by != lister_of(mappings, rule.collection):
        return None
    noted = connection.execute(
        place.sql("SELECT EXISTS (SELECT FROM {members} WHERE collection = %s)"), (rule.collection,)
    ).fetchone()
    if noted != (True,):
        return None
    return place.sql(
        "SELECT lister AS owner, string_agg(ids, ''::bytea) AS members FROM {members} WHERE collection = {name}"
        " GROUP BY 1",
        name=sql.Literal(rule.collection),
    )


def _joined_query(place: Place, mappings: Mapping[str, Collection], rule: Members) -> sql.Composed:
    return members_query(place, mappings, rule) + sql.SQL(" GROUP BY 1")


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
    connection: Connection, place: Place, mapping: Collection, rule: Members, entries: sql.Composed, change: Change
) -> None:
    """One transaction: reads what there is, notes what changes, and changes it all at once."""
    with connection.transaction():
        connection.execute(
            "CREATE TEMPORARY TABLE changed_residues (target_id text NOT NULL, residue bytea) ON COMMIT DROP"
        )
        with connection.cursor("members", binary=True) as cursor:
            cursor.itersize = AT_ONCE
            cursor.execute(entries)
            while batch := cursor.fetchmany(AT_ONCE):
                copy(connection, _CHANGED, list(_changed_tuples(rule, batch, change)))
        connection.execute("ANALYZE changed_residues")
        query = place.sql(
            "UPDATE {ledger} l SET residue = c.residue FROM changed_residues c"
            " WHERE l.collection = %s AND l.outcome = 'loaded' AND l.target_id = c.target_id"
        )
        connection.execute(query, (mapping.name,))


_CHANGED = sql.Identifier("pg_temp", "changed_residues")


def _changed_tuples(rule: Members, batch: list[Entry], change: Change) -> Iterator[bytes]:
    for target_id, residue, members in batch:
        kept = _changed(rule, residue, read_list(members), change)
        if kept != residue:
            yield write_row((target_id, kept), ("text", "bytea"))


def _changed(rule: Members, residue: bytes | None, members: list[ObjectId], change: Change) -> bytes | None:
    parts = open_residue(residue)
    change(rule, parts, members)
    return close_residue(parts)


def _entries(place: Place, mapping: Collection, gathered: sql.Composable, condition: sql.Composable) -> sql.Composed:
    """The query for `Entry` values: of every row that may list some, what it lists."""
    return place.sql(
        "SELECT l.target_id, l.residue, k.members FROM {ledger} l"
        " LEFT JOIN ({gathered}) k ON k.owner = l.target_id"
        " WHERE l.collection = {name} AND l.outcome = 'loaded'{condition}",
        gathered=gathered,
        name=sql.Literal(mapping.name),
        condition=condition,
    )
