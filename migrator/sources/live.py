"""A live MongoDB: collections read by `_id`, in raw batches, in parts that cover ids of every BSON type.

What the server does not let us read is said before the run begins; what fails for a reason that passes is tried again,
after the last `_id`. There are servers that scan a collection for every question (SecantusDB does): they are asked as
little as can be, and what is found out about rights is the beginning of what is read.
Not here: connecting, and what errors mean (live_client.py); cursors and positions (live_cursor.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, Final

import pymongo
from bson.json_util import CANONICAL_JSON_OPTIONS, dumps
from pymongo.collection import Collection
from pymongo.errors import ExecutionTimeout, OperationFailure, PyMongoError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from migrator.documents import raw_bson
from migrator.documents.fingerprint import hash_text
from migrator.errors import SourceError
from migrator.sources.base import Batch, Partition, SourceCollection
from migrator.sources.bson_stream import walk
from migrator.sources.live_client import CANNOT_READ, connect, explain, is_transient, label_of, url_database
from migrator.sources.live_cursor import AFTER, Reader, begin, first_id, last_id
from migrator.sources.selection import BUCKETS, choose_database, reason_to_leave_out

PATIENCE: Final = 300  # seconds for which a server that does not answer is tried again
LATENCY_ENDS: Final = 5  # seconds after which it is slow, and no more is to be known
SMALLEST: Final = 32 << 20  # bytes of a part
MOST_PARTS: Final = 2000
SAMPLED: Final = 20  # ids that are looked at for each part: its size is then right within a third, nearly always
LEAST_SAMPLED: Final = 400
BEGUN: Final = 5000  # documents of a batch of what is read before anybody wants it
ALL: Final = 100_000  # of what has been counted in a moment: all, if that fits into one answer, 16 MB
COUNTED: Final = 200  # milliseconds after which a size is none that the server knows, but one that it has to count


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
        self._known: Future[dict[str, SourceCollection]] | None = None
        self._begun: dict[str, Reader] = {}
        self._read, self._total = 0, 0

    @property
    def label(self) -> str:
        return f"{label_of(self._url)} ({self.database})"

    def begin(self) -> None:
        """Begins to ask for what `collections` says, beside whatever else is to be done."""
        if self._known is None:
            self._known = begin(self._find)

    def collections(self) -> list[SourceCollection]:
        """Asked of the server once. Raises `SourceError` naming every collection that may not be read."""
        self.begin()
        assert self._known is not None  # begun
        try:
            return list(self._known.result().values())
        except SourceError:
            self._known = None
            raise

    def fingerprint(self) -> str:
        """Of the server and the database, not of the documents: a live source changes while it is read."""
        with explain(self._url):
            hello = self._client.admin.command("hello")
        who = hello.get("setName") or label_of(self._url)
        return hash_text(f"{who}\0{self.database}")

    def read(self, positions: Mapping[str, str], *, documents: int, size: int) -> Iterator[Batch]:
        """One collection after the other."""
        counts = {each.name: each.documents or 0 for each in self.collections()}
        for name in positions:
            if name not in counts:
                raise SourceError(f"{self.label} holds no collection {name!r}.", "Has it been dropped?")
        self._read, self._total = 0, sum(counts[name] for name in positions)
        for name, position in positions.items():
            part = Partition(collection=name, number=0, start="", stop="")
            for batch in self.read_part(part, position, documents=documents, size=size):
                self._read += batch.count
                yield batch

    @property
    def smallest_part(self) -> int:
        """Each part is a query of its own."""
        return SMALLEST

    def share_read(self) -> float | None:
        return min(1.0, self._read / self._total) if self._total else None

    def latency(self) -> float:
        """Of one `_id` of the smallest collection; some seconds where there is no answer."""
        name = min(self.collections(), key=lambda each: each.documents or 0).name if self.collections() else "none"
        began = time.monotonic()
        with suppress(PyMongoError), pymongo.timeout(LATENCY_ENDS):
            self._database[name].find_one({}, {"_id": 1})
        return time.monotonic() - began

    def split(self, collection: str, size: int) -> list[Partition] | None:
        """Between `_id`s of a sample: as many parts as the collection's size asks for. None where that is not known."""
        known = {each.name: each for each in self.collections()}[collection]
        if known.bytes is None:
            return None
        count = min(MOST_PARTS, known.bytes // size + 1)
        if count > 1:
            self._begun.pop(collection, None)
        cuts = self._sample(collection, count) if count > 1 else []
        starts, stops = ["", *cuts], [*cuts, ""]
        return [
            Partition(collection=collection, number=number, start=start, stop=stop)
            for number, (start, stop) in enumerate(zip(starts, stops, strict=True))
        ]

    def reads_parts(self, collection: str) -> bool:
        return True

    def read_part(self, part: Partition, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        """Batches in the order of `_id`, each up to the next one's first; the last is held back until the server says
        that nothing follows."""
        start, held = position, (b"", 0)
        for run in self._runs(part, position, documents, size):
            if held[1]:
                end = first_id(run[0]).hex()
                yield _batch(part, held, start, end, last=False)
                start = end
            held = run
        yield _batch(part, held, start, last_id(held[0]).hex() + AFTER if held[1] else start, last=True)

    def close(self) -> None:
        self._begun.clear()
        self._client.close()

    # --- reading -----------------------------------------------------------------------------------------------------

    def _runs(self, part: Partition, position: str, documents: int, size: int) -> Iterator[tuple[bytes, int]]:
        """Whole documents, so many at once, with their number; from after the last one where the cursor is lost."""
        begun = None if position or part.stop else self._begun.pop(part.collection, None)
        reader = begun or Reader(self._database[part.collection], position, part.stop, documents)
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

    def _find(self) -> dict[str, SourceCollection]:
        """What is there, once it is certain that all of it may be read."""
        found: dict[str, SourceCollection] = {}
        refused: set[str] = set()
        with explain(self._url):
            described = {each["name"]: each for each in self._database.list_collections()}
            for name, about in sorted(described.items()):
                if reason := self._reason_to_leave_out(name, about.get("type", "collection"), described):
                    self.left_out[name] = reason
                    continue
                with _noting(name, refused):
                    found[name] = self._describe_one(name, about, described)
            counted = any(each.documents is None for each in found.values())
            for each in sorted(found.values(), key=lambda each: (each.documents is None, each.documents)):
                with _noting(each.name, refused):
                    self._begin_reading(each) if counted else self._database[each.name].find_one({}, {"_id": 1})
        if refused:
            raise SourceError(
                f"{label_of(self._url)}: this user may not read {', '.join(sorted(refused))}.",
                f"Grant the role `read` on the database {self.database}.",
            )
        return found

    def _begin_reading(self, found: SourceCollection) -> None:
        """Raises pymongo's error where a collection may not be read. Of a server that counts, and so scans what it
        reads from: one scan is then for both, and what takes long is not waited for, as nothing else is answered
        meanwhile."""
        unknown = found.documents is None and self._may_plan(found.name)
        reader = Reader(self._database[found.name], "", "", BEGUN if unknown else ALL)
        self._begun[found.name] = reader
        if unknown:
            reader.begin()
        else:
            reader.wait()

    def _may_plan(self, name: str) -> bool:
        """Whether the server says how it would read, for which it wants the same right; it need not read for it."""
        try:
            self._database.command("explain", {"find": name}, verbosity="queryPlanner")
        except OperationFailure as error:
            if error.code in CANNOT_READ:
                raise
            return False
        return True

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
        """Documents and bytes, as far as the server knows, and this user may: only progress and the size of parts
        depend on it."""
        try:
            found = self._database.command("collStats", collection.name, maxTimeMS=COUNTED)
            return int(found["count"]), int(found["size"])
        except ExecutionTimeout:
            return None, None
        except (PyMongoError, KeyError):
            with suppress(ExecutionTimeout):
                return collection.estimated_document_count(maxTimeMS=COUNTED), None
            return None, None

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
        ids = [raw_bson.source_id(raw) for batch in batches for raw in raw_bson.split_documents(batch)]
        chosen = [ids[place * len(ids) // count] for place in range(1, count)] if ids else []
        return [each.hex() for each in dict.fromkeys(chosen)]


def _batch(part: Partition, documents: tuple[bytes, int], start: str, end: str, *, last: bool) -> Batch:
    data, count = documents
    return Batch(
        collection=part.collection, data=data, count=count, start=start, end=end, last=last, part=part.number
    )  # fmt: skip


@contextmanager
def _noting(name: str, refused: set[str]) -> Iterator[None]:
    """What this user may not do with a collection does not end the block, but is noted."""
    try:
        yield
    except OperationFailure as error:
        if error.code not in CANNOT_READ:
            raise
        refused.add(name)
