"""Compares a target that follows its source with that source, at one consistent point, while both change.

The source is mapped again while changes go on. Then `migrate follow` waits between two batches (changes are still
received), and the scratch rows are brought to the point of the target: first to the present of the source, then the
documents that the target has not applied are set to what the target has. So what a change touches in other rows is the
same on both sides, and every difference that is left is real. Documents that are not applied are counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from psycopg import sql

from migrator.documents import raw_bson
from migrator.events import StepAdvanced, StepFinished, StepStarted, silent
from migrator.following.applier import Applier
from migrator.following.batch import DocumentKey
from migrator.formatting import format_count
from migrator.postgres.table_names import name_of
from migrator.reconciliation.unreturned import apply_all_unreturned, copy_unreturned
from migrator.rows.store import RowStore
from migrator.sources.base import ChangingSource, Position
from migrator.sources.shared import name_keys
from migrator.state import dirty, journal, scratch, sync
from migrator.state.dirty import DirtyKey
from migrator.state.follow_lock import paused
from migrator.state.ledger import Counts, balance
from migrator.state.records import SCRATCH_NAMESPACE
from migrator.verification import accounting, round_trip
from migrator.verification.model import EXAMPLES, Check, Difference, Scope
from migrator.verification.prescan import Prescan
from migrator.verification.relation_diff import ScratchComparison
from migrator.verification.round_trip import BATCH, RoundTripCounts
from migrator.verification.round_trip_workers import SIZE
from migrator.workflows.follow_setup import prepare_following
from migrator.workflows.migration import MigrationContext
from migrator.workflows.pipeline import Pipeline
from migrator.workflows.receiving import require_changing
from migrator.workflows.verify_changes import SourceIds, by_collection, read_changed_keys, read_unapplied
from migrator.workflows.verify_rows import RowOptions, begin_scratch_run, needed_collections, scratch_token
from migrator.workflows.verify_target import TargetChecks, open_scheduler

STEP = "bring to one point"
MOST_REPEATED = 10_000  # documents; more differences are real ones


@dataclass(slots=True, kw_only=True)
class Followed:
    """What a comparison found. `scope` leaves out tables that lack columns. `unapplied`: documents with changes that
    are not applied; `collections`: the accounting identity. `oldest`: the number of the oldest change that was received
    and not applied; None if there is none.
    """

    scope: Scope
    scan: Prescan
    checks: list[Check]
    unapplied: int
    collections: dict[str, Counts]
    oldest: int | None


@dataclass(frozen=True, kw_only=True)
class FollowedComparison:
    """One comparison. `pipeline` maps the source into the scratch schemas; `options` None: only counts."""

    context: MigrationContext
    scope: Scope
    pipeline: Pipeline
    options: RowOptions | None
    _left: dict[str, dict[bytes, Difference]] = field(default_factory=lambda: defaultdict(dict))
    _read: Counter[str] = field(default_factory=Counter)

    def run(self) -> Followed:
        """Compare, and return what was found. Raises: `StoppedError` if a collection was dropped meanwhile."""
        if self.options is None:
            with paused(self.scope.connection):
                return self._compare_at_rest(None)
        token = scratch_token(self.scope, self.pipeline)
        mappings = self.context.definition.mappings
        with scratch.scratch_namespace(self.scope.connection, mappings, token, frozenset(), with_following=True) as (
            _,
            found,
        ):
            run = begin_scratch_run(self.scope, self.pipeline, token, found)
            sync.begin(self.scope.connection, SCRATCH_NAMESPACE, self._changing.current_position())
            self.pipeline.run(run, needed_collections(self.scope, self.context.source))
            scratch_rows = RowStore(self.scope.connection, SCRATCH_NAMESPACE, mappings)
            tables = {name_of(each.table) for each in mappings.values()}
            apply_all_unreturned(scratch_rows, self.scope.namespace, tables, self.context.config.tenant.id)
            copy_unreturned(scratch_rows, self.scope.namespace)
            if self.options.rebuild:
                self._read_round_trip()
            journal.end_run(self.scope.connection, SCRATCH_NAMESPACE, run, journal.DONE)
            applier = prepare_following(self._scratch_context, self.scope.connection, self.pipeline.dsn)
            self._catch_up(applier)  # before the pause, which becomes shorter
            with paused(self.scope.connection):
                return self._compare_at_rest(applier)

    def _compare_at_rest(self, applier: Applier | None) -> Followed:
        """Compare while no change is applied to the target."""
        scope, emit = self.scope, self.context.emit
        oldest = dirty.oldest_number(scope.connection, scope.namespace)
        names = self._names()
        ids = SourceIds(scope.connection, self._changing, names)
        if applier is not None:
            self._catch_up(applier)
        unapplied = self._read_unapplied()
        counted = ids.count(scope.namespace, unapplied)
        if auxiliary := self._auxiliary_names():
            counted += accounting.count_source(self.context.source, auxiliary, emit)
        checker = TargetChecks.open(scope, lambda _: counted, emit)
        checks = checker.run()
        if applier is not None and not checker.scope.unusable:
            self._set_to_target(applier, unapplied)
            self._repeat_different(applier)
            connect = partial(open_scheduler, checker.scope)
            with ScratchComparison(checker.scope, checker.scan, SCRATCH_NAMESPACE, connect) as comparison:
                checks += comparison.compare(emit)
            if self.options is not None and self.options.rebuild:
                checks += self._check_round_trip(names, unapplied)
        unapplied = {key for key in unapplied if scope.has_collection(key[0]) and self._keeps(key[0])}
        collections = balance(scope.connection, scope.namespace, checker.scan.records.counts)
        return Followed(
            scope=checker.scope,
            scan=checker.scan,
            checks=checks,
            unapplied=len(unapplied),
            collections=collections,
            oldest=oldest,
        )

    # --- one point ---------------------------------------------------------------------------------------------------

    def _catch_up(self, applier: Applier) -> None:
        """Apply all changes of the source since the scratch run began to its rows."""
        emit, source = self.context.emit, self._changing
        emit(StepStarted(step=STEP, unit="documents"))
        state = sync.read(self.scope.connection, SCRATCH_NAMESPACE)
        assert state is not None  # begun before the run
        keys = self._read_keys(state.position.token, state.position.after_invalidate)
        keys |= self._new_documents()
        done = 0
        for name, source_ids in self._in_order(applier, keys):
            found = source.find_documents(name, source_ids) if applier.uses(name) else {}
            self._apply(applier, {(name, source_id): found.get(source_id) for source_id in source_ids})
            done += len(source_ids)
            emit(StepAdvanced(step=STEP, done=done))
        emit(StepFinished(step=STEP, note=f"{format_count(done, 'changed documents')}"))

    def _new_documents(self) -> set[DocumentKey]:
        """Return the documents of collections that did not exist when the source was opened."""
        known = {each.name for each in self.context.source.collections()}
        names = [name for name in self._changing.list_collections() if name not in known]
        described = [each for each in map(self._changing.describe_collection, names) if each is not None]
        sync.write_metadata(self.scope.connection, SCRATCH_NAMESPACE, described)
        return {(name, source_id) for name in names for source_id in self._changing.read_ids(name)}

    def _set_to_target(self, applier: Applier, unapplied: set[DocumentKey]) -> None:
        """Set documents in the scratch run to what the target has: the rows that follow from them become the same."""
        for name, source_ids in self._in_order(applier, unapplied):
            rebuilt = round_trip.rebuild_documents(replace(self.scope, only=frozenset()), name, source_ids)
            found = {
                source_id: next((each.raw for each in rebuilt.get(source_id, []) if each.raw is not None), None)
                for source_id in source_ids
            }
            self._apply(applier, {(name, source_id): raw for source_id, raw in found.items()})

    def _repeat_different(self, applier: Applier) -> None:
        """Resolve the documents of the scratch run again whose outcome differs from that in the target.

        The order of changes can leave another outcome behind; one that differs in the target remains different.
        """
        query = SCRATCH_NAMESPACE.sql(
            "SELECT collection, source_id FROM (SELECT collection, source_id, target_id, outcome FROM {ledger}) s"
            " FULL JOIN (SELECT collection, source_id, target_id, outcome FROM {target}) t"
            " USING (collection, source_id)"
            " WHERE s.target_id IS DISTINCT FROM t.target_id OR s.outcome IS DISTINCT FROM t.outcome LIMIT %s",
            target=sql.Identifier(self.scope.namespace.records, "ledger"),
        )
        found = self.scope.connection.execute(query, (MOST_REPEATED,), binary=True)
        keys = {(name, bytes(source_id)) for name, source_id in found}
        own = replace(self.scope, namespace=SCRATCH_NAMESPACE, only=frozenset())
        for name, source_ids in self._in_order(applier, keys):
            rebuilt = round_trip.rebuild_documents(own, name, source_ids)
            newest: dict[DocumentKey, bytes | None] = {
                (name, sid): each.raw for sid, some in rebuilt.items() for each in some if each.raw is not None
            }
            self._apply(applier, newest)

    def _in_order(self, applier: Applier, keys: Iterable[DocumentKey]) -> Iterator[tuple[str, list[bytes]]]:
        """Yield source IDs of needed collections, each collection after those that it refers to."""
        order = [name for level in applier.levels for name in level]
        return by_collection((key for key in keys if self._is_needed(key[0])), order)

    def _apply(self, applier: Applier, newest: dict[DocumentKey, bytes | None]) -> None:
        keys = [DirtyKey(collection=name, source_id=sid, number=0, document=None) for name, sid in newest]
        applier.apply(keys, newest)

    def _read_unapplied(self) -> set[DocumentKey]:
        url, connection = self.context.config.source.url, self.scope.connection
        now = self._changing.server_time()
        keys = read_unapplied(connection, self.scope.namespace, url, self.context.source.database, now)
        return name_keys(self._changing, keys)

    def _read_keys(self, token: bytes, after_invalidate: bool) -> set[DocumentKey]:
        position = Position(token=token, after_invalidate=after_invalidate)
        now = self._changing.server_time()
        keys = read_changed_keys(self.context.config.source.url, self.context.source.database, position, now)
        return name_keys(self._changing, keys)

    # --- the round trip ----------------------------------------------------------------------------------------------

    def _read_round_trip(self) -> None:
        """Rebuild every document while changes go on, and note those that differ: they are compared again."""
        assert self.options is not None
        source, share = self.context.source, self.options.share
        opened = {each.name for each in source.collections()}
        names = [name for name in self._names() if name in opened] + self._auxiliary_names()
        batches = source.read(dict.fromkeys(names, ""), documents=BATCH, size=SIZE)
        for number, batch in enumerate(batches):
            if batch.data and (number == 0 or int(number * share) > int((number - 1) * share)):
                documents = raw_bson.documents_by_id(batch.data)
                self._read[batch.collection] += len(documents)
                found = round_trip.find_differences(self.scope, batch.collection, documents)
                self._left[batch.collection] |= dict(found)

    def _check_round_trip(self, names: list[str], unapplied: set[DocumentKey]) -> Iterator[Check]:
        """Compare the documents that differed again, as they are now."""
        assert self.options is not None
        found: dict[str, list[tuple[bytes, Difference]]] = defaultdict(list)
        auxiliary = self._auxiliary_names()
        for name in auxiliary:
            found[name] = list(self._left.pop(name, {}).items())
        keys = {(name, source_id) for name, source_ids in self._left.items() for source_id in source_ids}
        for name, source_ids in by_collection(keys - unapplied):
            newest = self._changing.find_documents(name, source_ids)
            found[name] += round_trip.find_differences(self.scope, name, list(newest.items()))
        if any(found.values()):  # perhaps changed after `unapplied` was read
            unapplied |= self._read_unapplied()
        counts = {}
        for name, read in self._read.items():
            real = [each for source_id, each in found[name] if (name, source_id) not in unapplied]
            counts[name] = RoundTripCounts(read, len(real), real[:EXAMPLES])
        yield from round_trip.make_checks([*names, *auxiliary], counts, self.options.share)

    # --- collections -------------------------------------------------------------------------------------------------

    @property
    def _changing(self) -> ChangingSource:
        return require_changing(self.context)

    @property
    def _scratch_context(self) -> MigrationContext:
        return replace(self.context, namespace=SCRATCH_NAMESPACE, emit=silent)

    def _keeps(self, name: str) -> bool:
        return self.context.config.policies.unmapped_collections == "archive" or name in self.scope.known

    def _names(self) -> list[str]:
        """Return the collections of the live source to compare, as they exist now."""
        names = self._changing.list_collections()
        return [name for name in names if self._keeps(name) and self.scope.has_collection(name)]

    def _auxiliary_names(self) -> list[str]:
        """Return the collections of the auxiliary sources to compare. They do not change."""
        names = [each.name for each in self.context.source.collections() if each.origin is not None]
        return [name for name in names if self.scope.has_collection(name)]

    def _is_needed(self, name: str) -> bool:
        needed = needed_collections(self.scope, self.context.source)
        return not needed or name in needed
