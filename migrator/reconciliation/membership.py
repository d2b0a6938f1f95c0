"""Fields that list the `_id`s of a row's own rows (`references.MemberList`): out of the residue, and into it again.

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

from migrator.documents.codec import Document
from migrator.documents.residue import close_residue, open_residue
from migrator.mapping.collection import Collection
from migrator.mapping.references import MemberList
from migrator.postgres.copy import copy
from migrator.postgres.copy_format import write_row
from migrator.rows.members import lister_of, members_query, owners_of, read_list
from migrator.state.journal import Namespace

Connection = psycopg.Connection[Any]
Entry = tuple[str, bytes | None, bytes | None]  # target_id, residue, members
Change = Callable[[MemberList, Document, list[ObjectId]], None]  # of a residue's parts
AT_ONCE = 5000


def settle(connection: Connection, namespace: Namespace, mappings: Mapping[str, Collection], name: str) -> None:
    """Takes out of the residues the lists that the ledger gives back. Can be repeated."""
    for mapping, rule in owners_of(mappings, name):
        kept = sql.SQL(" AND position({} IN l.residue) > 0").format(b"\x04" + rule.path.encode() + b"\0")
        gathered = _noted_query(connection, namespace, mappings, rule) or _joined_query(namespace, mappings, rule)
        _change_all(connection, namespace, mapping, rule, _entries(namespace, mapping, gathered, kept), compact)


def withdraw(connection: Connection, namespace: Namespace, mappings: Mapping[str, Collection], name: str) -> None:
    """Puts the lists into the residues again. Can be repeated."""
    for mapping, rule in owners_of(mappings, name):
        found = _entries(namespace, mapping, _joined_query(namespace, mappings, rule), sql.SQL(""))
        _change_all(connection, namespace, mapping, rule, found, expand)


def forget(connection: Connection, namespace: Namespace, name: str) -> None:
    """The notes of the batches of a collection are of no use any more."""
    connection.execute(namespace.sql("DELETE FROM {member_lists} WHERE collection = %s"), (name,))


def _noted_query(
    connection: Connection, namespace: Namespace, mappings: Mapping[str, Collection], rule: MemberList
) -> sql.Composed | None:
    """What the batches noted, in the shape of `members_query`; None where there are no notes."""
    if rule.by != lister_of(mappings, rule.collection):
        return None
    noted = connection.execute(
        namespace.sql("SELECT EXISTS (SELECT FROM {member_lists} WHERE collection = %s)"), (rule.collection,)
    ).fetchone()
    if noted != (True,):
        return None
    return namespace.sql(
        "SELECT lister AS owner, string_agg(ids, ''::bytea) AS members FROM {member_lists} WHERE collection = {name}"
        " GROUP BY 1",
        name=sql.Literal(rule.collection),
    )


def _joined_query(namespace: Namespace, mappings: Mapping[str, Collection], rule: MemberList) -> sql.Composed:
    return members_query(namespace, mappings, rule) + sql.SQL(" GROUP BY 1")


def compact(rule: MemberList, parts: Document, members: list[ObjectId]) -> None:
    """Leaves a list to the ledger, where that has it: all of it, or as many of the first as the list holds."""
    listed = parts.get("set", {}).get(rule.path)
    if type(listed) is not list or listed != members[: len(listed)]:
        return
    if len(listed) < len(members):
        if not listed:
            return  # an empty list is shorter than the number that would tell it
        parts.setdefault("first", {})[rule.path] = len(listed)
    del parts["set"][rule.path]


def expand(rule: MemberList, parts: Document, members: list[ObjectId]) -> None:
    """The way back from `compact`."""
    if "raw" in parts or rule.path in parts.get("unset", ()) or rule.path in parts.get("set", {}):
        return
    count = parts.get("first", {}).pop(rule.path, None)
    parts.setdefault("set", {})[rule.path] = members[:count]


def _change_all(
    connection: Connection,
    namespace: Namespace,
    mapping: Collection,
    rule: MemberList,
    entries: sql.Composed,
    change: Change,
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
        query = namespace.sql(
            "UPDATE {ledger} l SET residue = c.residue FROM changed_residues c"
            " WHERE l.collection = %s AND l.outcome = 'loaded' AND l.target_id = c.target_id"
        )
        connection.execute(query, (mapping.name,))


_CHANGED = sql.Identifier("pg_temp", "changed_residues")


def _changed_tuples(rule: MemberList, batch: list[Entry], change: Change) -> Iterator[bytes]:
    for target_id, residue, members in batch:
        kept = _changed(rule, residue, read_list(members), change)
        if kept != residue:
            yield write_row((target_id, kept), ("text", "bytea"))


def _changed(rule: MemberList, residue: bytes | None, members: list[ObjectId], change: Change) -> bytes | None:
    parts = open_residue(residue)
    change(rule, parts, members)
    return close_residue(parts)


def _entries(
    namespace: Namespace, mapping: Collection, gathered: sql.Composable, condition: sql.Composable
) -> sql.Composed:
    """The query for `Entry` values: of every row that may list some, what it lists."""
    return namespace.sql(
        "SELECT l.target_id, l.residue, k.members FROM {ledger} l"
        " LEFT JOIN ({gathered}) k ON k.owner = l.target_id"
        " WHERE l.collection = {name} AND l.outcome = 'loaded'{condition}",
        gathered=gathered,
        name=sql.Literal(mapping.name),
        condition=condition,
    )
