"""`migrate follow`: applies the changes of a live source to the rows of a finished run, until it is stopped."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg

from migrator.errors import TargetError
from migrator.events import Notice, StepAdvanced, StepFinished, StepStarted
from migrator.following import deferral
from migrator.following.applier import Applier
from migrator.following.batch import DocumentKey
from migrator.following.indexes import ensure_indexes
from migrator.following.initial_wants import record_initial_wants
from migrator.formatting import format_count
from migrator.monitoring.monitor import monitored
from migrator.monitoring.prometheus import write_metrics
from migrator.monitoring.sync_status import read_sync_status
from migrator.monitoring.throttle import LagMeter, Throttle
from migrator.postgres.errors import is_idle
from migrator.rows.store import RowStore
from migrator.sources.change_events import event_time
from migrator.sources.change_stream import oldest_time
from migrator.stages.context import StageContext
from migrator.stages.embed import embed
from migrator.stages.load import order_by_dependency
from migrator.state import dirty, journal, own_transactions, sync
from migrator.state.dirty import DirtyKey
from migrator.state.follow_lock import applying, following
from migrator.state.lock import exclusive
from migrator.state.markers import expand_marker
from migrator.state.records import Connection
from migrator.state.suspension import suspend_in_run
from migrator.targets.base import Target
from migrator.workflows.fingerprints import collect_fingerprints, require_unchanged
from migrator.workflows.migration import MigrationContext
from migrator.workflows.pipeline import Pipeline
from migrator.workflows.receiving import Receiving, require_changing
from migrator.workflows.retry import retry_transient

STEP = "follow"
BATCH_KEYS = 1000
BATCH_BYTES = 32 << 20  # of documents in memory
LOOKUP_KEYS = 200  # documents that are looked up together, at most 16 MB each
POLL_SECONDS = 0.05  # between two looks for dirty keys
REPORT_SECONDS = 1.0
GROWTH_SECONDS = 60.0  # over which the number of waiting changes is compared
MANY_WAITING = 10 * BATCH_KEYS  # changes; fewer are applied in seconds
WINDOW_SECONDS = 60.0  # between two measurements of the history that the source keeps
MOST_TRANSACTIONS = 50_000  # recorded before those that no row needs are looked for
IDLE_STORES = 2  # positions stored without an event, after which no earlier event can be missing


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOptions:
    """When to stop (default: never), and whether a large deletion is applied without asking.

    `metrics`: a text file for Prometheus that is replaced every second.
    """

    until_caught_up: bool = False
    stop_at: datetime | None = None
    accept_drop: bool = False
    metrics: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowReport:
    """What was applied by this call. `waiting`: the dirty keys that are left."""

    applied: int
    simple: int
    waiting: int
    seconds: float

    def as_json(self) -> dict[str, object]:
        return {
            "applied": self.applied,
            "simple": self.simple,
            "waiting": self.waiting,
            "seconds": round(self.seconds, 3),
        }


def follow(
    context: MigrationContext, target: Target, options: FollowOptions, receiving: Receiving | None = None
) -> FollowReport:
    """Apply changes until the options say to stop, and return what was applied. Transient errors are retried.

    Raises: all errors of `migrator.errors`. The same call continues afterwards.
    """
    fingerprints = collect_fingerprints(context)
    receiving = receiving or Receiving(context, target)
    meter = LagMeter(context.config.engine, context.source.latency)
    counts = _Counts()

    def attempt(number: int) -> FollowReport:
        with closing(target.connect()) as connection, exclusive(connection):
            require_unchanged(connection, context.namespace, fingerprints, context.config)
            with monitored(target.connect, context.namespace, meter, context.emit):
                follower = Follower(context, target, connection, receiving)
                follower.run(options, counts)
            return counts.report(dirty.count(connection, context.namespace))

    try:
        return retry_transient(attempt, partial(_count_applied, target, context), context.emit)
    finally:
        receiving.stop()


def _count_applied(target: Target, context: MigrationContext) -> int | None:
    """Return a number that grows with progress; None if it is unknown."""
    try:
        with closing(target.connect()) as connection:
            state = sync.read(connection, context.namespace)
            return None if state is None else state.applied + state.received
    except (TargetError, psycopg.Error):
        return None


class _Counts:
    """What this call has applied, over all attempts."""

    def __init__(self) -> None:
        self.applied = self.simple = 0
        self._began = time.monotonic()

    def report(self, waiting: int) -> FollowReport:
        seconds = time.monotonic() - self._began
        return FollowReport(applied=self.applied, simple=self.simple, waiting=waiting, seconds=seconds)


def prepare_following(context: MigrationContext, connection: Connection, dsn: str) -> Applier:
    """Prepare a finished run for changes, and return the applier. Can be repeated.

    Raises: `UsageError` if no run has finished.
    """
    namespace, definition = context.namespace, context.definition
    run, _ = journal.require_finished(connection, namespace)
    pipeline = Pipeline(context=context, connection=connection, dsn=dsn)
    rows = RowStore(connection, namespace, definition.mappings)
    stage = StageContext(rows=rows, tenant=context.config.tenant.id, run=run, emit=context.emit)
    levels = order_by_dependency(definition.mappings)
    suspend_in_run(connection, namespace, definition.metadata, run)
    ensure_indexes(connection, namespace)
    deferral.make_deferrable(rows)
    record_initial_wants(stage, levels, pipeline.resolvers_for)
    merged = {applier.merge.into for applier in pipeline.merge_appliers(run)}
    embedded = set() if definition.embedded is None else {definition.embedded.collection}
    return Applier(
        stage=stage,
        levels=levels,
        resolvers_for=pipeline.resolvers_for,
        archives_unmapped=context.config.policies.unmapped_collections == "archive",
        never_simple=frozenset(merged | embedded),
        merges=tuple(pipeline.merge_appliers(run)),
    )


class Follower:
    """Applies changes through one connection."""

    def __init__(self, context: MigrationContext, target: Target, connection: Connection, receiving: Receiving) -> None:
        self._context, self._target, self._connection = context, target, connection
        self._namespace, self._emit = context.namespace, context.emit
        self._receiving, self._changing = receiving, require_changing(context)
        self._reported, self._growth = 0.0, _GrowthWatch()
        self._pruner = _TransactionPruner(context, connection)
        self._window_read, self._oldest = -WINDOW_SECONDS, None  # type: tuple[float, int | None]

    def run(self, options: FollowOptions, counts: _Counts) -> None:
        """Apply changes until the options say to stop."""
        began = self._changing.server_time()
        with following(self._connection), self._prepared() as applier:
            self._receiving.begin(self._connection, is_loaded=True)
            sync.set_state(self._connection, self._namespace, sync.FOLLOWING)
            self._emit(StepStarted(step=STEP, unit="changes"))
            throttle = Throttle(self._connection, self._namespace, self._context.config.engine)
            idle = _IdleWatch(began)
            while not self._is_time(options):
                self._receiving.check()
                throttle.wait_while_throttled()
                # Read before the keys: an event that is stored in between must not count as applied.
                state = sync.read(self._connection, self._namespace) if options.until_caught_up else None
                keys = dirty.read_oldest(self._connection, self._namespace, BATCH_KEYS, BATCH_BYTES)
                if keys:
                    idle.reset()
                    applied = self._apply(applier, keys, options, counts)
                    throttle.limit_rate(applied)
                elif options.until_caught_up and idle.is_caught_up(state):
                    break
                else:
                    time.sleep(POLL_SECONDS)
                self._report(options, counts)
            self._embed(applier)
        self._emit(StepFinished(step=STEP, note=f"{format_count(counts.applied, 'changes')} applied"))

    @contextmanager
    def _prepared(self) -> Iterator[Applier]:
        """Prepare the target, and restore it at the end, also after an error or Ctrl-C."""
        applier = prepare_following(self._context, self._connection, self._target.dsn)
        try:
            yield applier
        finally:
            if is_idle(self._connection):
                self._restore(self._connection)
            else:  # a statement was interrupted: this connection cannot be used any more
                self._connection.close()
                with closing(self._target.connect()) as connection:
                    self._restore(connection)

    def _restore(self, connection: Connection) -> None:
        sync.set_state(connection, self._namespace, sync.STOPPED)
        deferral.restore(RowStore(connection, self._namespace, self._context.definition.mappings))

    def _is_time(self, options: FollowOptions) -> bool:
        return options.stop_at is not None and datetime.now(UTC) >= options.stop_at

    def _apply(self, applier: Applier, keys: list[DirtyKey], options: FollowOptions, counts: _Counts) -> int:
        """Apply a batch of keys and return their number."""
        with applying(self._connection) as is_free:
            if not is_free:
                time.sleep(POLL_SECONDS)  # a comparison runs in another process
                return 0
            return self._apply_now(applier, keys, options, counts)

    def _apply_now(self, applier: Applier, keys: list[DirtyKey], options: FollowOptions, counts: _Counts) -> int:
        marker = next((key for key in keys if key.is_marker), None)
        if marker is not None:
            expand_marker(self._connection, self._namespace, self._changing, marker, accept_drop=options.accept_drop)
            return 0
        used, newest = self._fetch(keys, applier)
        done = applier.apply(used, newest)
        self._pruner.note()
        counts.applied, counts.simple = counts.applied + done.changes, counts.simple + done.simple
        return done.changes

    def _fetch(self, keys: list[DirtyKey], applier: Applier) -> tuple[list[DirtyKey], dict[DocumentKey, bytes | None]]:
        """Return the newest documents of the first keys, as many as fit into memory, with these keys."""
        newest: dict[DocumentKey, bytes | None] = {
            (key.collection, key.source_id): key.document for key in keys if key.document is not None
        }
        size = sum(len(raw) for raw in newest.values() if raw is not None)
        wanted: dict[str, list[bytes]] = defaultdict(list)
        for key in keys:
            if key.document is None and applier.uses(key.collection):
                wanted[key.collection].append(key.source_id)
        skipped: set[DocumentKey] = set()
        for name, source_ids in wanted.items():
            for start in range(0, len(source_ids), LOOKUP_KEYS):
                some = source_ids[start : start + LOOKUP_KEYS]
                if size > BATCH_BYTES:
                    skipped |= {(name, source_id) for source_id in some}
                    continue
                found = self._changing.find_documents(name, some)
                size += sum(map(len, found.values()))
                newest |= {(name, source_id): found.get(source_id) for source_id in some}
        used = [key for key in keys if (key.collection, key.source_id) not in skipped]
        for key in used:
            newest.setdefault((key.collection, key.source_id), None)
        return used, newest

    def _embed(self, applier: Applier) -> None:
        """Compute the embeddings of changed texts."""
        embedded = self._context.definition.embedded
        if embedded is not None:
            embed(applier.stage, embedded, self._context.config.embedding)

    def _report(self, options: FollowOptions, counts: _Counts) -> None:
        now = time.monotonic()
        if now - self._reported < REPORT_SECONDS:
            return
        self._reported = now
        waiting = dirty.count(self._connection, self._namespace)
        self._emit(StepAdvanced(step=STEP, done=counts.applied, note=f"{waiting:,} waiting"))
        if (warning := self._growth.observe(now, waiting, counts.applied)) is not None:
            self._emit(warning)
        if options.metrics is not None:
            self._write_metrics(options.metrics)
        if self._receiving.waiting:
            self._emit(Notice(text=f"the receiver waits: {self._receiving.waiting}", level="warning"))

    def _write_metrics(self, path: Path) -> None:
        now = time.monotonic()
        if now - self._window_read >= WINDOW_SECONDS:
            self._window_read, self._oldest = now, oldest_time(self._context.config.source.url)
        status = read_sync_status(self._connection, self._namespace, self._oldest)
        if status is not None:
            write_metrics(path, status)


class _TransactionPruner:
    """Keeps the record of own transactions small: each batch adds one.

    What is left are the transactions that rows were last written in, so it is cleaned again when it has doubled.
    """

    def __init__(self, context: MigrationContext, connection: Connection) -> None:
        self._connection, self._namespace = connection, context.namespace
        self._tables = {mapping.table.name for mapping in context.definition.mappings.values()}
        self._tables.add("tenants")
        self._recorded, self._most = own_transactions.count(connection, context.namespace), MOST_TRANSACTIONS

    def note(self) -> None:
        """Count one more transaction, and delete the unused ones if there are many."""
        self._recorded += 1
        if self._recorded >= self._most:
            self._recorded = own_transactions.forget_unused(self._connection, self._namespace, self._tables)
            self._most = max(MOST_TRANSACTIONS, 2 * self._recorded)


class _GrowthWatch:
    """Notices that the source changes faster than changes are applied."""

    def __init__(self) -> None:
        self._since, self._waiting, self._applied = time.monotonic(), 0, 0

    def observe(self, now: float, waiting: int, applied: int) -> Notice | None:
        """Return a warning, at most one per minute. `waiting`: dirty keys; `applied`: changes so far."""
        seconds = now - self._since
        if seconds < GROWTH_SECONDS:
            return None
        more, rate = waiting - self._waiting, (applied - self._applied) / seconds
        self._since, self._waiting, self._applied = now, waiting, applied
        if more <= 0 or waiting <= MANY_WAITING:
            return None
        text = f"The application writes faster than changes are applied ({rate:,.0f}/s): {waiting:,} changes wait"
        advice = "Check `migrate status`, the load of the target, and the limits of [engine]."
        return Notice(text=f"{text}, {more:,} more than {seconds:.0f} s ago. {advice}", level="warning")


class _IdleWatch:
    """Decides whether everything that happened before a time has been received."""

    def __init__(self, since: datetime) -> None:
        self._since = since
        self.reset()

    def reset(self) -> None:
        self._received, self._stored, self._stores = -1, None, 0  # type: tuple[int, datetime | None, int]

    def is_caught_up(self, state: sync.SyncState | None) -> bool:
        """Return whether no earlier event can be missing. `state` was read before it was found that no key is left."""
        if state is None:
            return False
        time = None if state.last_event is None else event_time(state.last_event)
        if time is not None and time > self._since:
            return True
        if state.received != self._received:
            self._received, self._stored, self._stores = state.received, state.stored, 0
        elif state.stored != self._stored:
            self._stored, self._stores = state.stored, self._stores + 1
        return self._stores >= IDLE_STORES
