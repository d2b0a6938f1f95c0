"""Gives many documents a new ID at once, in the simple case of a conflict, with a few queries per batch.

A case is simple if the document is the only one that needs its ID, a row that existed before the migration has this ID,
and no row has the ID derived from the document's `_id`. Such a document gets the derived ID whatever is decided about
the others, so the order does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bson.errors import InvalidBSON

from migrator import ids
from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode_untrusted
from migrator.reconciliation.document_writer import DocumentWriter
from migrator.rows.admission import find_existing, find_overlong
from migrator.rows.copy import copy_children, copy_records, copy_rows
from migrator.rows.refusals import REFUSALS, is_refusal
from migrator.rows.update import batched
from migrator.state.own_transactions import own_transaction
from migrator.state.row_keys import key_of
from migrator.translation.encoder import Output, SourceDocument, format_target_id, remove_loaded
from migrator.translation.outcomes import Loaded

BATCH_SIZE = 500  # documents
Rejected = tuple[bytes, int]  # source_id, number of the reject


@dataclass(frozen=True, slots=True)
class RekeyCandidate:
    """A rejected document, the ID in the document and the ID derived from its `_id`."""

    source_id: bytes
    number: int
    raw: bytes
    document: Document
    requested_id: Any
    derived_id: Any


def rekey_simple(writer: DocumentWriter, rejects: list[Rejected]) -> Iterator[Rejected]:
    """Load the simple cases under their derived IDs, batch by batch; yield each one that is done."""
    collection = writer.collection
    if not rejects or collection.owner is None or collection.unique or not _has_foreign_rows(writer):
        return
    requested: Counter[Any] = Counter()
    derived: Counter[Any] = Counter()  # the _id of one document may be the ObjectId of another, written as a string
    for candidate in _read_candidates(writer, rejects):
        requested[candidate.requested_id] += 1
        derived[candidate.derived_id] += 1
    unique_ids = {source_id for source_id, n in Counter(source_id for source_id, _ in rejects).items() if n == 1}
    found = (
        candidate
        for candidate in _read_candidates(writer, rejects)
        if requested[candidate.requested_id] == derived[candidate.derived_id] == 1
        and candidate.derived_id not in requested
        and candidate.source_id in unique_ids
    )
    for batch in batched(found, BATCH_SIZE):
        yield from _rekey_batch(writer, batch)


def _has_foreign_rows(writer: DocumentWriter) -> bool:
    """Return whether the table has rows that were not loaded by this migration."""
    query = writer.rows.namespace.sql(
        "SELECT (SELECT count(*) FROM {table}) > (SELECT count(*) FROM {ledger} WHERE collection = %s"
        " AND outcome = 'loaded')",
        table=writer.rows.table(writer.collection),
    )
    return writer.rows.connection.execute(query, (writer.collection.name,)).fetchone() == (True,)


def _read_candidates(writer: DocumentWriter, rejects: list[Rejected]) -> Iterator[RekeyCandidate]:
    """Yield the rejected documents that have both IDs.

    The caller reads them twice, once to count the IDs, because the documents may not fit into memory.
    """
    query = writer.rows.namespace.sql("SELECT id, document FROM {rejects} WHERE id = ANY(%s)")
    key = writer.collection.key
    for batch in batched(rejects, BATCH_SIZE):
        numbers = [number for _, number in batch]
        for number, data in writer.rows.connection.execute(query, (numbers,), binary=True).fetchall():
            raw = bytes(data)
            try:
                document = decode_untrusted(raw)
            except InvalidBSON:
                continue
            value = document.get(key.path)
            if "_id" in document and value is not None and value != "":
                derived_id = ids.uuid_of(writer.collection.name, document["_id"], objectid=True)
                yield RekeyCandidate(raw_bson.source_id(raw), number, raw, document, key.uuid(value), derived_id)


def _rekey_batch(writer: DocumentWriter, batch: list[RekeyCandidate]) -> Iterator[Rejected]:
    """Load the simple cases of a batch in one transaction, and leave the others rejected."""
    try:
        with own_transaction(writer.rows.connection, writer.rows.namespace):
            done = _load(writer, _select_simple(writer, batch))
            _delete_rejects(writer, done)
    except REFUSALS as error:
        if not is_refusal(writer.rows.connection, writer.collection, error):
            raise
        return  # `ConflictResolver.resolve` finds out which document it is
    yield from ((candidate.source_id, candidate.number) for candidate in done)


def _load(writer: DocumentWriter, candidates: list[RekeyCandidate]) -> list[RekeyCandidate]:
    """Load candidates under their derived IDs; return those that could be loaded."""
    translation, output = writer.translation([candidate.document for candidate in candidates]), Output()
    done, aliases = [], []
    for place, each in enumerate(candidates):
        unfaithful = writer.unfaithful(each.document, each.raw)
        result, findings = translation.translate(each.document, each.derived_id, unfaithful)
        if isinstance(result, Loaded):
            writer.encoder.add(output, SourceDocument(place, each.source_id, each.raw, each.document), result)
            writer.encoder.add_findings(output, place, [*findings, writer.rekeyed(each.source_id)])
            aliases.append((each.requested_id, each.derived_id, writer.owner_of(each.document, result.row)))
            done.append(each)
    if overlong := {index for index, _ in find_overlong(writer.rows.connection, writer.collection, output)}:
        remove_loaded(output, overlong)
        aliases = [each for place, each in enumerate(aliases) if place not in overlong]
        done = [each for place, each in enumerate(done) if place not in overlong]
    copy_rows(writer.rows.connection, writer.rows.namespace, writer.encoder, output.rows)
    copy_children(writer.rows.connection, writer.rows.namespace, writer.encoder, output)
    copy_records(writer.rows.connection, writer.rows.namespace, writer.collection.name, output)
    writer.add_aliases(aliases)
    return done


def _select_simple(writer: DocumentWriter, batch: list[RekeyCandidate]) -> list[RekeyCandidate]:
    """Return the candidates of a batch that the present rows and records allow."""
    taken = _existing_ids(writer, batch)
    own = _own_ids(writer, batch)
    repeated = _repeated_source_ids(writer, batch)
    return [
        candidate
        for candidate in batch
        if candidate.requested_id in taken
        and candidate.derived_id not in taken
        and format_target_id(candidate.requested_id) not in own
        and candidate.source_id not in repeated
    ]


def _existing_ids(writer: DocumentWriter, batch: list[RekeyCandidate]) -> set[Any]:
    """Return those of the candidates' IDs that rows have."""
    wanted = [row_id for each in batch for row_id in (each.requested_id, each.derived_id)]
    table = writer.rows.table(writer.collection)
    return find_existing(writer.rows.connection, table, key_of(writer.collection), wanted)


