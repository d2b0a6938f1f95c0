"""A range of a live collection, read by its `_id`s: ahead of whoever takes the documents, and again where it was lost.

Ranges are index bounds (`min`, `max` and the hint of the index on `_id`): unlike a filter they do not stop at the type
of the value they begin with. Positions are the BSON of an `_id` in hex; a `+` behind means after it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import Any, Final, TypeVar

from pymongo.collection import Collection

from migrator.documents import raw_bson
from migrator.documents.codec import decode, encode
from migrator.errors import SourceError

T = TypeVar("T")
AFTER: Final = "+"
ID: Final = [("_id", 1)]


class Reader:
    """A cursor over a range of `_id`s that can be opened again after the last document it has handed out.

    `documents` is how many the server sends at once, if they fit into 16 MB. One batch is asked for ahead, so that the
    server and whoever reads work at the same time.
    """

    def __init__(self, collection: Collection[Any], position: str, stop: str, documents: int) -> None:
        self._collection, self._stop, self._documents = collection, stop, documents
        self._position = position
        self._cursor: Any = None
        self._coming: Future[bytes | None] | None = None
        self._fresh = True

    def begin(self) -> None:
        """Asks for the first documents, and does not wait for them."""
        self._cursor, self._fresh = self._open(), True
        self._ask()

    def wait(self) -> None:
        """The same, and waits; what comes is kept. Raises pymongo's errors."""
        self.begin()
        assert self._coming is not None  # asked for
        self._coming.result()

    def next(self) -> bytes | None:
        """The next batch of the server, at least one document; None at the end. Raises pymongo's errors."""
        while True:
            if self._coming is None:
                self.begin()
            assert self._coming is not None  # asked for
            coming, self._coming = self._coming, None
            data = coming.result()
            if data is None:
                return None
            if self._fresh:
                self._fresh, data = False, self._without_the_last_one(data)
            if data:
                self._position = last_id(data).hex() + AFTER
            self._ask()
            if data:
                return data

    def _ask(self) -> None:
        self._coming = begin(partial(next, self._cursor, None))

    def _open(self) -> Any:
        cursor = self._collection.find_raw_batches(hint=ID, sort=ID, batch_size=self._documents)
        if self._position:
            cursor.min([("_id", read_id(self._position.removesuffix(AFTER)))])
        if self._stop:
            cursor.max([("_id", read_id(self._stop))])
        return cursor

    def _without_the_last_one(self, data: bytes) -> bytes:
        """`min` is inclusive: the document that was handed out last comes again, unless it has been deleted."""
        if not self._position.endswith(AFTER):
            return data
        first = next(raw_bson.split_documents(data))
        again = raw_bson.source_id(first).hex() == self._position.removesuffix(AFTER)
        return data[len(first) :] if again else data


def read_id(position: str) -> Any:
    """The `_id` of a position. Raises `SourceError` where it is none, or one that a driver cannot ask for."""
    try:
        raw = bytes.fromhex(position)
        found = decode(raw)
        if encode(found) == raw:
            return found["_id"]
    except (ValueError, KeyError):
        pass
    raise SourceError(f"{position!r} is no position in a live collection.", "Begin the run anew, from a dump.")


def first_id(data: bytes) -> bytes:
    """BSON `{"_id": …}` of the first document."""
    return raw_bson.source_id(next(raw_bson.split_documents(data)))


def last_id(data: bytes) -> bytes:
    """BSON `{"_id": …}` of the last document."""
    *_, last = raw_bson.document_offsets(data)
    return raw_bson.source_id(data[last:])


def begin(act: Callable[[], T]) -> Future[T]:
    """Does something in a thread of its own, that keeps no process from ending."""
    future: Future[T] = Future()

    def do() -> None:
        try:
            future.set_result(act())
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)

    Thread(target=do, name="source", daemon=True).start()
    return future
