"""Member lists: fields that list the `_id`s of a row's members (`references.MemberList`), removed from the residue.

The ledger can reproduce such a list if it equals the members of the row, or the first of them: an application
may write the list when it saves the row, and add members later. Code that adds or removes members of loaded rows calls
`expand_all` before and `compact_all` after; in between, the residues contain the lists.

Every batch records the members that it has loaded (`member_lists`), which saves a join of the ledger and the rows.
These records are valid until a loaded document yields to another one. Code that does this calls `forget` first, and
the join is used instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import psycopg
from bson import ObjectId
from psycopg import sql

from migrator.documents.codec import Document
from migrator.documents.native import compact_list
from migrator.documents.residue import close_residue, open_residue
from migrator.mapping.collection import Collection
from migrator.mapping.references import MemberList
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.copy import copy
from migrator.postgres.native import write_row
from migrator.rows.members import lister_of, members_query, owners_of, read_list, some_members_query
from migrator.rows.store import RowStore
from migrator.state.own_transactions import own_transaction
from migrator.state.records import Namespace

Connection = psycopg.Connection[Any]
Entry = tuple[str, bytes | None, bytes | None]  # target_id, residue, members
Rewrite = Callable[[bytes | None, bytes | None], bytes | None]  # residue, members → the new residue
BATCH_SIZE = 5000  # rows
_CHANGED = sql.Identifier("pg_temp", "changed_residues")


def compact_all(rows: RowStore, name: str) -> None:
    """Remove from the residues the lists of documents of `name` that the ledger can reproduce. Can be repeated."""
    for mapping, rule in owners_of(rows.mappings, name):
        has_list = sql.SQL(" AND position({} IN l.residue) > 0").format(b"\x04" + rule.path.encode() + b"\0")
        gathered = _recorded_query(rows, rule) or _joined_query(rows, rule)
        entries = _entries_query(rows.namespace, mapping, gathered, has_list)
        _change_residues(rows, mapping, entries, partial(compact_residue, rule))


def expand_all(rows: RowStore, name: str) -> None:
    """Write the lists of documents of `name` into the residues again. Can be repeated."""
    for mapping, rule in owners_of(rows.mappings, name):
        entries = _entries_query(rows.namespace, mapping, _joined_query(rows, rule), sql.SQL(""))
        _change_residues(rows, mapping, entries, partial(expand_residue, rule))


def expand_some(rows: RowStore, mapping: Collection, rule: MemberList, ids: list[str]) -> None:
    """Write the lists of the rows `ids` of `mapping` into their residues again. Can be repeated."""
    gathered = _some_members(rows, mapping, rule, ids)
    entries = _entries_query(rows.namespace, mapping, gathered, sql.SQL(" AND l.target_id = ANY({})").format(ids))
    _change_residues(rows, mapping, entries, partial(expand_residue, rule))


def compact_some(rows: RowStore, mapping: Collection, rule: MemberList, ids: list[str]) -> None:
    """Remove the lists of the rows `ids` of `mapping` from their residues, if the ledger can reproduce them."""
    gathered = _some_members(rows, mapping, rule, ids)
    chosen = sql.SQL(" AND l.target_id = ANY({}) AND position({} IN l.residue) > 0")
    condition = chosen.format(ids, b"\x04" + rule.path.encode() + b"\0")
    entries = _entries_query(rows.namespace, mapping, gathered, condition)
    _change_residues(rows, mapping, entries, partial(compact_residue, rule))


def adjust_some(
    rows: RowStore, mapping: Collection, rule: MemberList, changed: Mapping[str, set[ObjectId]], *, are_gone: bool
) -> None:
    """Adapt the residues of rows of `mapping` after members were added, or removed, in one pass.

    `changed`: ID of the row → these members. The lists stay as they were, as with `expand_some` before the change and
    `compact_some` after it.
    """
    ids = sql.SQL("{}::text[]").format(sql.Placeholder("ids"))
    gathered = _some_members(rows, mapping, rule, ids)
    entries = _entries_query(rows.namespace, mapping, gathered, sql.SQL(" AND l.target_id = ANY({})").format(ids))
    found: dict[str, bytes | None] = {}
    for target_id, residue, members in rows.connection.execute(entries, {"ids": list(changed)}, binary=True):
        present, parts = read_list(members), open_residue(residue)
        before = [each for each in present if each not in changed[target_id]]
        expand(rule, parts, sorted([*present, *changed[target_id]]) if are_gone else before)
        compact(rule, parts, present)
        if (new := close_residue(parts)) != residue:
            found[target_id] = new
    query = rows.namespace.sql(
        "UPDATE {ledger} l SET residue = c.residue FROM unnest(%s::text[], %b::bytea[]) AS c (target_id, residue)"
        " WHERE l.collection = %s AND l.outcome = 'loaded' AND l.target_id = c.target_id"
    )
    if found:
        rows.connection.execute(query, (list(found), list(found.values()), mapping.name))


def _some_members(rows: RowStore, mapping: Collection, rule: MemberList, ids: object) -> sql.Composed:
    cast = sql.SQL(kind_of_column(mapping.table.c[mapping.key.column]))
    members = some_members_query(rows.namespace, rows.mappings, rule, sql.SQL("{}::{}[]").format(ids, cast))
    # Materialized: for a cursor, the planner would gather the members again for each of its rows.
    return sql.SQL("WITH gathered AS MATERIALIZED ({}) SELECT owner, members FROM gathered").format(members)


def forget(connection: Connection, namespace: Namespace, name: str) -> None:
    """Delete the members recorded by the batches of a collection."""
    connection.execute(namespace.sql("DELETE FROM {member_lists} WHERE collection = %s"), (name,))


def _recorded_query(rows: RowStore, rule: MemberList) -> sql.Composed | None:
    """Return a query like `members_query` over the members recorded by the batches; None if there are none."""
    if rule.reference_column != lister_of(rows.mappings, rule.collection):
        return None
    recorded = rows.connection.execute(
        rows.namespace.sql("SELECT EXISTS (SELECT FROM {member_lists} WHERE collection = %s)"), (rule.collection,)
    ).fetchone()
    if recorded != (True,):
        return None
    return rows.namespace.sql(
        "SELECT lister AS owner, string_agg(ids, ''::bytea) AS members FROM {member_lists} WHERE collection = {name}"
        " GROUP BY 1",
        name=sql.Literal(rule.collection),
    )


def _joined_query(rows: RowStore, rule: MemberList) -> sql.Composed:
    return members_query(rows.namespace, rows.mappings, rule) + sql.SQL(" GROUP BY 1")


def compact(rule: MemberList, parts: Document, members: list[ObjectId]) -> None:
    """Remove a list from a residue if it equals the members, or replace it by a number if it equals the first ones."""
    listed = parts.get("set", {}).get(rule.path)
    if type(listed) is not list or listed != members[: len(listed)]:
        return
    if len(listed) < len(members):
        if not listed:
            return  # an empty list takes less space than the number
        parts.setdefault("first", {})[rule.path] = len(listed)
    del parts["set"][rule.path]


def compact_residue(rule: MemberList, residue: bytes | None, members: bytes | None) -> bytes | None:
    """Return the residue without the list, as `compact`; compiled code does it for usual residues."""
    if residue is None:
        return None
    found: bytes | None = compact_list(residue, rule.path.encode(), members or b"")
    if found is not NotImplemented:
        return found
    parts = open_residue(residue)
    compact(rule, parts, read_list(members))
    return close_residue(parts)


def expand_residue(rule: MemberList, residue: bytes | None, members: bytes | None) -> bytes | None:
    """Return the residue with the list."""
    parts = open_residue(residue)
    expand(rule, parts, read_list(members))
    return close_residue(parts)


def expand(rule: MemberList, parts: Document, members: list[ObjectId]) -> None:
    """Write a list into a residue: the inverse of `compact`."""
    if "raw" in parts or rule.path in parts.get("unset", ()) or rule.path in parts.get("set", {}):
        return
    count = parts.get("first", {}).pop(rule.path, None)
    parts.setdefault("set", {})[rule.path] = members[:count]


def _change_residues(rows: RowStore, mapping: Collection, entries: sql.Composed, rewrite: Rewrite) -> None:
    """Change the residues of a collection in one transaction: collect the new residues, then update all at once."""
    connection = rows.connection
    with own_transaction(connection, rows.namespace):
        connection.execute("CREATE TEMPORARY TABLE changed_residues (target_id text NOT NULL, residue bytea)")
        with connection.cursor("members", binary=True) as cursor:
            cursor.itersize = BATCH_SIZE
            cursor.execute(entries)
            while batch := cursor.fetchmany(BATCH_SIZE):
                copy(connection, _CHANGED, list(_changed_tuples(batch, rewrite)))
        connection.execute("ANALYZE changed_residues")
        query = rows.namespace.sql(
            "UPDATE {ledger} l SET residue = c.residue FROM changed_residues c"
            " WHERE l.collection = %s AND l.outcome = 'loaded' AND l.target_id = c.target_id"
        )
        connection.execute(query, (mapping.name,))
        connection.execute("DROP TABLE pg_temp.changed_residues")


def _changed_tuples(batch: list[Entry], rewrite: Rewrite) -> Iterator[bytes]:
    for target_id, residue, members in batch:
        changed = rewrite(residue, members)
        if changed != residue:
            yield write_row((target_id, changed), ("text", "bytea"))


def _entries_query(
    namespace: Namespace, mapping: Collection, gathered: sql.Composable, condition: sql.Composable
) -> sql.Composed:
    """Return the query for `Entry` values: the loaded rows of a collection with their members."""
    return namespace.sql(
        "SELECT l.target_id, l.residue, k.members FROM {ledger} l"
        " LEFT JOIN ({gathered}) k ON k.owner = l.target_id"
        " WHERE l.collection = {name} AND l.outcome = 'loaded'{condition}",
        gathered=gathered,
        name=sql.Literal(mapping.name),
        condition=condition,
    )
