"""Applies the changes of a live source through one connection, until the options say to stop."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from migrator.errors import SourceError
from migrator.events import Notice, StepAdvanced, StepFinished, StepStarted
from migrator.following import deferral
from migrator.following.after_switch import AfterSwitch
from migrator.following.applier import Applier
from migrator.following.batch import DocumentKey
from migrator.formatting import format_count
from migrator.monitoring.prometheus import write_metrics
from migrator.monitoring.sync_status import read_sync_status
from migrator.monitoring.throttle import Throttle
from migrator.postgres.errors import is_idle
from migrator.rows.store import RowStore
from migrator.sources.shared import name_documents
from migrator.stages.embed import embed
from migrator.state import dirty, sequences, switch_back, sync
from migrator.state.dirty import DirtyKey
from migrator.state.follow_lock import applying, following, paused
from migrator.state.markers import expand_marker
from migrator.state.records import Connection
from migrator.targets.base import Target
from migrator.workflows.auxiliary_changes import AuxiliaryChanges
from migrator.workflows.follow_setup import prepare_following
from migrator.workflows.follow_watches import GrowthWatch, IdleWatch, TransactionPruner
from migrator.workflows.migration import MigrationContext
from migrator.workflows.receiving import Receiving, require_changing
from migrator.workflows.run_options import FollowOptions

STEP = "follow"
DECIDE_AGAIN = "decide again"
BATCH_KEYS = 1000
BATCH_BYTES = 32 << 20  # of documents in memory
LOOKUP_KEYS = 200  # documents that are looked up together, at most 16 MB each
POLL_SECONDS = 0.05  # between two looks for dirty keys
REPORT_SECONDS = 1.0
WINDOW_SECONDS = 60.0  # between two measurements of the history that the source keeps
AUXILIARY_SECONDS = 60.0  # between two looks at auxiliary sources
AUXILIARY_PAUSE = 20  # times as long as the last look took


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


class FollowCounts:
    """What this call has applied, over all attempts."""

    def __init__(self) -> None:
        self.applied = self.simple = 0
        self._began = time.monotonic()

    def report(self, waiting: int) -> FollowReport:
        seconds = time.monotonic() - self._began
        return FollowReport(applied=self.applied, simple=self.simple, waiting=waiting, seconds=seconds)


class Follower:
    """Applies changes through one connection."""

    def __init__(self, context: MigrationContext, target: Target, connection: Connection, receiving: Receiving) -> None:
        self._context, self._target, self._connection = context, target, connection
        self._namespace, self._emit = context.namespace, context.emit
        self._receiving, self._changing = receiving, require_changing(context)
        self._reported, self._growth = 0.0, GrowthWatch()
        self._auxiliary_at = 0.0  # when auxiliary sources are looked at again
        self._window_read, self._oldest = -WINDOW_SECONDS, None  # type: tuple[float, int | None]

    def run(self, options: FollowOptions, counts: FollowCounts) -> None:
        """Apply changes until the options say to stop."""
        began = self._changing.server_time()
        with following(self._connection), self._prepared() as applier:
            self._receiving.begin(self._connection, is_loaded=True)
            if options.until_caught_up:
                self._receiving.hurry()
            self._decide_again(applier)
            sync.set_applying(self._connection, self._namespace, sync.FOLLOWING)
            self._emit(StepStarted(step=STEP, unit="changes"))
            throttle = Throttle(self._connection, self._namespace, self._context.config.engine)
            idle = IdleWatch(began)
            auxiliary = AuxiliaryChanges(context=self._context, applier=applier)
            while not self._is_time(options):
                self._receiving.check()
                throttle.wait_while_throttled()
                self._apply_auxiliary(auxiliary, counts)
                # Read before the keys: an event that is stored in between must not count as applied.
                state = sync.read(self._connection, self._namespace) if options.until_caught_up else None
                keys = dirty.read_oldest(self._connection, self._namespace, BATCH_KEYS, BATCH_BYTES)
                if keys:
                    idle.reset()
                    applied = self._apply(applier, keys, options, counts)
                    throttle.limit_rate(applied)
                elif options.until_caught_up and self._auxiliary_at > 0 and idle.is_caught_up(state):
                    break
                else:
                    time.sleep(POLL_SECONDS)
                self._report(options, counts)
            self._embed(applier)
            mappings = self._context.definition.mappings.values()
            sequences.advance(self._connection, self._namespace, mappings, applier.stage.run)
        self._emit(StepFinished(step=STEP, note=f"{format_count(counts.applied, 'changes')} applied"))

    def _decide_again(self, applier: Applier) -> None:
        """Decide again about what depends on several documents, if the application was switched back."""
        if not switch_back.is_marked(self._connection, self._namespace):
            return
        self._emit(StepStarted(step=DECIDE_AGAIN, unit="documents"))
        with paused(self._connection):
            done = AfterSwitch(applier).decide_again(
                lambda count: self._emit(StepAdvanced(step=DECIDE_AGAIN, done=count))
            )
            switch_back.forget(self._connection, self._namespace)
        self._emit(StepFinished(step=DECIDE_AGAIN, note=format_count(done, "documents")))

    @contextmanager
    def _prepared(self) -> Iterator[Applier]:
        """Prepare the target, and restore it at the end, also after an error or Ctrl-C."""
        applier = prepare_following(self._context, self._connection, self._target.dsn)
        try:
            self._pruner = TransactionPruner(self._context, self._connection)  # reads records of a finished run
            yield applier
        finally:
            if is_idle(self._connection):
                self._restore(self._connection)
            else:  # a statement was interrupted: this connection cannot be used any more
                self._connection.close()
                with closing(self._target.connect()) as connection:
                    self._restore(connection)

    def _restore(self, connection: Connection) -> None:
        sync.set_applying(connection, self._namespace, sync.STOPPED)
        deferral.restore(RowStore(connection, self._namespace, self._context.definition.mappings))

    def _is_time(self, options: FollowOptions) -> bool:
        """Return whether to stop: also if the application has been switched to the target."""
        if options.stop_at is not None and datetime.now(UTC) >= options.stop_at:
            return True
        if options.stopped is not None and options.stopped():
            return True
        return sync.is_switched(self._connection, self._namespace)

    def _apply_auxiliary(self, auxiliary: AuxiliaryChanges, counts: FollowCounts) -> None:
        """Apply the changes of auxiliary sources, if it is time.

        Raises: the error of a source that cannot be read the first time; later, it is a warning.
        """
        began = time.monotonic()
        if began < self._auxiliary_at:
            return
        with applying(self._connection) as is_free:
            if not is_free:
                return  # a comparison runs in another process
            try:
                counts.applied += auxiliary.apply()
            except SourceError as error:
                if self._auxiliary_at == 0:
                    raise
                self._emit(Notice(text=f"{error.message}; trying again later", level="warning"))
        now = time.monotonic()
        self._auxiliary_at = now + max(AUXILIARY_SECONDS, AUXILIARY_PAUSE * (now - began))

    def _apply(self, applier: Applier, keys: list[DirtyKey], options: FollowOptions, counts: FollowCounts) -> int:
        """Apply a batch of keys and return their number."""
        with applying(self._connection) as is_free:
            if not is_free:
                time.sleep(POLL_SECONDS)  # a comparison runs in another process
                return 0
            if sync.is_switched(self._connection, self._namespace):
                return 0  # the rows are those of the application now
            return self._apply_now(applier, keys, options, counts)

    def _apply_now(self, applier: Applier, keys: list[DirtyKey], options: FollowOptions, counts: FollowCounts) -> int:
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
            names = self._changing.names_of(key.collection)
            if key.document is None and any(map(applier.uses, names)):
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
        return used, name_documents(self._changing, newest)

    def _embed(self, applier: Applier) -> None:
        """Compute the embeddings of changed texts."""
        embedded = self._context.definition.embedded
        if embedded is not None:
            embed(applier.stage, embedded, self._context.config.embedding)

    def _report(self, options: FollowOptions, counts: FollowCounts) -> None:
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
            from migrator.sources.change_history import oldest_time  # imports pymongo, which a dump need not pay for

            self._window_read, self._oldest = now, oldest_time(self._context.config.source.url)
        status = read_sync_status(self._connection, self._namespace, self._oldest)
        if status is not None:
            write_metrics(path, status)
