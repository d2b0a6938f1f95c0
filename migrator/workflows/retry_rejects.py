"""Retries rejected documents with the current settings and source, after the cause of the rejection was fixed.

The collections are processed by level, so that documents that depend on another rejected document are loaded with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from migrator.documents import raw_bson
from migrator.errors import TargetError
from migrator.events import Notice, StepAdvanced, StepFinished, StepStarted, silent
from migrator.formatting import format_count
from migrator.mapping.collection import Collection
from migrator.mapping.shared_collections import find_shared
from migrator.postgres.owner_objects import read_columns, read_constraints
from migrator.reconciliation import membership
from migrator.reconciliation.refresh import refresh_references
from migrator.reconciliation.unloaded import record_unloaded_owners
from migrator.rows.refusals import UpdatesRefusedError, forget_dropped_constraints
from migrator.state.ledger import count_by
from migrator.state.records import Connection, Namespace
from migrator.workflows.pipeline import Pipeline, list_refused

STEP = "retry"
READ_STEP = "read the source"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryReport:
    """The number of rejects by collection before (`tried`) and after (`left`) the retry."""

    tried: dict[str, int]
    left: dict[str, int]

    def as_json(self) -> dict[str, object]:
        return {"tried": self.tried, "left": self.left, "loaded": sum(self.tried.values()) - sum(self.left.values())}


def require_adopter(pipeline: Pipeline) -> None:
    """Check the adopter before anything is written. The retry itself may load its row.

    Raises: `UsageError` if this row is not loaded and no document of its collection is rejected.
    """
    adopter = pipeline.context.definition.adopter
    if adopter is None or adopter.collection not in count_rejects(pipeline.connection, pipeline.namespace):
        pipeline.find_adopter()


def retry(pipeline: Pipeline, run: int) -> RetryReport:
    """Resolve every reject again. Requires `prepare`, which drops foreign keys of a table to itself."""
    connection, namespace, emit = pipeline.connection, pipeline.namespace, pipeline.context.emit
    tried = count_rejects(connection, namespace)
    for mapping in pipeline.mappings.values():
        forget_dropped_constraints(connection, namespace, mapping)
    update_documents(pipeline, tried)
    emit(StepStarted(step=STEP, total=sum(tried.values())))
    for applier in pipeline.merge_appliers(run):
        applier.undo()
    for name in pipeline.mappings:
        membership.expand_all(pipeline.rows, name)
    _resolve_rejects(pipeline, run)
    pipeline.merge(run)
    left = count_rejects(connection, namespace)
    loaded = sum(tried.values()) - sum(left.values())
    emit(StepFinished(step=STEP, note=f"{loaded:,} loaded, {sum(left.values()):,} still rejected"))
    return RetryReport(tried=tried, left=left)


def try_out(pipeline: Pipeline, run: int, begin: Callable[[], None]) -> None:
    """Execute a retry in a transaction that is rolled back, if objects of the owner may refuse a change of loaded rows.

    A run repeats its load without the documents of such rows. A retry must not: other clients may use the rows already.
    `begin` is what the caller executes before the retry.

    Raises: `TargetError` with the documents and constraints.
    """
    connection, metadata = pipeline.connection, pipeline.context.definition.metadata
    if not (read_constraints(connection, metadata) or read_columns(connection, metadata)):
        return
    pipeline.context.emit(Notice(text="Trying the retry out first: constraints of the target may refuse changes."))
    try:
        with connection.transaction(force_rollback=True):
            begin()
            retry(replace(pipeline, context=replace(pipeline.context, emit=silent)), run)
    except UpdatesRefusedError as error:
        raise TargetError(
            f"the target refuses {list_refused(error)}, which the retry requires; nothing was written",
            hint="Drop or change the constraints for the retry; or revert the migration and run it again, which rejects"
            " these documents.",
        ) from error


def _resolve_rejects(pipeline: Pipeline, run: int) -> None:
    done = 0
    contested: dict[str, set[Any]] = {}
    for level in pipeline.levels():
        for resolver in pipeline.resolvers_for(level):
            for _ in resolver.resolve_all(resolver.all_rejects()):
                done += 1
                pipeline.context.emit(StepAdvanced(step=STEP, done=done))
            record_unloaded_owners(resolver.writer)
            refresh_references(resolver.writer, contested)
            contested[resolver.collection.name] = resolver.writer.contested
            pipeline.reconcile_again(run, resolver)


def count_rejects(connection: Connection, namespace: Namespace) -> dict[str, int]:
    return count_by(connection, namespace, "rejects", "collection")


def update_documents(pipeline: Pipeline, rejected: dict[str, int]) -> None:
    """Replace rejected documents by their current version in the source, and report those that belong to another
    mapping of their collection now.

    Not if the source contains an `_id` more than once, because the versions cannot be assigned then.
    """
    connection, namespace = pipeline.connection, pipeline.namespace
    source, emit = pipeline.context.source, pipeline.context.emit
    shares = _shares_of(pipeline.mappings.values())
    wanted = {share for name in rejected for share in shares.get(name, (name,))}
    names = [each.name for each in source.collections() if each.name in wanted]
    if not names:
        return
    emit(StepStarted(step=READ_STEP))
    kept = read_rejects(connection, namespace)
    seen: Counter[tuple[str, bytes]] = Counter()
    changed: dict[tuple[str, bytes], bytes] = {}
    moved: Counter[tuple[str, str]] = Counter()
    done = 0
    for batch in source.read(dict.fromkeys(names, ""), documents=5000, size=8 << 20):
        others = [name for name in shares.get(batch.collection, ()) if name in rejected and name != batch.collection]
        for raw in raw_bson.split_documents(batch.data):
            key = (batch.collection, raw_bson.source_id(raw))
            if key in kept:
                seen[key] += 1
                if sha256(raw).digest() != kept[key]:
                    changed[key] = raw
            moved.update((name, batch.collection) for name in others if (name, key[1]) in kept)
        done += batch.count
        emit(StepAdvanced(step=READ_STEP, done=done))
    replace_documents(connection, namespace, {key: raw for key, raw in changed.items() if seen[key] == 1})
    emit(StepFinished(step=READ_STEP, note=format_count(done, "documents")))
    for (name, now), count in sorted(moved.items()):
        text = f"{format_count(count, 'rejected documents')} of {name}: the mapping {now} takes them now."
        emit(Notice(text=f"{text} A retry does not load them: revert, and run again.", level="warning"))


def _shares_of(mappings: Iterable[Collection]) -> dict[str, tuple[str, ...]]:
    """Return the names of all mappings that share a collection, by each of them."""
    return {name: shared.names for shared in find_shared(mappings).values() for name in shared.names}


def read_rejects(connection: Connection, namespace: Namespace) -> dict[tuple[str, bytes], bytes]:
    """Return (collection, source_id) → SHA-256 of the rejected document."""
    query = namespace.sql("SELECT collection, source_id, sha256(document) FROM {rejects}")
    return {(row[0], bytes(row[1])): bytes(row[2]) for row in connection.execute(query, binary=True)}


def replace_documents(connection: Connection, namespace: Namespace, changed: dict[tuple[str, bytes], bytes]) -> None:
    query = namespace.sql("UPDATE {rejects} SET document = %s WHERE collection = %s AND source_id = %s")
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(query, [(raw, *key) for key, raw in changed.items()])