def _own_ids(writer: DocumentWriter, batch: list[RekeyCandidate]) -> set[str]:
    """Return those of the requested IDs that rows or aliases of this migration have."""
    query = writer.rows.namespace.sql(
        "SELECT target_id FROM {ledger} WHERE collection = %(name)s AND outcome = 'loaded' AND target_id = ANY(%(ids)s)"
        " UNION ALL SELECT original_id FROM {aliases} WHERE collection = %(name)s AND original_id = ANY(%(ids)s)"
        " AND target IS NOT NULL"
    )
    values = {"name": writer.collection.name, "ids": [format_target_id(each.requested_id) for each in batch]}
    return {row[0] for row in writer.rows.connection.execute(query, values)}


def _repeated_source_ids(writer: DocumentWriter, batch: list[RekeyCandidate]) -> set[bytes]:
    """Return those of the `_id`s that several documents of the source have."""
    query = writer.rows.namespace.sql(
        "SELECT source_id FROM {ledger} WHERE collection = %s AND source_id = ANY(%s) GROUP BY 1 HAVING count(*) > 1"
    )
    values = (writer.collection.name, [candidate.source_id for candidate in batch])
    return {bytes(row[0]) for row in writer.rows.connection.execute(query, values)}


def _delete_rejects(writer: DocumentWriter, done: list[RekeyCandidate]) -> None:
    """Delete the rejects of loaded documents, and the ledger rows that recorded them as rejected."""
    query = writer.rows.namespace.sql("DELETE FROM {rejects} WHERE id = ANY(%s)")
    writer.rows.connection.execute(query, ([candidate.number for candidate in done],))
    query = writer.rows.namespace.sql(
        "DELETE FROM {ledger} WHERE collection = %s AND outcome = 'rejected' AND source_id = ANY(%s)"
    )
    writer.rows.connection.execute(query, (writer.collection.name, [candidate.source_id for candidate in done]))
