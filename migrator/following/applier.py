"""Applies dirty keys: takes the newest state of each document, and resolves it with all that hang on it.

Rows, records and the deletion of the keys are one transaction, so that an interrupted batch is applied again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from migrator.events import silent
from migrator.following import deferral
from migrator.following.batch import Batch, DocumentKey, Newest, Refused
from migrator.following.closure import Closure
from migrator.following.document_records import DocumentRecords
from migrator.following.member_lists import compact_lists
from migrator.following.reach import reach
from migrator.following.resolution import CollectionResolution
from migrator.following.set_back import SetBack
from migrator.following.simple_batch import SimpleBatch
from migrator.postgres.table_names import name_of
from migrator.reconciliation.conflicts import ConflictResolver
from migrator.reconciliation.latest_values import LatestValue, mapping_of
from migrator.reconciliation.merges import MergeApplier
from migrator.reconciliation.unreturned import apply_unreturned, find_holders, has_unreturned, update_holders
from migrator.rows.refusals import REFUSALS, UpdatesRefusedError
from migrator.stages.context import StageContext
from migrator.stages.reconcile import report_missing_rows
from migrator.state import dirty, wants
from migrator.state.dirty import DirtyKey
from migrator.state.own_transactions import record_transaction

MOST_REPETITIONS = 10  # of a batch; each one rejects all documents that the same step has found


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a batch did. `simple`: changes that touched no other document."""

    changes: int
    simple: int


