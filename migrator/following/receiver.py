"""Receives the changes of a live source and stores them as dirty keys, during a load and afterwards.

It needs nothing but the record `sync`, so it can end at any moment and start again. An event is stored with the
position after it, so none is lost, and one that is received twice has no effect.

Only one receiver writes. The session that writes holds an advisory lock, and writes nothing without it. A receiver
whose parent was killed, or whose connection the network keeps open, keeps a new one waiting.
An attempt number in a table, as workers of a load have it, would have to be compared in each transaction. The orphan
ends with its parent. If its machine is lost, the next process with the lock of the migration ends its session
(state/lock.py), because it has the name of a worker's session.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Final

import psycopg

from migrator.errors import MigrateError, StoppedError, TargetError
from migrator.monitoring.sync_status import RECEIVER
from migrator.postgres.errors import is_connection_lost, translate_error
from migrator.sources.base import Position, SourceCollection
from migrator.sources.change_cursor import AnswerTooLargeError, HistoryLostError
from migrator.sources.change_history import check_last_event, resume_position
from migrator.sources.change_stream import SERVER_BATCH, ChangeStream
from migrator.sources.live import LiveSource
from migrator.sources.live_client import is_transient_source_error
from migrator.state import activity, journal, sync
from migrator.state.records import Connection, Namespace
from migrator.state.sync import SyncState
from migrator.targets.server import connect_worker

IDLE_SECONDS: Final = 1.0  # after which the position is stored without events
HURRY_SECONDS: Final = 0.1  # the same, while `follow --until-caught-up` waits for such positions
_AWAIT_MS: Final = 250  # for which the server waits for an event
HEARTBEAT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 0.25  # for which the buffer is waited for; `stop` is noticed after it
_SMALL_BATCH: Final = 200  # events; after fewer, more are collected for a moment
_COLLECT_SECONDS: Final = 0.02
_LONGEST_PAUSE: Final = 10.0  # seconds between two attempts to connect
_KEY: Final = int.from_bytes(b"receive", "big") % 2**31  # of the advisory lock; pg_locks shows it as objid
# Rolled back, no resources, object in use, canceled or shutting down, system error: the target may recover from these.
_RECOVERABLE: Final = frozenset({"40", "53", "55", "57", "58"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverJob:
    """Source and target of a receiver. Picklable. It contains secrets, so its repr shows neither.

    `shared`: the names in the mappings of the documents of a collection, if these are others than its own.
    """

    url: str = field(repr=False)
    database: str
    dsn: str = field(repr=False)
    namespace: Namespace
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Receiver:
    """Receives changes in this process until `stopped` returns true. `report` gets what it waits for, or "".

    While `hurried` returns true, positions without events are stored more often.
    """

    def __init__(
        self,
        job: ReceiverJob,
        report: Callable[[str], None],
        stopped: Callable[[], bool],
        hurried: Callable[[], bool] = lambda: False,
    ) -> None:
        self._job, self._report, self._stopped, self._hurried = job, report, stopped, hurried
        self._connection: Connection | None = None
        self._source: LiveSource | None = None
        self._history_lost = False
        self._batch = SERVER_BATCH
        self._failures = 0
        self._heartbeat_at = 0.0

    def run(self) -> None:
        """Receive until stopped. Connections to source and target are repeated without a limit.

        Raises: `MigrateError` for what a repetition does not repair.
        """
        try:
            while not self._stopped():
                try:
                    self._receive()
                except (MigrateError, psycopg.Error) as error:
                    self._handle(error)
        finally:
            self._disconnect()
            if self._source is not None:
                self._source.close()

    def _handle(self, error: MigrateError | psycopg.Error) -> None:
        """Prepare the next attempt and wait. Raises: the error if a repetition does not help."""
        is_of_target = isinstance(error, psycopg.Error | TargetError | StoppedError)
        if is_of_target:
            self._disconnect()
        if isinstance(error, psycopg.Error) and not _is_recoverable(error):
            raise translate_error(error) or error
        self._history_lost = self._history_lost or isinstance(error, HistoryLostError)
        if isinstance(error, AnswerTooLargeError):
            self._batch = max(1, self._batch // 30)
        if not (is_of_target or self._history_lost or is_transient_source_error(error)):
            raise error
        self._failures += 1
        side = "target" if is_of_target else "source"
        text = error.message if isinstance(error, MigrateError) else "lost connection"
        self._wait(f"{side}: {text}", min(_LONGEST_PAUSE, 0.1 * 2**self._failures))

    def _wait(self, reason: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        if self._failures > 1:  # a process that gets the lock of the target ends the sessions of workers: no warning
            self._tell(reason, force=True)
        while not self._stopped() and time.monotonic() < end:
            time.sleep(min(_READ_SECONDS, seconds))

    def _tell(self, reason: str, *, force: bool = False) -> None:
        """Report what this process waits for, to its parent and in the target, if that is connected."""
        now = time.monotonic()
        if not force and now - self._heartbeat_at < HEARTBEAT_SECONDS:
            return
        self._heartbeat_at = now
        self._report(reason)
        if self._connection is None:
            return
        try:
            activity.write_waiting(self._connection, self._job.namespace, "worker", RECEIVER, reason or None)
        except psycopg.Error as error:
            if not reason:
                raise
            self._report(f"target: {type(error).__name__}; {reason}")
            self._disconnect()

    def _receive(self) -> None:
        """Connect and receive until stopped. Raises: the first error."""
        connection = self._connect()
        state = sync.read(connection, self._job.namespace)
        if state is None:
            raise StoppedError(
                "the target has no position in the source's changes", "Start with `migrate run --follow`."
            )
        if self._source is None:
            self._source = LiveSource(self._job.url, self._job.database)
        stream, received = self._open(connection, self._source, state)
        with closing(stream):
            self._history_lost = False
            self._transfer(connection, self._source, stream, received)

    def _connect(self) -> Connection:
        """Return the session that writes. It holds the lock."""
        if self._connection is None:
            connection = connect_worker(self._job.dsn)
            try:
                # After a crash of the server, what it has lost is received again.
                connection.execute("SET synchronous_commit = off")
                self._lock(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _lock(self, connection: Connection) -> None:
        while True:
            found = connection.execute("SELECT pg_try_advisory_lock(%s)", (_KEY,)).fetchone()
            if found and found[0]:
                return
            self._report("target: another receiver is ending")
            if self._stopped():
                raise StoppedError("stopped while another receiver was ending", "Run the same command again.")
            time.sleep(_READ_SECONDS)

    def _open(self, connection: Connection, source: LiveSource, state: SyncState) -> tuple[ChangeStream, int]:
        """Open the stream where the stored position is, or anew if events were lost. Return it with `received`."""
        job, position = self._job, state.position
        if not self._history_lost and state.last_event is not None:
            found = check_last_event(job.url, job.database, state.last_event)
            self._history_lost = found is False
            if found:
                position = resume_position(position, state.last_event)
        if not self._history_lost:
            try:
                return self._stream(position), state.received
            except HistoryLostError:
                self._history_lost = True
        # The stream begins before the collections are marked: so their comparison covers all that was lost.
        stream = self._stream(None)
        try:
            names = source.list_collections()
            return stream, sync.begin_again(connection, job.namespace, state.received, stream.position, names)
        except BaseException:
            stream.close()
            raise

    def _stream(self, position: Position | None) -> ChangeStream:
        batch = SERVER_BATCH if position is None else self._batch
        return ChangeStream(self._job.url, self._job.database, position, batch=batch, await_ms=_AWAIT_MS)

    def _transfer(self, connection: Connection, source: LiveSource, stream: ChangeStream, received: int) -> None:
        """Store batches until stopped."""
        known = set(journal.read_metadata(connection, self._job.namespace))
        known |= {name for name, names in self._job.shared.items() if not known.isdisjoint(names)}
        last_event, stored_at, is_end = None, 0.0, False
        began = received
        while not self._stopped():
            if self._batch < SERVER_BATCH and received - began >= SERVER_BATCH:  # behind the large events
                self._batch = SERVER_BATCH
                return
            batch = stream.read(_READ_SECONDS, or_end=True)
            last_event = batch.last_event or last_event
            is_end = batch.is_end or (is_end and not batch.events)
            # A position that is stored without events means that the server had none, not that it did not answer.
            idle = HURRY_SECONDS if self._hurried() else IDLE_SECONDS
            if not batch.events and (not is_end or time.monotonic() - stored_at < idle):
                continue
            is_end = False
            described = self._describe(source, sync.changed_descriptions(batch.events, known), known)
            batch = replace(batch, last_event=last_event)
            received = sync.store(connection, self._job.namespace, received, batch, described)
            last_event, stored_at = None, time.monotonic()
            self._tell("", force=self._failures > 0)
            self._failures = 0
            if 0 < len(batch.events) < _SMALL_BATCH:
                time.sleep(_COLLECT_SECONDS)

    def _describe(self, source: LiveSource, names: list[str], known: set[str]) -> list[SourceCollection]:
        """Return the collections that exist. All become `known`, so that they are described once."""
        known.update(names)
        found = [each for each in map(source.describe_collection, names) if each is not None]
        return [replace(each, name=name) for each in found for name in self._job.shared.get(each.name, (each.name,))]


def _is_recoverable(error: psycopg.Error) -> bool:
    return is_connection_lost(error) or (error.sqlstate or "")[:2] in _RECOVERABLE
