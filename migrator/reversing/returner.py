"""Returns batches of changed rows to the source.

Two transactions for each batch. The first one reads the changes with one snapshot, computes the documents, and stores
their digests; then they are written; the second one records the result and deletes the changes. So a process that was
killed between them finds what it has written, and does not take it for a change of somebody else.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

import psycopg
from psycopg.types.json import Jsonb

from migrator.documents.codec import Document, decode, same
from migrator.errors import StoppedError
from migrator.ids import uuid_text
from migrator.reconciliation.conflicts import ConflictResolver
from migrator.reversing import changes
from migrator.reversing.changes import Key, Pending
from migrator.reversing.documents import DocumentReturn, Returned
from migrator.reversing.element_losses import kind_of_element_column
from migrator.reversing.views import Views
from migrator.rows.store import RowStore
from migrator.state import returning
from migrator.state.partitions import count_changed
from migrator.state.returning import Conflict, DocumentKey, Intention, Unreturned
from migrator.translation.interpreter import constants_of

ANALYZE_SECONDS = 60.0


class DocumentWriter(Protocol):
    """Reads and writes documents of the source: `sources/live_writer.py`."""

    def find(self, collection: str, source_ids: Sequence[bytes]) -> dict[bytes, bytes]: ...

    def write(self, collection: str, documents: Mapping[bytes, bytes | None]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnedBatch:
    """What a batch did. `changes`: records of changes; `documents`: that were written or deleted."""

    changes: int = 0
    documents: int = 0
    conflicts: int = 0

    def __add__(self, other: ReturnedBatch) -> ReturnedBatch:
        return ReturnedBatch(
            changes=self.changes + other.changes,
            documents=self.documents + other.documents,
            conflicts=self.conflicts + other.conflicts,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Computed:
    """The documents of a batch, to be written. `keys`: all rows that it concerns; `numbers`: of its changes.

    `intended`: what interrupted batches were about to write; `present`: the present documents.
    """

    keys: frozenset[Key]
    numbers: list[int]
    returned: list[Returned]
    intended: Mapping[DocumentKey, set[bytes | None]]
    present: Future[dict[str, dict[bytes, bytes]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flight:
    """A batch whose documents are being written."""

    computed: _Computed
    conflicts: list[Conflict]
    written: Future[None]


@dataclass(frozen=True, kw_only=True)
class Returner:
    """Returns changes of the rows of a finished run. `levels`: the mapped collections, each after those it refers to.

    `stops_at_conflict`: whether an unexpected document stops the return; otherwise the row takes precedence.
    """

    rows: RowStore
    run: int
    levels: list[list[str]]
    resolvers_for: Callable[[list[str]], list[ConflictResolver]]
    writer: DocumentWriter
    stops_at_conflict: bool = False
    _times: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    def return_some(self, limit: int, seconds: float = 0.0) -> ReturnedBatch:
        """Return batches of about `limit` changes for some seconds; nothing if there are no changes.

        While the documents of a batch are written, those of the next one are computed. A batch that concerns rows of
        the one before waits until that one is recorded.
        Raises: `SourceError`; `StoppedError` at a conflict. The next call continues.
        """
        end, done = time.monotonic() + seconds, ReturnedBatch()
        self._analyze(limit)
        flight: _Flight | None = None
        is_first = True
        with ThreadPoolExecutor(2) as pool:
            while is_first or flight is not None:
                has_time = is_first or time.monotonic() < end
                is_first = False
                computed = self._compute_batch(limit, pool, flight) if has_time else None
                if flight is not None:
                    done += self._finish(flight)
                    if has_time and computed is None:
                        computed = self._compute_batch(limit, pool, None)
                flight = None if computed is None else self._start(computed, pool)
        return done

    def _analyze(self, limit: int) -> None:
        """Compute the statistics of many waiting changes now and then: without them, the planner reads all of them."""
        if time.monotonic() < self._times.get("analyze", 0.0):
            return
        query = self.rows.namespace.sql("SELECT count(*) FROM (SELECT FROM {changes} LIMIT %s) c")
        found = self.rows.connection.execute(query, (10 * limit,)).fetchone()
        if found is not None and found[0] == 10 * limit:
            self.rows.connection.execute(self.rows.namespace.sql("ANALYZE {changes}"))
            self._times["analyze"] = time.monotonic() + ANALYZE_SECONDS

    def _compute_batch(self, limit: int, pool: ThreadPoolExecutor, flight: _Flight | None) -> _Computed | None:
        """Compute the documents of a batch and store what will be written, in one transaction.

        None if there are no changes, or if they concern rows of the batch that is being written.
        """
        flying = frozenset() if flight is None else flight.computed.keys
        numbers = [] if flight is None else flight.computed.numbers
        with self.rows.connection.transaction():
            self.rows.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            # Documents of an interrupted batch may have been written, although their rows are as before now.
            intended_rows = returning.read_intended_rows(self.rows.connection, self.rows.namespace)
            forced = frozenset(intended_rows - flying)
            pending = changes.read_pending(self.rows, limit, forced, numbers)
            if not pending.numbers or not flying.isdisjoint(pending.keys):
                return None
            views = self._view(pending, forced)
            keys = frozenset([*views.dirty, *pending.keys])
            if not flying.isdisjoint(keys):
                raise psycopg.Rollback  # the entries of new rows, too
            present = pool.submit(self._find, views)  # while the documents are computed
            returned = self._compute(views)
            intended = returning.read_intentions(self.rows.connection, self.rows.namespace)
            self._count(Counter(name for name, _ in views.born))
            returning.add_intentions(self.rows.connection, self.rows.namespace, map(_intention, returned))
            return _Computed(
                keys=keys, numbers=pending.numbers, returned=returned, intended=intended, present=present
            )  # after the commit
        return None

    def _start(self, computed: _Computed, pool: ThreadPoolExecutor) -> _Flight:
        """Begin to write documents. Raises: as `return_some`."""
        conflicts = self._find_conflicts(computed)
        return _Flight(computed=computed, conflicts=conflicts, written=pool.submit(self._write, computed.returned))

    def _finish(self, flight: _Flight) -> ReturnedBatch:
        """Wait until documents are written, and record it. Raises: as `return_some`."""
        flight.written.result()
        computed, conflicts = flight.computed, flight.conflicts
        with self.rows.connection.transaction():
            # After a crash of the server, what it has lost is done again.
            self.rows.connection.execute("SET LOCAL synchronous_commit = off")
            self._record(computed.returned, conflicts)
            changes.delete(self.rows.connection, self.rows.namespace, computed.numbers)
            returning.count_returned(self.rows.connection, self.rows.namespace, len(computed.numbers))
        return ReturnedBatch(changes=len(computed.numbers), documents=len(computed.returned), conflicts=len(conflicts))

    # --- reading -----------------------------------------------------------------------------------------------------

    def _view(self, pending: Pending, forced: frozenset[Key]) -> Views:
        resolvers = [resolver for level in self.levels for resolver in self.resolvers_for(level)]
        constants = {
            each.collection.name: constants_of(each.collection, each.writer.options)
            for each in resolvers
            if each.collection.name in self.rows.mappings
        }
        return Views(self.rows, pending, constants, forced)

    def _find(self, views: Views) -> dict[str, dict[bytes, bytes]]:
        """Return the present documents of all rows that may have changed."""
        wanted: dict[str, list[bytes]] = defaultdict(list)
        for key in views.dirty:
            wanted[key[0]].append(views.entries[key][0])
        return {name: self.writer.find(name, source_ids) for name, source_ids in wanted.items()}

    def _compute(self, views: Views) -> list[Returned]:
        found: list[Returned] = []
        names = {name for name, _ in views.dirty}
        for level in self.levels:
            for resolver in self.resolvers_for([name for name in level if name in names]):
                keys = [key for key in views.dirty if key[0] == resolver.collection.name]
                found += DocumentReturn(views, resolver.writer).compute(keys)
        return found

    # --- writing -----------------------------------------------------------------------------------------------------

    def _find_conflicts(self, computed: _Computed) -> list[Conflict]:
        """Return the present documents that are not as expected. Raises: `StoppedError` if they stop the return."""
        present, conflicts = computed.present.result(), list[Conflict]()
        for each in computed.returned:
            name, source_id = each.key[0], each.source_id
            there = present[name].get(source_id)
            if not _is_expected(there, each, computed.intended.get((name, source_id), set())):
                conflicts.append(Conflict(name, source_id, there, each.expected is not None))
        if conflicts and self.stops_at_conflict:
            raise StoppedError(
                f"{len(conflicts)} documents in MongoDB are not as expected, the first in {conflicts[0].collection}:"
                " something else than migrate has written to them",
                hint='Compare them with their rows. With cutover.on_conflict = "target", the rows take precedence, and'
                " these documents are kept in migrator.conflicts.",
            )
        return conflicts

    def _write(self, returned: list[Returned]) -> None:
        """Write documents: new and changed ones by level, then the deletions in the opposite order."""
        by_collection: dict[str, dict[bytes, bytes | None]] = defaultdict(dict)
        for each in returned:
            by_collection[each.key[0]][each.source_id] = each.document
        order = [name for level in self.levels for name in level if name in by_collection]
        for name in order:
            self._write_some(name, {sid: raw for sid, raw in by_collection[name].items() if raw is not None})
        for name in reversed(order):
            self._write_some(name, {sid: None for sid, raw in by_collection[name].items() if raw is None})

    def _write_some(self, name: str, documents: Mapping[bytes, bytes | None]) -> None:
        if documents:
            self.writer.write(name, documents)

    # --- the records -------------------------------------------------------------------------------------------------

    def _record(self, returned: list[Returned], conflicts: list[Conflict]) -> None:
        connection, namespace = self.rows.connection, self.rows.namespace
        gone = [(each.key[0], each.source_id, each.key[1]) for each in returned if each.document is None]
        kept = [(each.key[0], each.key[1], each.residue) for each in returned if each.document is not None]
        returning.update_residues(connection, namespace, kept)
        returning.forget_documents(connection, namespace, gone)
        self._count(Counter({name: -count for name, count in Counter(name for name, *_ in gone).items()}))
        done = [(each.key[0], each.key[1], sorted(each.losses.as_before)) for each in returned]
        returning.replace_unreturned(connection, namespace, done, self._unreturned(returned))
        returning.add_conflicts(connection, namespace, conflicts)
        returning.remove_intentions(connection, namespace, [(each.key[0], each.source_id) for each in returned])
        # By the collection of the source: a changed document may belong to another mapping of it.
        real = [(self.rows.mappings[each.key[0]].source_name, each.source_id) for each in returned]
        returning.mark_dirty(connection, namespace, real)

    def _count(self, differences: Counter[str]) -> None:
        for name, difference in differences.items():
            count_changed(self.rows.connection, self.rows.namespace, self.run, name, difference)

    def _unreturned(self, returned: Iterable[Returned]) -> Iterable[Unreturned]:
        for each in returned:
            if not (each.losses.columns or each.losses.rounded):
                continue  # nearly all
            collection = self.rows.mappings[each.key[0]]
            kinds = dict(collection.kinds)
            for columns, is_rounded in ((each.losses.columns, False), (each.losses.rounded, True)):
                for column, (value, other) in columns.items():
                    kind = kinds.get(column) or kind_of_element_column(collection, column)
                    values = as_json(kind, value), as_json(kind, other)
                    yield Unreturned(each.key[0], each.source_id, each.key[1], column, *values, is_rounded)


def as_json(kind: str, value: Any) -> Jsonb | None:
    """Return a plain value of a column for a column of type jsonb."""
    if value is None:
        return None
    return Jsonb(uuid_text(value) if kind == "uuid" else value)


def _intention(each: Returned) -> Intention:
    return Intention(each.key[0], each.source_id, None if each.document is None else sha256(each.document).digest())


def _is_expected(there: bytes | None, each: Returned, intended: set[bytes | None]) -> bool:
    """Return whether a document in the source is the last one that was returned, or the one to write."""
    digest = None if there is None else sha256(there).digest()
    if digest in intended or there == each.document:
        return True
    if there is None or each.expected is None:
        return there is None and each.expected is None
    return equal_fields(decode(there), each.expected)


def equal_fields(one: Document, other: Document) -> bool:
    """Return whether two documents have the same fields, in any order."""
    return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