@dataclass(frozen=True, kw_only=True)
class Applier:
    """Applies batches of dirty keys to the rows of a finished run.

    `levels`: the mapped collections, each after those that it refers to. `resolvers_for` returns new conflict resolvers
    of a level. `archives_unmapped`: whether documents of collections without a mapping are archived.
    `never_simple`: collections whose changes are always resolved with all that hang on them.
    `merges`: of collections into rows of others. `unused`: collections whose documents no source provides.
    """

    stage: StageContext
    levels: list[list[str]]
    resolvers_for: Callable[[list[str]], list[ConflictResolver]]
    archives_unmapped: bool = True
    never_simple: frozenset[str] = frozenset()
    merges: tuple[MergeApplier, ...] = ()
    unused: frozenset[str] = frozenset()

    @cached_property
    def _has_unreturned(self) -> bool:
        return has_unreturned(self.stage.rows)

    @property
    def _records(self) -> DocumentRecords:
        return DocumentRecords(stage=self.stage, archives_unmapped=self.archives_unmapped)

    def replace_merged(self, name: str, documents: Iterable[tuple[bytes, bytes]]) -> int:
        """Replace the documents (`source_id`, BSON) that are merged into rows, in one transaction; return their number.

        `name`: of the merge.
        """
        merge = next(each for each in self.merges if each.merge.name == name)
        with self.stage.connection.transaction():
            record_transaction(self.stage.connection, self.stage.namespace)
            merge.undo()
            count = self._records.replace_all(name, documents)
            merge.apply(silent)
        return count

    def uses(self, collection: str) -> bool:
        """Return whether documents of a collection are kept: as rows, or in the archive."""
        return self.archives_unmapped or collection in self.stage.rows.mappings

    def apply(self, keys: list[DirtyKey], newest: Newest) -> Applied:
        """Apply dirty keys in one transaction. `newest`: the current document of each; None if it is gone.

        If the target refuses a row or a later change of one, the transaction is repeated without the document.
        """
        refused: dict[str, dict[bytes, str]] = defaultdict(dict)
        is_careful = False
        for _ in range(MOST_REPETITIONS):
            try:
                return self._apply(keys, newest, refused, is_careful)
            except UpdatesRefusedError as error:
                for name, documents in error.refused.items():
                    refused[name] |= documents
                is_careful, cause = True, error.cause
            except REFUSALS as error:
                if is_careful:
                    raise  # it is no refusal
                is_careful, cause = True, error
        raise cause

    def _apply(self, keys: list[DirtyKey], newest: Newest, refused: Refused, is_careful: bool) -> Applied:
        simple, rows, namespace = 0, self.stage.rows, self.stage.namespace
        mapped = {key: raw for key, raw in newest.items() if key[0] in rows.mappings}
        unmapped = {key: raw for key, raw in newest.items() if key[0] not in rows.mappings}
        with rows.connection.transaction():
            record_transaction(rows.connection, namespace)
            # After a crash of the server, what it has lost is dirty again.
            rows.connection.execute("SET LOCAL synchronous_commit = off")
            deferral.defer(rows, only_own=is_careful)  # parents of a tree may follow their children
            self._records.count(newest)
            if unmapped:
                self._records.archive(unmapped)
            if mapped:
                closure = Closure(rows)
                holders = find_holders(rows, mapped) if self._has_unreturned else {}
                left, carrying = (mapped, set[DocumentKey]()) if is_careful else self._apply_simple(mapped, closure)
                simple = len(mapped.keys() - left.keys())
                batch = Batch(left, refused, is_careful)
                if left:
                    self._resolve(batch, closure)
                if self._has_unreturned:
                    changed = mapped.keys() | carrying | batch.resolved
                    for key, ids in find_holders(rows, changed).items():
                        holders.setdefault(key, set()).update(ids)
                    changed |= update_holders(rows, holders, self.stage.tenant)
                    apply_unreturned(rows, changed, self.stage.tenant)
            dirty.delete(rows.connection, namespace, keys)
        return Applied(changes=len(newest), simple=simple + len(unmapped))

    def _resolve(self, batch: Batch, closure: Closure) -> None:
        """Resolve documents with all that hang on them."""
        reached = reach(self.stage.rows.mappings, {name for name, _ in batch.newest})
        merges = [merge for merge in self.merges if merge.into.name in reached]
        for merge in merges:  # they change rows, so they are undone before rows are read, and applied at the end
            merge.undo()
        set_back = SetBack(self.stage.rows, self.levels, batch, closure)
        retried = self._refused_documents(reached)
        refused = {(name, source_id) for name, documents in batch.refused.items() for source_id in documents}
        set_back.documents(batch.newest.keys() | retried | refused)
        for (name, source_id), raw in batch.newest.items():
            if raw is not None:
                batch.queue[name][source_id] = raw
            batch.touched.add(name)
        for level in self.levels:
            if any(batch.queue[name] or batch.groups[name] or name in batch.touched for name in level):
                for resolver in self.resolvers_for(level):
                    CollectionResolution(self.stage, resolver, set_back, batch).resolve()
        self._complete(batch)
        self._record_refused(batch.refused)
        for merge in merges:
            merge.apply(silent)

    def _apply_simple(self, newest: Newest, closure: Closure) -> tuple[Newest, set[DocumentKey]]:
        """Apply the simple changes, and return the others, with documents that carry what has changed.

        All documents that do are returned as well.
        """
        batch = SimpleBatch(
            stage=self.stage,
            levels=self.levels,
            resolvers_for=self.resolvers_for,
            never_simple=self.never_simple | self._contended({name for name, _ in newest}),
            closure=closure,
            left=dict(newest),
        )
        return batch.apply(), batch.carrying

    def _complete(self, batch: Batch) -> None:
        """Update what depends on several rows: latest values, member lists, findings about missing rows."""
        rows, mappings = self.stage.rows, self.stage.rows.mappings
        for name in sorted(batch.touched & mappings.keys()):
            targets = self._loaded_ids(name, [sid for other, sid in batch.resolved if other == name])
            batch.references[name_of(mappings[name].table)] |= targets
            for rule in mappings[name].member_lists:
                batch.listers[name, rule.path] |= targets
        compact_lists(rows, batch.listers)
        for mapping in mappings.values():
            for latest in mapping.latest_values:
                ids = sorted(batch.references[latest.table])
                if ids:
                    value = LatestValue(rows=rows, collection=mapping, latest=latest, tenant=self.stage.tenant)
                    value.update_some(ids)
            for expected in mapping.expected if mapping.name not in self.unused else ():
                if batch.touched & {mapping.name, expected.collection}:
                    report_missing_rows(self.stage, mapping, expected)

    def _loaded_ids(self, name: str, source_ids: list[bytes]) -> set[str]:
        query = self.stage.namespace.sql(
            "SELECT target_id FROM {ledger} WHERE collection = %s AND source_id = ANY(%s) AND outcome = 'loaded'"
        )
        return {row[0] for row in self.stage.connection.execute(query, (name, source_ids))}

    # --- documents that the target refuses ---------------------------------------------------------------------------

    def _contended(self, names: set[str]) -> set[str]:
        """Return those of the collections whose changes may let a refused document be loaded."""
        with_refused = wants.wanted_as_whole(self.stage.connection, self.stage.namespace, self.stage.rows.mappings)
        return {name for name in names if self._changed_with({name}) & with_refused} if with_refused else set()

    def _refused_documents(self, reached: set[str]) -> set[DocumentKey]:
        """Return the documents that the target has refused, and may not refuse after a change of some collections."""
        wanted = {wants.anything(name) for name in self._changed_with(reached)}
        return wants.find(self.stage.connection, self.stage.namespace, wanted)

    def _changed_with(self, names: set[str]) -> set[str]:
        """Return the collections whose rows a change of some collections can change: latest values are in others."""
        rows = self.stage.rows
        latest = [latest.table for name in names & rows.mappings.keys() for latest in rows.mappings[name].latest_values]
        return names | {mapping_of(rows, table).name for table in latest}

    def _record_refused(self, refused: Refused) -> None:
        query = self.stage.namespace.sql("INSERT INTO {refusals} (collection, source_id, detail) VALUES (%s, %s, %s)")
        values = [(name, *each) for name, documents in refused.items() for each in documents.items()]
        with self.stage.connection.cursor() as cursor:
            cursor.executemany(query, values)
