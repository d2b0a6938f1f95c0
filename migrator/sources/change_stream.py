"""A change stream on one database of a live server: what changed after a resume token, in order, nothing left out.

A thread reads the stream ahead into a buffer of limited size. So events are handed over as soon as they arrive, and
when they are not taken, the stream is simply read more slowly. A stream ends with its first error: reconnecting, and
whether the position is still valid then, is the caller's decision. Not here: parsing events (change_events.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, monitoring
from pymongo.errors import InvalidOperation, OperationFailure, ProtocolError, PyMongoError
from pymongo.read_concern import ReadConcern

from migrator.errors import SourceError
from migrator.sources.base import Position
from migrator.sources.change_events import (
    INVALIDATE,
    RAW_OPTIONS,
    ChangeEvent,
    Fragments,
    describe_event,
    is_key_string,
    parse_event,
)
from migrator.sources.live_client import connect, explain, is_transient, label_of

MAX_EVENTS: Final = 5000  # in the buffer
MAX_BYTES: Final = 8 << 20  # in the buffer
_AWAIT_MS: Final = 500  # for which the server waits for an event; then it returns a newer resume token
SERVER_BATCH: Final = 500  # events per answer, which MongoDB limits to 16 MB
_CHECKS: Final = 5  # answers without the last event after which it does not exist
_LOST: Final = frozenset({280, 286, 260})  # ChangeStreamFatalError, ChangeStreamHistoryLost, InvalidResumeToken
_UNKNOWN_OPTION: Final = frozenset({9, 40324, 40415})  # FailedToParse, unknown stage, unknown field

Pipeline = list[dict[str, Any]]

# A pipeline must not change during the life of a token. So it selects nothing: that is done here. The first is for
# servers that split events above 16 MB; the last leaves out what makes an event larger than its document.
_SPLIT: Final[Pipeline] = [{"$changeStreamSplitLargeEvent": {}}]
_PROJECT: Final[Pipeline] = [{"$project": {"updateDescription": 0}}]
_VARIANTS: Final = ((_SPLIT, True), (_PROJECT, True), (_PROJECT, False))  # pipeline, whether DDL events are requested


class HistoryLostError(SourceError):
    """The server no longer has the events after the resume token, or does not know the token."""


class StreamInterruptedError(SourceError):
    """The stream ended because of an error that a new connection may repair."""

    transient = True


class AnswerTooLargeError(StreamInterruptedError):
    """The server does not limit its answers to what the driver accepts. Fewer events per answer repair this."""


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
        await_ms: int = _AWAIT_MS,
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
            with _translate(url):
                self._stream = _watch(self._client, database, batch, await_ms, **_start_option(position))
        except BaseException:
            self._client.close()
            raise
        self._opened = self._aggregates.count
        token = self._stream.resume_token
        self._position = position or Position(token=_raw(token) if token is not None else b"")
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
            with _translate(self._url):
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
        token = _raw(raw["_id"])
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
                self._position = Position(token=_raw(token))
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


def check_last_event(url: str, database: str, last_event: bytes) -> bool | None:
    """Return whether the server still has the event that was received last; None if it is too old to know.

    `last_event` is from `EventBatch`. Servers that acknowledge writes before they are durable can lose events in a
    crash, and a stream that is resumed after a lost event leaves out as many new ones.
    """
    wanted = bson.decode(last_event)
    with connect(url) as client, _translate(url):
        if _is_beyond_oplog(client, wanted["time"]):
            return None
        try:
            with _watch(client, database, 1, _AWAIT_MS, start_at_operation_time=wanted["time"]) as stream:
                return _finds(stream, wanted)
        except OperationFailure as error:
            if error.code in _LOST:
                return None
            raise


def _finds(stream: Any, wanted: Mapping[str, Any]) -> bool | None:
    """Return whether the stream has the event. The end of the history without it means that it was lost, but not for
    servers whose tokens are key strings: their events are those of a majority, of which a new primary may know late."""
    fragments = Fragments()
    empty = 0
    while empty < _CHECKS and stream.alive:
        raw = stream.try_next()
        whole = None if raw is None else fragments.add(raw)
        if whole is not None:
            if whole["clusterTime"] > wanted["time"]:
                return False
            if bson.decode(describe_event(whole))["digest"] == wanted["digest"]:
                return True
        empty += raw is None
    return None if is_key_string(bson.encode(wanted["token"])) else False


def resume_position(position: Position, last_event: bytes | None) -> Position:
    """Return where to resume after a new connection, if the last event still exists.

    Tokens that are not key strings may be positions in a history whose end the server has lost and written anew: the
    last event of this database is known to exist, the later position is not. Receiving events twice has no effect.
    """
    if last_event is None or position.after_invalidate or is_key_string(position.token):
        return position
    return Position(token=bson.encode(bson.decode(last_event)["token"]))


def oldest_time(url: str) -> int | None:
    """Return the time of the oldest event that the server still has, in seconds since 1970; None if it does not tell.

    Reading the oplog requires a privilege on the database `local`.
    """
    with connect(url) as client:
        found = _first_in_oplog(client)
    return None if found is None else int(found.time)


def _is_beyond_oplog(client: MongoClient[dict[str, Any]], time: bson.Timestamp) -> bool:
    first = _first_in_oplog(client)
    return first is not None and time < first


def _first_in_oplog(client: MongoClient[dict[str, Any]]) -> bson.Timestamp | None:
    try:
        found = client["local"]["oplog.rs"].find_one({}, {"ts": 1}, sort=[("$natural", 1)], max_time_ms=_AWAIT_MS)
    except PyMongoError:  # no privilege, or a mongos, which has no oplog: the window is not known
        return None
    return found["ts"] if found and isinstance(found.get("ts"), bson.Timestamp) else None


def _watch(client: MongoClient[dict[str, Any]], database: str, batch: int, await_ms: int, **options: Any) -> Any:
    """Open a change stream with what the server supports. Raises: pymongo's errors."""
    watched: Any = client.get_database(database, codec_options=RAW_OPTIONS, read_concern=ReadConcern("majority"))
    for pipeline, expanded in _VARIANTS:
        more = {"show_expanded_events": True} if expanded else {}
        try:
            return watched.watch(
                pipeline, max_await_time_ms=await_ms, batch_size=batch, **more, **options
            )  # fmt: skip
        except OperationFailure as error:
            if error.code not in _UNKNOWN_OPTION or (pipeline, expanded) == _VARIANTS[-1]:
                raise
    raise AssertionError("the last variant returns or raises")


def _start_option(position: Position | None) -> dict[str, Any]:
    if position is None:
        return {}
    return {"start_after" if position.after_invalidate else "resume_after": RawBSONDocument(position.token)}


def _raw(token: Mapping[str, Any]) -> bytes:
    return bytes(token.raw) if isinstance(token, RawBSONDocument) else bson.encode(token)


@contextmanager
def _translate(url: str) -> Iterator[None]:
    """Translate pymongo's errors to this module's in the block."""
    try:
        with explain(url):
            try:
                yield
            except OperationFailure as error:
                if error.code in _LOST:
                    raise HistoryLostError(
                        f"{label_of(url)}: the change stream cannot be resumed: the server no longer has its events"
                        f" (error {error.code})",
                        "All documents are compared. Enlarge the oplog to avoid this.",
                    ) from None
                raise
    except SourceError as error:
        cause = error.__context__
        if isinstance(cause, ProtocolError):
            raise AnswerTooLargeError(error.message, error.hint) from None
        if isinstance(cause, PyMongoError) and (is_transient(cause) or isinstance(cause, InvalidOperation)):
            raise StreamInterruptedError(error.message, error.hint) from None
        raise
