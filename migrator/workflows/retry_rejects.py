"""Tries rejected documents again, after their cause is mended: with the settings and the source as they are now.

Level by level, so that what waited for a document (orphans, children cut from their parent) is loaded with it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from migrator.documents import raw_bson
from migrator.errors import UsageError
from migrator.events import Emit, StepAdvanced, StepFinished, StepStarted
from migrator.reconciliation import membership
from migrator.reconciliation.refresh import refresh_references
from migrator.sources.base import Source
from migrator.state import journal
from migrator.state.ledger import count_by
from migrator.state.records import Connection, Namespace, has_records
from migrator.workflows.pipeline import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryReport:
    """How many rejects there were, by collection, and how many of them are loaded now."""

    tried: dict[str, int]
    left: dict[str, int]

    def as_json(self) -> dict[str, object]:
        return {"tried": self.tried, "left": self.left, "loaded": sum(self.tried.values()) - sum(self.left.values())}


def retry(pipeline: Pipeline, run: int, emit: Emit) -> RetryReport:
    """Settles every reject anew. The tables must be prepared: keys to their own rows are put aside."""
    connection, namespace = pipeline.connection, pipeline.namespace
    tried = count_rejects(connection, namespace)
    renew_documents(connection, namespace, pipeline.source, tried, emit)
    step = "retry"
    emit(StepStarted(step=step, total=sum(tried.values())))
    done = 0
    contested: dict[str, set[Any]] = {}
    for merging in pipeline.mergings(run):
        merging.undo()
    for name in pipeline.mappings:
        membership.expand_all(pipeline.rows, name)
    for level in pipeline.levels():
        for claims in pipeline.resolver_for(level):
            for _ in claims.resolve_all(claims.all_rejects()):
                done += 1
                emit(StepAdvanced(step=step, done=done))
            refresh_references(claims.writer, contested)
            contested[claims.collection.name] = claims.writer.contested
            pipeline.reconcile_again(run, claims)
    pipeline.merge(run)
    left = count_rejects(connection, namespace)
    emit(
        StepFinished(
            step=step, note=f"{sum(tried.values()) - sum(left.values()):,} loaded, {sum(left.values()):,} left"
        )
    )
    return RetryReport(tried=tried, left=left)


def count_rejects(connection: Connection, namespace: Namespace) -> dict[str, int]:
    return count_by(connection, namespace, "rejects", "collection")


def renew_documents(
    connection: Connection, namespace: Namespace, source: Source, rejected: dict[str, int], emit: Emit
) -> None:
    """Rejected documents as the source has them now: one that was edited there replaces the one that was kept.

    Not where the source has an `_id` more than once: nobody can tell which of them is which.
    """
    names = [each.name for each in source.collections() if each.name in rejected]
    if not names:
        return
    emit(StepStarted(step="read the source"))
    kept = read_rejects(connection, namespace)
    seen: Counter[tuple[str, bytes]] = Counter()
    changed: dict[tuple[str, bytes], bytes] = {}
    done = 0
    for batch in source.read(dict.fromkeys(names, ""), documents=5000, size=8 << 20):
        for raw in raw_bson.split_documents(batch.data):
            key = (batch.collection, raw_bson.source_id(raw))
            if key in kept:
                seen[key] += 1
                if sha256(raw).digest() != kept[key]:
                    changed[key] = raw
        done += batch.count
        emit(StepAdvanced(step="read the source", done=done))
    replace_documents(connection, namespace, {key: raw for key, raw in changed.items() if seen[key] == 1})
    emit(StepFinished(step="read the source", note=f"{done:,} documents"))


def read_rejects(connection: Connection, namespace: Namespace) -> dict[tuple[str, bytes], bytes]:
    """(collection, source_id) → SHA-256 of the document that was kept."""
    query = namespace.sql("SELECT collection, source_id, sha256(document) FROM {rejects}")
    return {(row[0], bytes(row[1])): bytes(row[2]) for row in connection.execute(query, binary=True)}


def replace_documents(connection: Connection, namespace: Namespace, changed: dict[tuple[str, bytes], bytes]) -> None:
    query = namespace.sql("UPDATE {rejects} SET document = %s WHERE collection = %s AND source_id = %s")
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(query, [(raw, *key) for key, raw in changed.items()])


def require_finished(connection: Connection, namespace: Namespace) -> int:
    """The number of the finished run. Raises `UsageError` before the first one has ended."""
    latest = journal.latest_run(connection, namespace) if has_records(connection, namespace) else None
    if latest is None or latest[1] == "running":
        raise UsageError("there is no finished migration in this target", hint="`migrate run` first, to its end.")
    return latest[0]
