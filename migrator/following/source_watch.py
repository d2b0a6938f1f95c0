"""Watches the changes of a source independently of the receiver: changed documents, and late writes.

A cutover opens it while the application writes. After the writes have been stopped, `reach` proves that everything
before that moment has been seen: by the time in the stream's token, where the server compares tokens with its history,
otherwise by an answer that has no more events, to a question asked afterwards. Any later event is a late write.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from migrator.errors import StoppedError
from migrator.following.batch import DocumentKey
from migrator.sources.base import Position
from migrator.sources.change_cursor import HistoryLostError, StreamInterruptedError
from migrator.sources.change_events import DROP, DROP_DATABASE, INVALIDATE, RENAME, ChangeEvent, token_cluster_time
from migrator.sources.change_stream import ChangeStream

AWAIT_MS: Final = 100  # for which the server waits for an event: the pause of an application lasts longer than this
MOST_DOCUMENTS: Final = 500_000  # in memory; more changes need a new verification
SHOWN: Final = 5
_ATTEMPTS: Final = 5  # consecutive ones to open the stream again
_ENDS: Final = 2  # answers without events
_WHOLE: Final = frozenset({DROP, RENAME, DROP_DATABASE, INVALIDATE})


class SourceWatch:
    """The changes after a position.

    `changed`: documents whose change was read and that the caller has not taken, in their order; `late`: events after
    the fence; `newest`: the cluster time of the last event that was read; `last_event`: that of the server, as
    `EventBatch` describes it.
    """

    def __init__(self, url: str, database: str, position: Position) -> None:
        self._url, self._database = url, database
        self.changed: dict[DocumentKey, None] = {}
        self.late: list[ChangeEvent] = []
        self.newest = 0
        self.last_event: bytes | None = None
        self._fence: int | None = None
        self._failures = self._ends = 0
        self._stream = self._open(position)

    def _open(self, position: Position) -> ChangeStream:
        try:
            return ChangeStream(self._url, self._database, position, await_ms=AWAIT_MS)
        except HistoryLostError as error:
            raise StoppedError(
                "the source no longer has the changes since the last full verification",
                "Run `migrate verify --level roundtrip` again, then this command. A larger oplog avoids this.",
            ) from error

    def close(self) -> None:
        self._stream.close()

    def read(self, seconds: float) -> bool:
        """Read what has arrived, or wait for it; return whether the server had no more events.

        Raises:
            StoppedError: a whole collection was dropped or renamed, or too many documents have changed.
        """
        try:
            batch = self._stream.read(seconds, or_end=True)
        except StreamInterruptedError:
            self._failures += 1
            if self._failures >= _ATTEMPTS:
                raise
            position = self._stream.position
            self._stream.close()
            time.sleep(0.1 * self._failures)
            self._stream = self._open(position)
            return False
        self._failures = 0
        self.last_event = batch.last_event or self.last_event
        for event in batch.events:
            self._note(event)
        if len(self.changed) > MOST_DOCUMENTS:
            raise StoppedError(
                f"more than {MOST_DOCUMENTS:,} documents changed since the last full verification",
                "Run `migrate verify --level roundtrip` again, then this command.",
            )
        return batch.is_end

    def _note(self, event: ChangeEvent) -> None:
        self.newest = event.cluster_time
        if self._fence is not None and event.cluster_time > self._fence:
            self.late.append(event)
        elif event.source_id:
            self.changed[event.collection, event.source_id] = None
        elif event.kind in _WHOLE:
            raise StoppedError(
                f"{event.collection or 'the database'} was dropped or renamed after the last full verification",
                "Run `migrate verify --level roundtrip` again, then this command.",
            )

    def begin_fence(self, time: int) -> None:
        """Count events after `time` (a cluster time of the source) as late."""
        self._fence = time
        self.read(0)
        self._ends = 0

    def has_reached(self, seconds: float) -> bool:
        """Read on, and return whether all events up to the time of `begin_fence` have been read.

        Without a time in the token, two answers without events are needed: the first may have been asked for before.
        """
        assert self._fence is not None  # `begin_fence` was called
        self._ends += self.read(seconds)
        reached = token_cluster_time(self._stream.position.token)
        return self._ends >= _ENDS if reached is None else reached >= self._fence

    def refuse_late(self) -> None:
        """Read what has arrived. Raises: `StoppedError` if the source was written to after the fence."""
        self.read(0)
        if self.late:
            raise StoppedError(
                f"the source was written to after the writes had been stopped: {describe_late(self.late)}",
                "Find the application that still writes (scheduled jobs, workers, open sessions), then run this command"
                " again.",
            )

    def wait_idle(self, seconds: float) -> None:
        """Wait at most `seconds` until the server answers that it has no more events."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.read(max(0.0, min(0.3, end - time.monotonic()))):
            pass

    def take(self, most: int) -> list[DocumentKey]:
        """Remove and return some changed documents, the oldest first."""
        some = list(self.changed)[:most]
        for key in some:
            del self.changed[key]
        return some


@contextmanager
def watching(url: str, database: str, position: Position) -> Iterator[SourceWatch]:
    """Watch the changes after a position in the block. Raises: `StoppedError`, `SourceError`."""
    watch = SourceWatch(url, database, position)
    try:
        yield watch
    finally:
        watch.close()


def describe_late(events: Sequence[ChangeEvent]) -> str:
    """Return how many writes were late, and to which collections, without values of documents."""
    counts: dict[str, int] = {}
    for event in events:
        name = f"{event.kind} {event.collection}".strip()
        counts[name] = counts.get(name, 0) + 1
    shown = [f"{name} ({count:,})" for name, count in list(counts.items())[:SHOWN]]
    return ", ".join(shown + ["…"] * (len(counts) > SHOWN))
