"""A cursor over a range of `_id`s of a live collection. It reads one batch ahead and reopens after an error.

Ranges are index bounds (`min`, `max` with the hint of the index on `_id`): unlike a filter, they include values of all
BSON types. A position is the BSON of an `_id` in hex; a final `+` means after this `_id`.
"""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from pymongo.collection import Collection

from migrator.documents import raw_bson
from migrator.documents.codec import decode, encode
from migrator.errors import SourceError
from migrator.sources.background import run_in_thread
from migrator.sources.bson_stream import scan_documents
from migrator.sources.reply_cursor import ReplyCursor

AFTER: Final = "+"
ID: Final = [("_id", 1)]


class RangeCursor:
    """A cursor over a range of `_id`s that continues after the last returned document when it is reopened.

    `documents` is the number of documents per server batch, if they fit into 16 MB. The next batch is requested in
    advance, so the server and the client work at the same time. `ids_only`: documents consist of their `_id`.
    """

    def __init__(
        self, collection: Collection[Any], position: str, stop: str, documents: int, *, ids_only: bool = False
    ) -> None:
        self._collection, self._stop, self._documents = collection, stop, documents
        self._fields = {"_id": 1} if ids_only else None
        self._position = position
        self._cursor: Any = None
        self._pending: Future[bytes | None] | None = None
        self._is_first_batch = True

    def start(self) -> None:
        """Request the first documents without waiting for them."""
        self._cursor, self._is_first_batch = self._open(), True
        self._request()

    def start_and_wait(self) -> None:
        """Request the first documents, wait for them and keep them for `next`. Raises: pymongo's errors."""
        self.start()
        assert self._pending is not None  # `start` has requested a batch
        self._pending.result()

    def next(self) -> bytes | None:
        """Return the next server batch, at least one document; None at the end. Raises: pymongo's errors."""
        while True:
            if self._pending is None:
                self.start()
            assert self._pending is not None  # `start` has requested a batch
            pending, self._pending = self._pending, None
            data = pending.result()
            if data is None:
                return None
            if self._is_first_batch:
                self._is_first_batch, data = False, self._remove_returned(data)
            if data:
                self._position = last_id(data).hex() + AFTER
            self._request()
            if data:
                return data

    def _request(self) -> None:
        self._pending = run_in_thread(partial(next, self._cursor, None))

    def _open(self) -> Any:
        cursor = ReplyCursor(self._collection, {}, self._fields, hint=ID, sort=ID, batch_size=self._documents)
        if self._position:
            cursor.min([("_id", read_id(self._position.removesuffix(AFTER)))])
        if self._stop:
            cursor.max([("_id", read_id(self._stop))])
        return cursor

    def _remove_returned(self, data: bytes) -> bytes:
        """Remove the document that was returned last. `min` is inclusive, so it is first again unless it was
        deleted."""
        if not self._position.endswith(AFTER):
            return data
        first = next(raw_bson.split_documents(data))
        is_same = raw_bson.source_id(first).hex() == self._position.removesuffix(AFTER)
        return data[len(first) :] if is_same else data


def read_id(position: str) -> Any:
    """Return the `_id` of a position. Raises: `SourceError` if it is not valid, or if the driver cannot query for
    it."""
    try:
        raw = bytes.fromhex(position)
        found = decode(raw)
        if encode(found) == raw:
            return found["_id"]
    except (ValueError, KeyError):
        pass
    raise SourceError(
        f"invalid position {position!r} in a live collection",
        "Run `migrate revert`, then migrate a dump of this database.",
    )


def first_id(data: bytes) -> bytes:
    """Return the BSON `{"_id": …}` of the first document."""
    return raw_bson.source_id(next(raw_bson.split_documents(data)))


def last_id(data: bytes) -> bytes:
    """Return the BSON `{"_id": …}` of the last complete document. The reader of the batch reports what follows it."""
    end, count = scan_documents(data, 0, len(data), len(data))
    start, _ = scan_documents(data, 0, end, count - 1)
    return raw_bson.source_id(data[start:end])
