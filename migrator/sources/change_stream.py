"""A change stream on one database of a live server: what changed after a resume token, in order, nothing left out.

A thread reads the stream ahead into a buffer of limited size. So events are handed over as soon as they arrive, and
when they are not taken, the stream is simply read more slowly. A stream ends with its first error: reconnecting, and
whether the position is still valid then (change_history.py), is the caller's decision.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pymongo import monitoring

from migrator.sources.base import Position
from migrator.sources.change_cursor import (
    AWAIT_MS,
    StreamInterruptedError,
    open_cursor,
    raw_token,
    start_option,
    translate_stream_errors,
)
from migrator.sources.change_events import INVALIDATE, ChangeEvent, Fragments, describe_event, parse_event
from migrator.sources.live_client import connect

MAX_EVENTS: Final = 5000  # in the buffer
MAX_BYTES: Final = 8 << 20  # in the buffer
SERVER_BATCH: Final = 500  # events per answer, which MongoDB limits to 16 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBatch:
    """Events, the position after them, and the description of the last event of the server (None: no event).

    `is_end`: whether the server has answered, since the batch before, that it has no more events.
    """

    events: Sequence[ChangeEvent]
    position: Position
    is_end: bool = False
    last_event: bytes | None = field(default=None, repr=False)


class ChangeStream:
    """A stream of one database. `position` None: from now on; `batch`: events per answer of the server; `await_ms`: for
    which the server waits for an event.

    Raises: `HistoryLostError`, `StreamInterruptedError`, other `SourceError`s that a new connection does not repair.
    """

    def __init__(
        self,
        url: str,
        database: str,
        position: Position | None = None,
        *,
        batch: int = SERVER_BATCH,
        await_ms: int = AWAIT_MS,
    ) -> None:
        self._url, self._name = url, database
        self._aggregates = _AggregateCounter()
        self._client = connect(url, (self._aggregates,))
        self._changed = threading.Condition()
        self._events: list[ChangeEvent] = []
        self._bytes = 0
        self._error: BaseException | None = None
        self._closed = self._ended = False
        self._last: Mapping[str, Any] | None = None
        try:
            with translate_stream_errors(url):
                self._stream = open_cursor(self._client, database, batch, await_ms, **start_option(position))
        except BaseException:
            self._client.close()
            raise
        self._opened = self._aggregates.count
        token = self._stream.resume_token
        self._position = position or Position(token=raw_token(token) if token is not None else b"")
        self._thread = threading.Thread(target=self._pump, name="change stream", daemon=True)
        self._thread.start()

    @property
    def position(self) -> Position:
        """Return the position after the last event that has arrived; at first, where the stream begins."""
        return self._position

    def read(self, seconds: float, *, or_end: bool = False) -> EventBatch:
        """Return the events that have arrived, at once; after `seconds` without any, an empty batch.

        `or_end`: do not wait any more when the server has answered that it has no more events.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._events or self._error or self._closed or (or_end and self._ended), seconds
            )
            if not self._events and self._error is not None:
                raise self._error
            events, self._events, self._bytes = self._events, [], 0
            position, last, self._last = self._position, self._last, None
            is_end, self._ended = self._ended, False
            self._changed.notify_all()
        return EventBatch(
            events=events, position=position, is_end=is_end,
            last_event=None if last is None else describe_event(last),
        )  # fmt: skip

    def close(self) -> None:
        """End the stream. The thread ends when the server answers its request."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._client.close()

    def _pump(self) -> None:
        """Read the stream into the buffer until an error or `close`."""
        fragments = Fragments()
        try:
            with translate_stream_errors(self._url):
                while not self._closed:
                    raw = self._stream.try_next()
                    self._refuse_own_resume()
                    if raw is None and not self._stream.alive:
                        raise StreamInterruptedError("the server ended the change stream", "It is opened again.")
                    whole = None if raw is None else fragments.add(raw)
                    if whole is not None:
                        self._put(whole)
                    elif raw is None and not fragments.fields:
                        self._end(self._stream.resume_token)
        except BaseException as error:  # noqa: BLE001 - raised again by `read`
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _refuse_own_resume(self) -> None:
        """Stop if the driver has reopened the stream: after every new connection the caller must check the history."""
        if self._aggregates.count != self._opened:
            raise StreamInterruptedError("the connection was lost", "The stream is opened again.")

    def _put(self, raw: Mapping[str, Any]) -> None:
        event = parse_event(raw, self._name)
        token = raw_token(raw["_id"])
        with self._changed:
            self._changed.wait_for(lambda: self._has_room() or self._closed)
            if event is not None:
                self._events.append(event)
                self._bytes += event.size
            self._last = raw
            self._position = Position(token=token, after_invalidate=raw["operationType"] == INVALIDATE)
            self._changed.notify_all()

    def _end(self, token: Any) -> None:
        """Note that the server has no more events now, and the position that it gives."""
        with self._changed:
            self._ended = True
            if token is not None and not self._position.after_invalidate:
                self._position = Position(token=raw_token(token))
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._events) < MAX_EVENTS and self._bytes < MAX_BYTES


class _AggregateCounter(monitoring.CommandListener):
    """Counts how often the driver opened a stream."""

    def __init__(self) -> None:
        self.count = 0

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.count += event.command_name == "aggregate"

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Do nothing."""
