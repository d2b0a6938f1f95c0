"""A live MongoDB database: collections read by `_id`, in raw batches, in partitions that cover IDs of every BSON type.

Missing privileges are reported before the run begins; transient errors are retried after the last `_id`. Some servers
scan a collection for every query (SecantusDB does), so the number of queries is minimal, and the check of the
privileges on a collection is also the beginning of its read. Not here: connections and error messages (live_client.py),
cursors and positions (live_cursor.py), documents by `_id` (live_lookup.py), the description of collections
(live_catalog.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import pymongo
from pymongo.errors import PyMongoError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential_jitter

from migrator.documents import raw_bson
from migrator.documents.fingerprint import hash_text
from migrator.errors import SourceError
from migrator.sources.background import run_in_thread
from migrator.sources.base import Batch, ChangingSource, CollectionState, Partition, Position, Source, SourceCollection
from migrator.sources.bson_stream import scan_documents
from migrator.sources.change_stream import ChangeStream
from migrator.sources.live_catalog import LiveCatalog, describe_collection
from migrator.sources.live_client import connect, explain, is_transient, label_of, url_database
from migrator.sources.live_cursor import AFTER, RangeCursor, first_id, last_id
from migrator.sources.live_lookup import find_documents
from migrator.sources.live_state import measure_collection, process_of
from migrator.sources.selection import choose_database, reason_to_leave_out

RETRY_SECONDS: Final = 300  # time for which requests to a server that does not respond are retried
LATENCY_LIMIT: Final = 5  # seconds; a server is slow then, and the measurement ends
MIN_PARTITION_BYTES: Final = 32 << 20  # bytes of a partition
MOST_PARTS: Final = 2000
SAMPLED: Final = 20  # sampled IDs per partition; the size is then nearly always correct within a third
LEAST_SAMPLED: Final = 400
IDS_PER_BATCH: Final = 10_000


def _ignore(text: str) -> None:
    """Discard a message."""


class LiveSource(Source, ChangingSource):
    """One database of a live server. `notify` receives a message for every retry."""

    def __init__(self, url: str, database: str | None = None, notify: Callable[[str], None] | None = None) -> None:
        self._url, self._notify = url, notify or _ignore
        self._client = connect(url)
        with explain(url):
            wanted = database or url_database(url)
            self._name = wanted or choose_database(self._client.list_database_names(), None, f"The server {url!r}")
            self._database = self._client[self._name]
        self._catalog: Future[LiveCatalog] | None = None
        self._left_out: Mapping[str, str] = {}
        self._started: dict[str, RangeCursor] = {}
        self._documents_read, self._total = 0, 0

    @property
    def label(self) -> str:
        return f"{label_of(self._url)} ({self._name})"

    @property
    def database(self) -> str:
        return self._name

    @property
    def left_out(self) -> Mapping[str, str]:
        return self._left_out

    @property
    def is_live(self) -> bool:
        return True

    @property
    def changing(self) -> ChangingSource:
        return self

    @property
    def min_partition_bytes(self) -> int:
        """Return the minimum size: each partition is a query."""
        return MIN_PARTITION_BYTES

    def prefetch_collections(self) -> None:
        if self._catalog is None:
            self._catalog = run_in_thread(self._read_catalog)

    def collections(self) -> list[SourceCollection]:
        """Return all collections, read from the server once.

        Raises: `SourceError` with the names of all collections that the user may not read.
        """
        self.prefetch_collections()
        assert self._catalog is not None  # started by `prefetch_collections`
        try:
            catalog = self._catalog.result()
        except SourceError:
            self._catalog = None
            raise
        return list(catalog.collections.values())

    def _read_catalog(self) -> LiveCatalog:
        with explain(self._url):
            catalog = LiveCatalog.read(self._database)
        if catalog.refused:
            raise SourceError(
                f"{label_of(self._url)}: no privilege to read {', '.join(sorted(catalog.refused))}",
                f"Grant the role `read` on the database {self._name}.",
            )
        self._left_out, self._started = catalog.left_out, catalog.started
        return catalog

    def fingerprint(self) -> str:
        """Return a digest of the server and the database. It does not cover documents, which change during the read."""
        with explain(self._url):
            hello = self._client.admin.command("hello")
        server = hello.get("setName") or label_of(self._url)
        return hash_text(f"{server}\0{self._name}")

    def read(self, positions: Mapping[str, str], *, documents: int, size: int) -> Iterator[Batch]:
        """Yield the batches of one collection after the other."""
        counts = {each.name: each.documents or 0 for each in self.collections()}
        for name in positions:
            if name not in counts:
                raise SourceError(
                    f"{self.label} does not contain the collection {name!r}", "Check whether it was dropped."
                )
        self._documents_read, self._total = 0, sum(counts[name] for name in positions)
        for name, position in positions.items():
            part = Partition(collection=name, number=0, start="", stop="")
            for batch in self.read_partition(part, position, documents=documents, size=size):
                self._documents_read += batch.count
                yield batch

    def share_read(self) -> float | None:
        return min(1.0, self._documents_read / self._total) if self._total else None

    def latency(self) -> float:
        """Return the seconds of a query for one `_id` of the smallest collection, at most about `LATENCY_LIMIT`."""
        name = min(self.collections(), key=lambda each: each.documents or 0).name if self.collections() else "none"
        began = time.monotonic()
        with suppress(PyMongoError), pymongo.timeout(LATENCY_LIMIT):
            self._database[name].find_one({}, {"_id": 1})
        return time.monotonic() - began

    def measure(self) -> Mapping[str, CollectionState]:
        """Return the state of the collections. Those of a server that counts by a scan are not measured."""
        names = [each.name for each in self.collections() if each.documents is not None]
        with suppress(PyMongoError):  # no evidence is not an error
            existing = set(self._database.list_collection_names())
            process = process_of(self._client)
            return {name: measure_collection(self._database, name, process) for name in names if name in existing}
        return {}

    def split(self, collection: str, size: int) -> list[Partition] | None:
        """Return partitions with boundaries from a sample of `_id`s; None if the size of the collection is unknown."""
        known = {each.name: each for each in self.collections()}[collection]
        if known.bytes is None:
            return None
        count = min(MOST_PARTS, known.bytes // size + 1)
        if count > 1:
            self._started.pop(collection, None)
        boundaries = self._sample(collection, count) if count > 1 else []
        starts, stops = ["", *boundaries], [*boundaries, ""]
        return [
            Partition(collection=collection, number=number, start=start, stop=stop)
            for number, (start, stop) in enumerate(zip(starts, stops, strict=True))
        ]

    def reads_partitions(self, collection: str) -> bool:
        return True

    def read_partition(self, part: Partition, position: str, *, documents: int, size: int) -> Iterator[Batch]:
        """Yield batches in the order of `_id`. A batch ends at the first `_id` of the next one, so it is returned when
        the next one is known; the last one is returned when the server reports the end."""
        start, held = position, (b"", 0)
        for documents_read in self._read_documents(part, position, documents, size):
            if held[1]:
                end = first_id(documents_read[0]).hex()
                yield _batch(part, held, start, end, last=False)
                start = end
            held = documents_read
        yield _batch(part, held, start, last_id(held[0]).hex() + AFTER if held[1] else start, last=True)

    def find_documents(self, collection: str, source_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """Look up documents by source ID, BSON `{"_id": …}`, and return the newest: source ID → raw BSON.

        A document or collection that does not exist is not in the result. Raises: `SourceError`.
        """
        return find_documents(self._database, collection, source_ids, self._retry)

    def read_ids(self, collection: str) -> Iterator[bytes]:
        """Yield the source IDs of all documents of a collection, in bounded memory. Raises: `SourceError`."""
        cursor = RangeCursor(self._database[collection], "", "", IDS_PER_BATCH, ids_only=True)
        while (data := self._retry(cursor.next)) is not None:
            yield from map(raw_bson.source_id, raw_bson.split_documents(data))

    def server_time(self) -> datetime:
        """Return the time of the server, in UTC."""
        found: datetime = self._retry(lambda: self._client.admin.command("hello"))["localTime"]
        return found.replace(tzinfo=UTC)

    def list_collections(self) -> list[str]:
        """Return the names of the collections that exist now, without those that are not migrated."""
        names = self._retry(self._database.list_collection_names)
        return sorted(name for name in names if not reason_to_leave_out(name))

    def describe_collection(self, name: str) -> SourceCollection | None:
        """Return a collection as it is now; None if it does not exist or is not migrated. Raises: `SourceError`."""
        found: SourceCollection | None = self._retry(lambda: describe_collection(self._database, name))
        return found

    def current_position(self) -> Position:
        """Return the position in the change stream of the database from which all later changes are received.

        Raises: `SourceError` if the server has no change streams or the user no privilege.
        """
        stream = ChangeStream(self._url, self._name)
        stream.close()
        return stream.position

    def close(self) -> None:
        self._started.clear()
        self._client.close()

    def _read_documents(self, part: Partition, position: str, documents: int, size: int) -> Iterator[tuple[bytes, int]]:
        """Yield complete documents with their number. After an error, continue with the document after the last one."""
        started = None if position or part.stop else self._started.pop(part.collection, None)
        cursor = started or RangeCursor(self._database[part.collection], position, part.stop, documents)
        while (data := self._retry(cursor.next)) is not None:
            start = 0
            while start < len(data):
                end, count = scan_documents(data, start, min(start + size, len(data)), documents)
                if not count:  # a document larger than `size`
                    end, count = scan_documents(data, start, len(data), 1)
                if not count:
                    raise SourceError(
                        f"{self.label} returned invalid BSON in {part.collection}", "Run the same command again."
                    )
                yield data[start:end], count
                start = end

    def _retry(self, act: Callable[[], Any]) -> Any:
        """Call `act`; retry transient errors for `RETRY_SECONDS`."""

        def report(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            pause = state.next_action.sleep if state.next_action else 0
            self._notify(f"no response from the source ({type(error).__name__}); retrying in {pause:.0f} s")

        retrying = Retrying(
            retry=retry_if_exception(is_transient), stop=stop_after_delay(RETRY_SECONDS), before_sleep=report,
            reraise=True, wait=wait_exponential_jitter(multiplier=0.2, max=20),
        )  # fmt: skip
        with explain(self._url):
            return retrying(act)

    def _sample(self, name: str, count: int) -> list[str]:
        """Return `_id`s that divide a collection into `count` partitions, in the server's order; fewer if it is
        small."""
        stages: list[Mapping[str, Any]] = [
            {"$sample": {"size": max(count * SAMPLED, LEAST_SAMPLED)}},
            {"$project": {"_id": 1}},
            {"$sort": {"_id": 1}},
        ]
        try:
            batches = self._retry(lambda: list(self._database[name].aggregate_raw_batches(stages)))
        except SourceError:
            self._notify(f"{name} is read by one worker, because the user has no privilege to sample it")
            return []
        ids = [raw_bson.source_id(raw) for batch in batches for raw in raw_bson.split_documents(batch)]
        chosen = [ids[place * len(ids) // count] for place in range(1, count)] if ids else []
        return [each.hex() for each in dict.fromkeys(chosen)]


def _batch(part: Partition, documents: tuple[bytes, int], start: str, end: str, *, last: bool) -> Batch:
    data, count = documents
    return Batch(
        collection=part.collection, data=data, count=count, start=start, end=end, last=last, part=part.number
    )  # fmt: skip
