"""Records the owners whose document with an ID was not loaded, although a row of another owner has the ID.

References from documents of such an owner must not lead to the other owner's row (`Collection.reference_owner`). The
records are aliases without a target. They are computed anew from the rejected and archived documents, so that they
depend only on the outcome, not on the order of loading.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bson.errors import InvalidBSON
from psycopg import sql

from migrator.documents.codec import decode_untrusted
from migrator.reconciliation.document_writer import DocumentWriter, format_owner
from migrator.rows.admission import find_existing
from migrator.rows.rebuild import read_documents
from migrator.rows.update import batched
from migrator.state.own_transactions import own_transaction
from migrator.state.row_keys import key_of
from migrator.translation.encoder import format_target_id

BATCH_SIZE = 1000  # documents


@dataclass(frozen=True, slots=True)
class UnloadedOwner:
    """The owner of a document that was not loaded, and the plain ID that the document asked for."""

    requested_id: Any
    owner: str


@dataclass(frozen=True, slots=True)
class Scope:
    """The IDs, as text, for which the records are computed anew, and all documents that may ask for them."""

    ids: frozenset[str]
    source_ids: frozenset[bytes]


def record_unloaded_owners(writer: DocumentWriter, scope: Scope | None = None) -> set[str]:
    """Replace the aliases without a target of one collection, and return the IDs whose aliases changed.

    Can be repeated.
    """
    if writer.collection.reference_owner is None:
        return set()
    name, connection, namespace = writer.collection.name, writer.rows.connection, writer.rows.namespace
    with own_transaction(connection, namespace):
        query = namespace.sql(
            "DELETE FROM {aliases} WHERE collection = %s AND target IS NULL AND (%s OR original_id = ANY(%s))"
            " RETURNING original_id, owner"
        )
        before = set(connection.execute(query, (name, scope is None, list(scope.ids) if scope is not None else [])))
        recorded: set[UnloadedOwner] = set()
        for batch in batched(_read_unloaded(writer, scope), BATCH_SIZE):
            found = _select_blocking(writer, set(batch) - recorded)
            writer.add_aliases([(each.requested_id, None, each.owner) for each in sorted(found, key=_order)])
            recorded |= found
    return {row_id for row_id, _ in before ^ {_order(each) for each in recorded}}


def _order(each: UnloadedOwner) -> tuple[str, str]:
    return format_target_id(each.requested_id), each.owner


def _read_unloaded(writer: DocumentWriter, scope: Scope | None) -> Iterator[UnloadedOwner]:
    """Yield the owners of all rejected and archived documents that can be decoded and have an ID."""
    collection, owner_of = writer.collection, writer.collection.reference_owner
    assert owner_of is not None  # the caller checked it
    chosen = sql.SQL("" if scope is None else " AND source_id = ANY(%(source_ids)s)")
    query = writer.rows.namespace.sql(
        "SELECT document FROM {rejects} WHERE collection = %(name)s{chosen}"
        " UNION ALL SELECT document FROM {archive} WHERE collection = %(name)s{chosen}",
        chosen=chosen,
    )
    values = {"name": collection.name, "source_ids": [] if scope is None else list(scope.source_ids)}
    with writer.rows.connection.cursor("unloaded", binary=True) as cursor:
        cursor.itersize = BATCH_SIZE
        for (raw,) in cursor.execute(query, values):
            try:
                document = decode_untrusted(bytes(raw))
            except InvalidBSON:
                continue
            requested = collection.key.identify(document.get(collection.key.path))
            if requested is not None and (scope is None or format_target_id(requested) in scope.ids):
                yield UnloadedOwner(requested, format_owner(owner_of(document)))


def _select_blocking(writer: DocumentWriter, batch: set[UnloadedOwner]) -> set[UnloadedOwner]:
    """Return those whose ID leads to rows of other owners only."""
    collection, connection = writer.collection, writer.rows.connection
    wanted = [each.requested_id for each in batch]
    taken = find_existing(connection, writer.rows.table(collection), key_of(collection), wanted)
    owners: dict[Any, set[str]] = defaultdict(set)
    ids = [format_target_id(row_id) for row_id in taken]
    for _, row, document in list(read_documents(writer.rows, collection, ids)) if ids else ():
        owners[row[collection.key.column]].add(writer.owner_of(document, row))
    for row_id, owner in _read_rekeyed(writer, wanted):
        owners[row_id].add(owner)
    return {
        each
        for each in batch
        if (each.requested_id in taken or each.requested_id in owners) and each.owner not in owners[each.requested_id]
    }


def _read_rekeyed(writer: DocumentWriter, wanted: list[Any]) -> list[tuple[Any, str]]:
    """Return (plain ID asked for, owner) of the loaded documents that have another ID."""
    texts = {format_target_id(row_id): row_id for row_id in wanted}
    query = writer.rows.namespace.sql(
        "SELECT original_id, owner FROM {aliases} WHERE collection = %s AND original_id = ANY(%s)"
        " AND target IS NOT NULL AND owner IS NOT NULL"
    )
    found = writer.rows.connection.execute(query, (writer.collection.name, list(texts)))
    return [(texts[original_id], owner) for original_id, owner in found]
