"""A live MongoDB: collections read by `_id`, in raw batches, in parts that cover ids of every BSON type.

Ranges are index bounds (`min`, `max` and the hint of the index on `_id`): unlike a filter they do not stop at the type
of the value they begin with. Positions are the BSON of an `_id` in hex; a `+` behind means after it. What the server
does not let us read is said before the run begins; what fails for a reason that passes is tried again, after the last
`_id`.
Not here: connecting, and what errors mean (live_client.py).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import pymongo
from bson.json_util import CANONICAL_JSON_OPTIONS, dumps
from pymongo.collection import Collection
from pymongo.errors import OperationFailure, PyMongoError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from migrator.errors import SourceError
from migrator.sources.base import Batch, Part, SourceCollection
from migrator.sources.bson_stream import walk
from migrator.sources.catalog import BUCKETS, choose_database, reason_to_leave_out
from migrator.sources.live_client import CANNOT_READ, connect, explain, is_transient, label_of, url_database
from migrator.translation import rawbson
from migrator.translation.exact import decode, encode

AFTER: Final = "+"
PATIENCE: Final = 300  # seconds for which a server that does not answer is tried again
LATENCY_ENDS: Final = 5  # seconds after which it is slow, and no more is to be known
MOST_PARTS: Final = 2000
SAMPLED: Final = 20  # ids that are looked at for each part: its size is then right within a third, nearly always
LEAST_SAMPLED: Final = 400
_ID = [("_id", 1)]


def _quiet(text: str) -> None:
    """Nobody wants to know."""


class LiveSource:
    """A `Source` on one database of a live server. `notify` is told, in a sentence, what is tried again."""

    def __init__(self, url: str, database: str | None = None, notify: Callable[[str], None] | None = None) -> None:
        self._url, self._notify = url, notify or _quiet
        self._client = connect(url)
        with explain(url):
            wanted = database or url_database(url)
            self.database = wanted or choose_database(self._client.list_database_names(), None, f"The server {url!r}")
            self._database = self._client[self.database]
        self.left_out: dict[str, str] = {}
        self._known: dict[str, SourceCollection] | None = None
        self._read, self._total = 0, 0

    @property
    def label(self) -> str:
        return f"{label_of(self._url)} ({self.database})"

    def collections(self) -> list[SourceCollection]:
        """Asked of the server once. Raises `SourceError` naming every collection that may not be read."""
        if self._known is None:
            with explain(self._url):
                described = {each["name"]: each for each in self._database.list_collections()}
            self._known = dict(sorted(self._describe(described)))
        return list(self._known.values())

    def fingerprint(self) -> str:
        """Of the server and the database, not of the documents: a live source changes while it is read."""
        with explain(self._url):
            hello = self._client.admin.command("hello")
        who = hello.get("setName") or label_of(self._url)
        return hashlib.sha256(f"{who}\0{self.database}".encode()).hexdigest()

    def read(self, positions: Mapping[str, str], *, documents: int, size: int) -> Iterator[Batch]:
        """One collection after the other."""
        counts = {each.name: each.documents or 0 for each in self.collections()}
        for name in positions:
            if name not in counts:
                raise SourceError(f"{self.label} holds no collection {name!r}.", "Has it been dropped?")
        self._read, self._total = 0, sum(counts[name] for name in positions)
        for name, position in positions.items():
            part = Part(collection=name, number=0, start="", stop="")
            for batch in self.read_part(part, position, documents=documents, size=size):
                self._read += batch.count
                yield batch

    @property
    def smallest_part(self) -> int:
        """Each part is a query of its own, and there are servers that scan the whole collection for it."""
        return 256 << 20

    def share_read(self) -> float | None:
        return min(1.0, self._read / self._total) if self._total else None

    def latency(self) -> float:
        """Of one `_id` of the smallest collection; some seconds where there is no answer."""
        name = min(self.collections(), key=lambda each: each.documents or 0).name if self.collections() else "none"
        began = time.monotonic()
        with suppress(PyMongoError), pymongo.timeout(LATENCY_ENDS):
            self._database[name].find_one({}, {"_id": 1})
        return time.monotonic() - began

    def split(self, collection: str, size: int) -> list[Part] | None:
        """Between `_id`s of a sample: as many parts as the collection's size asks for, one where that is not known."""
        known = {each.name: each for each in self.collections()}[collection]
        count = min(MOST_PARTS, (known.bytes or 0) // size + 1)
        cuts = self._sample(collection, count) if count > 1 else []
        starts, stops = ["", *cuts], [*cuts, ""]
        return [
            Part(collection=collection, number=number, start=start, stop=stop)
            for number, (start, stop) in enumerate(zip(starts, stops, strict=True))
        ]

    def read_part(self, part: Part, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        """Batches in the order of `_id`; the last is held back until the server says that nothing follows."""
        at, held = position, None
        for data, count in self._runs(part, position, documents, size):
            if held is not None:
                yield held
            end = _last_id(data).hex() + AFTER
            held = Batch(
                collection=part.collection, data=data, count=count, start=at, end=end, last=False, part=part.number
            )
            at = end
        empty = Batch(collection=part.collection, data=b"", count=0, start=at, end=at, last=True, part=part.number)
        if held is None:
            yield empty
            return
        yield Batch(
            collection=part.collection, data=held.data, count=held.count, start=held.start, end=held.end, last=True,
            part=part.number,
        )  # fmt: skip

    def close(self) -> None:
        self._client.close()

    # --- reading -----------------------------------------------------------------------------------------------------

    def _runs(self, part: Part, position: str, documents: int, size: int) -> Iterator[tuple[bytes, int]]:
        """Whole documents, so many at once, with their number; from after the last one where the cursor is lost."""
        reader = Reader(self._database[part.collection], position, part.stop, documents)
        while (data := self._persist(reader.next)) is not None:
            start = 0
            while start < len(data):
                end, count = walk(data, start, min(start + size, len(data)), documents)
                if not count:  # one that is larger than all that may be
                    end, count = walk(data, start, len(data), 1)
                if not count:
                    raise SourceError(f"{self.label} sent what is no document, in {part.collection}.", "Try again.")
                yield data[start:end], count
                start = end

    def _persist(self, act: Callable[[], Any]) -> Any:
        """Tries again what fails for a reason that passes."""

        def say(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            pause = state.next_action.sleep if state.next_action else 0
            self._notify(f"the source does not answer ({type(error).__name__}); trying again in {pause:.0f} s")

        retrying = Retrying(
            retry=retry_if_exception(is_transient), stop=stop_after_delay(PATIENCE), before_sleep=say, reraise=True,
            wait=wait_exponential_jitter(multiplier=0.2, max=20),
        )  # fmt: skip
        with explain(self._url):
            return retrying(act)

    # --- describing --------------------------------------------------------------------------------------------------

    def _describe(self, described: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, SourceCollection]]:
        refused = []
        for name, about in described.items():
            kind = about.get("type", "collection")
            if reason := self._reason_to_leave_out(name, kind, described):
                self.left_out[name] = reason
                continue
            try:
                self._database[name].find_one({}, {"_id": 1})
                yield name, self._describe_one(name, about, described)
            except OperationFailure as error:
                if error.code not in CANNOT_READ:
                    raise
                refused.append(name)
        if refused:
            raise SourceError(
                f"{label_of(self._url)}: this user may not read {', '.join(sorted(refused))}.",
                f"Grant the role `read` on the database {self.database}.",
            )

    def _reason_to_leave_out(self, name: str, kind: str, described: Mapping[str, Any]) -> str:
        if kind == "view":
            return "a view"
        if kind == "timeseries" and BUCKETS + name in described:
            return f"a time series, read as {BUCKETS}{name}"
        return reason_to_leave_out(name)

    def _describe_one(
        self, name: str, about: Mapping[str, Any], described: Mapping[str, Mapping[str, Any]]
    ) -> SourceCollection:
        collection = self._database[name]
        series = described.get(name.removeprefix(BUCKETS), about) if name.startswith(BUCKETS) else about
        uuid = series.get("info", {}).get("uuid")
        metadata = {
            "indexes": list(collection.list_indexes()),
            "uuid": bytes(uuid).hex() if uuid is not None else "",
            "collectionName": series["name"],
            "type": series.get("type", "collection"),
            "options": series.get("options", {}),
        }
        documents, size = self._measure(collection)
        raw = dumps(metadata, json_options=CANONICAL_JSON_OPTIONS, separators=(",", ":")).encode()
        return SourceCollection(name=name, documents=documents, bytes=size, metadata=raw)

    def _measure(self, collection: Collection[Any]) -> tuple[int | None, int | None]:
        """Documents and bytes, as far as this user may know: only progress and the size of parts depend on it."""
        try:
            found = self._database.command("collStats", collection.name)
            return int(found["count"]), int(found["size"])
        except (PyMongoError, KeyError):
            return collection.estimated_document_count(), None

    def _sample(self, name: str, count: int) -> list[str]:
        """`_id`s that cut a collection into so many parts, in the server's order; fewer where it has fewer."""
        stages: list[Mapping[str, Any]] = [
            {"$sample": {"size": max(count * SAMPLED, LEAST_SAMPLED)}},
            {"$project": {"_id": 1}},
            {"$sort": {"_id": 1}},
        ]
        try:
            batches = self._persist(lambda: list(self._database[name].aggregate_raw_batches(stages)))
        except SourceError:
            self._notify(f"{name} is read by one worker: this user may not sample it")
            return []
        ids = [rawbson.source_id(raw) for batch in batches for raw in rawbson.split(batch)]
        chosen = [ids[place * len(ids) // count] for place in range(1, count)] if ids else []
        return [each.hex() for each in dict.fromkeys(chosen)]


class Reader:
    """A cursor over a range of `_id`s that can be opened again after the last document it has handed out."""

    def __init__(self, collection: Collection[Any], position: str, stop: str, documents: int) -> None:
        self._collection, self._stop, self._documents = collection, stop, documents
        self._position = position
        self._cursor: Any = None

    def next(self) -> bytes | None:
        """The next batch of the server, at least one document; None at the end. Raises pymongo's errors."""
        while True:
            fresh = self._cursor is None
            if fresh:
                self._cursor = self._open()
            try:
                data = next(self._cursor, None)
            except PyMongoError:
                self._cursor = None
                raise
            if data is None:
                return None
            if fresh:
                data = self._without_the_last_one(data)
            if data:
                self._position = _last_id(data).hex() + AFTER
                return data

    def _open(self) -> Any:
        cursor = self._collection.find_raw_batches(hint=_ID, sort=_ID, batch_size=self._documents)
        if self._position:
            cursor.min([("_id", read_id(self._position.removesuffix(AFTER)))])
        if self._stop:
            cursor.max([("_id", read_id(self._stop))])
        return cursor

    def _without_the_last_one(self, data: bytes) -> bytes:
        """`min` is inclusive: the document that was handed out last comes again, unless it has been deleted."""
        if not self._position.endswith(AFTER):
            return data
        first = next(rawbson.split(data))
        again = rawbson.source_id(first).hex() == self._position.removesuffix(AFTER)
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


def _last_id(data: bytes) -> bytes:
    """BSON `{"_id": …}` of the last document."""
    last = b""
    for last in rawbson.split(data):  # noqa: B007 - only the last one matters
        pass
    return rawbson.source_id(last)
