"""The current versions of rejected documents, before they are tried again.

A document of a collection that several mappings share belongs to the mapping that takes its current version. So it
moves to that mapping, as a reject: the retry decides about it there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from migrator.documents import raw_bson
from migrator.events import Notice, StepAdvanced, StepFinished, StepStarted
from migrator.formatting import format_count
from migrator.mapping.collection import Collection
from migrator.mapping.shared_collections import find_shared
from migrator.sources.base import Batch
from migrator.state.partitions import count_changed
from migrator.state.records import Connection, Namespace
from migrator.workflows.pipeline import Pipeline

READ_STEP = "read the source"

Key = tuple[str, bytes]  # name of a mapping or collection, source ID


def update_documents(pipeline: Pipeline, run: int, rejected: Mapping[str, int]) -> None:
    """Replace rejected documents by their current version in the source, and move them to the mapping that takes it.

    Not if the source contains an `_id` more than once, because the versions cannot be assigned then.
    """
    source, emit = pipeline.context.source, pipeline.context.emit
    shares = _shares_of(pipeline.mappings.values())
    wanted = {share for name in rejected for share in shares.get(name, (name,))}
    names = [each.name for each in source.collections() if each.name in wanted]
    if not names:
        return
    emit(StepStarted(step=READ_STEP))
    found = _Versions(rejects=read_rejects(pipeline.connection, pipeline.namespace), shares=shares)
    done = 0
    for batch in source.read(dict.fromkeys(names, ""), documents=5000, size=8 << 20):
        found.add(batch)
        done += batch.count
        emit(StepAdvanced(step=READ_STEP, done=done))
    replace_documents(pipeline.connection, pipeline.namespace, found.changed())
    emit(StepFinished(step=READ_STEP, note=format_count(done, "documents")))
    _move(pipeline, run, found.moved())


@dataclass(kw_only=True)
class _Versions:
    """The documents of the source with the `_id`s of rejected ones.

    `rejects`: the hash of each rejected document; `shares`: see `_shares_of`.
    """

    rejects: Mapping[Key, bytes]
    shares: Mapping[str, tuple[str, ...]]
    seen: Counter[Key] = field(default_factory=Counter)  # documents that the mapping takes
    seen_elsewhere: Counter[Key] = field(default_factory=Counter)
    current: dict[Key, bytes] = field(default_factory=dict)
    elsewhere: dict[Key, tuple[str, bytes]] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Note the documents of a batch that have been rejected."""
        names = self.shares.get(batch.collection, (batch.collection,))
        for raw in raw_bson.split_documents(batch.data):
            source_id = raw_bson.source_id(raw)
            for name in names:
                key = (name, source_id)
                if key not in self.rejects:
                    continue
                if name != batch.collection:
                    self.seen_elsewhere[key] += 1
                    self.elsewhere[key] = (batch.collection, raw)
                    continue
                self.seen[key] += 1
                if sha256(raw).digest() != self.rejects[key]:
                    self.current[key] = raw

    def changed(self) -> dict[Key, bytes]:
        """Return the documents that the mapping still takes, if they have changed."""
        return {key: raw for key, raw in self.current.items() if self.seen[key] == 1}

    def moved(self) -> dict[Key, tuple[str, bytes]]:
        """Return the documents that another mapping takes now, with its name."""
        once = {key for key, count in self.seen_elsewhere.items() if count == 1 and not self.seen[key]}
        return {key: self.elsewhere[key] for key in once}


def _move(pipeline: Pipeline, run: int, moved: Mapping[Key, tuple[str, bytes]]) -> None:
    """Let documents be rejects of the mapping that takes them now, in one transaction.

    Not if that mapping has a document with this `_id` already, or if several rejected documents have it.
    """
    connection, namespace = pipeline.connection, pipeline.namespace
    counts, left = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    rejects = namespace.sql(
        "UPDATE {rejects} SET collection = %(now)s, document = %(raw)s WHERE collection = %(name)s"
        " AND source_id = %(id)s"
        " AND NOT EXISTS (SELECT FROM {ledger} WHERE collection = %(now)s AND source_id = %(id)s)"
        " AND (SELECT count(*) FROM {rejects} WHERE collection = %(name)s AND source_id = %(id)s) = 1"
    )
    ledger = namespace.sql(
        "UPDATE {ledger} SET collection = %s WHERE collection = %s AND source_id = %s AND outcome = 'rejected'"
    )
    with connection.transaction():
        for (name, source_id), (now, raw) in moved.items():
            done = connection.execute(rejects, {"now": now, "raw": raw, "name": name, "id": source_id}).rowcount
            (counts if done else left)[name, now] += 1
            if done:
                connection.execute(ledger, (now, name, source_id))
        for (name, now), count in sorted(counts.items()):
            count_changed(connection, namespace, run, name, -count)
            count_changed(connection, namespace, run, now, count)
    for (name, now), count in sorted(counts.items()):
        text = f"{format_count(count, 'rejected documents')} of {name}: the mapping {now} takes them now."
        pipeline.context.emit(Notice(text=text))
    for (name, now), count in sorted(left.items()):
        text = f"{format_count(count, 'rejected documents')} of {name}: the mapping {now} takes them now."
        cause = "They are not moved, because other documents have the same `_id`. Revert, and run again."
        pipeline.context.emit(Notice(text=f"{text} {cause}", level="warning"))


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
