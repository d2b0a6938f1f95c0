"""Opens a change stream with what the server supports, and translates the errors of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import InvalidOperation, OperationFailure, ProtocolError, PyMongoError
from pymongo.read_concern import ReadConcern

from migrator.errors import SourceError
from migrator.sources.base import Position
from migrator.sources.change_events import RAW_OPTIONS
from migrator.sources.live_client import explain, is_transient, label_of

AWAIT_MS: Final = 500  # for which the server waits for an event; then it returns a newer resume token
LOST_HISTORY: Final = frozenset({280, 286, 260})  # ChangeStreamFatalError, ChangeStreamHistoryLost, InvalidResumeToken
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


def open_cursor(client: MongoClient[dict[str, Any]], database: str, batch: int, await_ms: int, **options: Any) -> Any:
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


def start_option(position: Position | None) -> dict[str, Any]:
    if position is None:
        return {}
    return {"start_after" if position.after_invalidate else "resume_after": RawBSONDocument(position.token)}


def raw_token(token: Mapping[str, Any]) -> bytes:
    return bytes(token.raw) if isinstance(token, RawBSONDocument) else bson.encode(token)


@contextmanager
def translate_stream_errors(url: str) -> Iterator[None]:
    """Translate pymongo's errors to this module's in the block."""
    try:
        with explain(url):
            try:
                yield
            except OperationFailure as error:
                if error.code in LOST_HISTORY:
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
