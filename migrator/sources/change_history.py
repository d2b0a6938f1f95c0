"""Whether the server still has the events that a change stream would be resumed behind, and where to resume it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import bson
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from migrator.sources.base import Position
from migrator.sources.change_cursor import AWAIT_MS, LOST_HISTORY, open_cursor, translate_stream_errors
from migrator.sources.change_events import Fragments, describe_event, is_key_string
from migrator.sources.live_client import connect

_CHECKS: Final = 5  # answers without the last event after which it does not exist


def check_last_event(url: str, database: str, last_event: bytes) -> bool | None:
    """Return whether the server still has the event that was received last; None if it is too old to know.

    `last_event` is from `EventBatch`. Servers that acknowledge writes before they are durable can lose events in a
    crash, and a stream that is resumed after a lost event leaves out as many new ones.
    """
    wanted = bson.decode(last_event)
    with connect(url) as client, translate_stream_errors(url):
        if _is_beyond_oplog(client, wanted["time"]):
            return None
        try:
            with open_cursor(client, database, 1, AWAIT_MS, start_at_operation_time=wanted["time"]) as stream:
                return _finds(stream, wanted)
        except OperationFailure as error:
            if error.code in LOST_HISTORY:
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
        found = client["local"]["oplog.rs"].find_one({}, {"ts": 1}, sort=[("$natural", 1)], max_time_ms=AWAIT_MS)
    except PyMongoError:  # no privilege, or a mongos, which has no oplog: the window is not known
        return None
    return found["ts"] if found and isinstance(found.get("ts"), bson.Timestamp) else None
