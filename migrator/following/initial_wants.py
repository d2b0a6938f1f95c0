"""Records what all documents of a finished run wait for, once, before the first change is applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bson.errors import InvalidBSON

from migrator.documents import raw_bson
from migrator.documents.codec import Document, decode_untrusted
from migrator.findings import RETRYABLE
from migrator.following.interests import (
    loose_lookups,
    wanted_parent,
    wanting_lookups,
    wants_of_loaded,
    wants_of_unloaded,
)
from migrator.mapping.collection import Collection
from migrator.reconciliation.conflicts import ConflictResolver
from migrator.reconciliation.trees import CUT_CODES
from migrator.rows.rebuild import read_bson
from migrator.rows.update import batched
from migrator.stages.context import StageContext
from migrator.state import journal, wants
from migrator.state.wants import Wanted

STEP = "follow: record what documents wait for"
BATCH_SIZE = 1000  # documents
Wants = tuple[str, bytes, Wanted]


def record_initial_wants(
    stage: StageContext, levels: list[list[str]], resolvers_for: Callable[[list[str]], list[ConflictResolver]]
) -> None:
    """Record the wants of all documents, in one transaction, unless that was done."""
    if STEP in journal.finished_steps(stage.connection, stage.namespace):
        return
    with stage.connection.transaction():
        stage.connection.execute(stage.namespace.sql("DELETE FROM {wants}"))
        for level in levels:
            for resolver in resolvers_for(level):
                for batch in batched(_wants(stage, resolver), BATCH_SIZE):
                    wants.add(stage.connection, stage.namespace, batch)
        journal.finish_step(stage.connection, stage.namespace, stage.run, STEP)
    stage.connection.execute(stage.namespace.sql("ANALYZE {wants}"))


def _wants(stage: StageContext, resolver: ConflictResolver) -> Iterator[Wants]:
    name = resolver.collection.name
    for batch in batched(_unloaded(stage, name), BATCH_SIZE):
        translation = resolver.writer.translation([document for _, _, document, _ in batch])
        for source_id, raw, document, reason in batch:
            result, _ = translation.translate(document, None, resolver.writer.unfaithful(document, raw))
            for wanted in wants_of_unloaded(resolver.collection, document, result, reason):
                yield name, source_id, wanted
    dangling = _dangling(stage, name)
    for ids in batched(_waiting_ids(stage, resolver.collection), BATCH_SIZE):
        loaded = [
            (source_id, decode_untrusted(raw)) for source_id, raw in read_bson(stage.rows, resolver.collection, ids)
        ]
        translation = resolver.writer.translation([document for _, document in loaded])
        wanting = wanting_lookups(resolver.collection, translation.references)
        for source_id, document in loaded:
            found = wants_of_loaded(resolver.collection, document, wanting)
            if source_id in dangling:
                found |= wanted_parent(resolver.collection, document)
            for wanted in found:
                yield name, source_id, wanted


def _dangling(stage: StageContext, name: str) -> set[bytes]:
    """Return the documents whose rows do not have the parent that they name."""
    query = stage.namespace.sql("SELECT source_id FROM {findings} WHERE collection = %s AND code = ANY(%s)")
    found = stage.connection.execute(query, (name, list(CUT_CODES)), binary=True)
    return {bytes(row[0]) for row in found}


def _unloaded(stage: StageContext, name: str) -> Iterator[tuple[bytes, bytes, Document, str | None]]:
    """Yield (source_id, BSON, document, reason) of the rejected and archived documents that can be decoded."""
    query = stage.namespace.sql(
        "SELECT document, reason FROM {rejects} WHERE collection = %(name)s"
        " UNION ALL SELECT document, NULL FROM {archive} WHERE collection = %(name)s"
    )
    with stage.connection.cursor("unloaded_documents", binary=True) as cursor:
        cursor.itersize = BATCH_SIZE
        for data, reason in cursor.execute(query, {"name": name}):
            raw = bytes(data)
            try:
                yield raw_bson.source_id(raw), raw, decode_untrusted(raw), reason
            except InvalidBSON:
                continue  # nothing can load it except a change of the document itself


def _waiting_ids(stage: StageContext, collection: Collection) -> Iterator[str]:
    """Yield the target IDs of loaded documents that may want something."""
    query = stage.namespace.sql(
        "SELECT target_id FROM {ledger} l WHERE collection = %(name)s AND outcome = 'loaded' AND (%(all)s OR EXISTS"
        " (SELECT FROM {findings} f WHERE f.collection = l.collection AND f.source_id = l.source_id"
        " AND f.code = ANY(%(codes)s)))"
    )
    everything = bool(loose_lookups(collection)) or collection.listed_by is not None
    values = {"name": collection.name, "all": everything, "codes": [*RETRYABLE, *CUT_CODES]}
    with stage.connection.cursor("waiting_documents") as cursor:
        cursor.itersize = BATCH_SIZE
        for (target_id,) in cursor.execute(query, values):
            yield target_id
