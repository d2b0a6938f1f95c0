"""Whose doing a difference is: the source's, the target's, or the mapping's. By evidence that the target itself keeps.

- A row and its ledger entry were committed before the run ended. A version of either that was written after that
  (`xmin`, which no UPDATE can keep) is a change in the target.
- Row and residue untouched give back the document as the run read it. If the source has another one now, the source
  has changed; what other documents say may have changed with it (the newest of a talk's messages).
- If both are as they were and the same document maps to something else, it is the mapping.

After pg_dump and pg_restore every version is a new one, and nobody is to be blamed (`is_traceable`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from bson.errors import BSONError

from migrator.documents.codec import Document, decode_untrusted, same
from migrator.mapping.collection import Collection
from migrator.rows.rebuild import read_loaded
from migrator.rows.store import RowStore
from migrator.state import own_transactions
from migrator.state.records import Connection, Namespace
from migrator.translation.encoder import format_target_id
from migrator.translation.interpreter import rebuild_bson
from migrator.verification.model import Fault, Scope

_BROKEN = (BSONError, LookupError, TypeError, ValueError, AttributeError, struct.error)


def rebuild_safely(
    connection: Connection,
    namespace: Namespace,
    mappings: Mapping[str, Collection],
    mapping: Collection,
    ids: list[str],
) -> Iterator[tuple[bytes, str, bytes | None]]:
    """(source_id, target_id, document) of rows by id; None for a document whose residue is damaged."""
    for source_id, row, residue in read_loaded(RowStore(connection, namespace, mappings), mapping, ids):
        key = row[mapping.key.column]
        spelled = format_target_id(key)
        try:
            yield source_id, spelled, rebuild_bson(mapping, source_id, row, residue)
        except _BROKEN:
            yield source_id, spelled, None


def attribute_rows(
    scope: Scope, again: Namespace, mapping: Collection, ids: Iterable[str], touched: Iterable[str]
) -> dict[str, Fault]:
    """Whose doing it is that these rows (target ids) are not as the source maps now. `touched`: written since."""
    wanted, blamed = list(ids), dict.fromkeys(touched, "target")
    touched_entries = scope.namespace.sql(
        "SELECT l.target_id FROM {ledger} l WHERE l.collection = %s AND l.target_id = ANY(%s) AND {newer}",
        newer=own_transactions.written_after_run(scope.namespace, "l"),
    )
    for (target_id,) in scope.connection.execute(touched_entries, (mapping.name, wanted)):
        blamed[target_id] = "target"
    left = [each for each in wanted if each not in blamed]
    if not left:
        return dict.fromkeys(wanted, "target")
    known = scope.namespace.sql("SELECT target_id FROM {ledger} WHERE collection = %s AND target_id = ANY(%s)")
    entered = {row[0] for row in scope.connection.execute(known, (mapping.name, left))}
    before = documents_of(scope.connection, scope.namespace, scope.mappings, mapping, left)
    now = documents_of(scope.connection, again, scope.mappings, mapping, left)
    return {
        each: "target" if each in blamed else _judge(scope, each in entered, before.get(each), now.get(each))
        for each in wanted
    }


def _judge(scope: Scope, entered: bool, before: Document | None, now: Document | None) -> Fault:
    if before is None and entered:
        return "target"  # the entry is there, its row is not
    if before is None or now is None or not same_document(before, now):
        return "source"
    return "source" if scope.source_changed and not scope.mapper_changed else "mapper"


def documents_of(
    connection: Connection,
    namespace: Namespace,
    mappings: Mapping[str, Collection],
    mapping: Collection,
    ids: list[str],
) -> dict[str, Document]:
    """The documents that rows and residues of a place stand for, by target id."""
    found: dict[str, Document] = {}
    for _, target_id, raw in rebuild_safely(connection, namespace, mappings, mapping, ids):
        try:
            found[target_id] = {} if raw is None else decode_untrusted(raw)
        except BSONError:
            found[target_id] = {"": raw}
    return found


def same_document(one: Document, other: Document) -> bool:
    """The order of top-level fields does not count."""
    return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
