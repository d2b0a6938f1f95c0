"""Describes the collections of a live database and checks that the user may read them. See live.py for the reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from bson.json_util import CANONICAL_JSON_OPTIONS, dumps
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import ExecutionTimeout, OperationFailure, PyMongoError

from migrator.sources.base import SourceCollection
from migrator.sources.live_client import CANNOT_READ
from migrator.sources.live_cursor import RangeCursor
from migrator.sources.selection import BUCKETS, reason_to_leave_out

FIRST_DOCUMENTS: Final = 5000  # documents of the first batch of a collection whose size is unknown
ALL_DOCUMENTS: Final = 100_000  # of a collection that was counted quickly: all of it, if one answer (16 MB) is enough
COUNT_LIMIT_MS: Final = 200  # a server that needs longer does not know the size, it counts the documents


@dataclass(slots=True)
class LiveCatalog:
    """The collections of a database. `left_out`: name → reason; `refused`: names that the user may not read; `started`:
    the cursors of collections whose read has already begun."""

    collections: dict[str, SourceCollection] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    started: dict[str, RangeCursor] = field(default_factory=dict)

    @classmethod
    def read(cls, database: Database[dict[str, Any]]) -> LiveCatalog:
        """Return the catalog of a database. Raises: pymongo's errors other than missing privileges."""
        catalog = cls()
        described = {each["name"]: each for each in database.list_collections()}
        for name, about in sorted(described.items()):
            if reason := _reason_to_leave_out(name, about.get("type", "collection"), described):
                catalog.left_out[name] = reason
                continue
            with catalog._noting_refusal(name):
                catalog.collections[name] = _describe(database, name, about, described)
        counts_by_scan = any(each.documents is None for each in catalog.collections.values())
        for each in sorted(catalog.collections.values(), key=lambda each: (each.documents is None, each.documents)):
            with catalog._noting_refusal(each.name):
                if counts_by_scan:
                    catalog.started[each.name] = _start_reading(database, each)
                else:
                    database[each.name].find_one({}, {"_id": 1})
        return catalog

    @contextmanager
    def _noting_refusal(self, name: str) -> Iterator[None]:
        """Record a missing privilege instead of raising it, so that the error names all collections."""
        try:
            yield
        except OperationFailure as error:
            if error.code not in CANNOT_READ:
                raise
            self.refused.add(name)


def describe_collection(database: Database[dict[str, Any]], name: str) -> SourceCollection | None:
    """Return a collection as it is now; None if it does not exist or is not migrated. Raises: pymongo's errors."""
    wanted = {"name": {"$in": [name, name.removeprefix(BUCKETS)]}}
    described = {each["name"]: each for each in database.list_collections(filter=wanted)}
    about = described.get(name)
    if about is None or _reason_to_leave_out(name, about.get("type", "collection"), described):
        return None
    return _describe(database, name, about, described)


def _start_reading(database: Database[dict[str, Any]], found: SourceCollection) -> RangeCursor:
    """Start to read a collection of a server that counts by a scan, so that one scan serves both purposes.

    A large collection is not waited for, because such a server answers no other query during a scan.

    Raises: pymongo's error if the user may not read the collection.
    """
    is_large = found.documents is None and _can_explain(database, found.name)
    cursor = RangeCursor(database[found.name], "", "", FIRST_DOCUMENTS if is_large else ALL_DOCUMENTS)
    if is_large:
        cursor.start()
    else:
        cursor.start_and_wait()
    return cursor


def _can_explain(database: Database[dict[str, Any]], name: str) -> bool:
    """Return whether the server explains a query, which requires the same privilege as the query but reads nothing."""
    try:
        database.command("explain", {"find": name}, verbosity="queryPlanner")
    except OperationFailure as error:
        if error.code in CANNOT_READ:
            raise
        return False
    return True


def _reason_to_leave_out(name: str, kind: str, described: Mapping[str, Any]) -> str:
    if kind == "view":
        return "a view"
    if kind == "timeseries" and BUCKETS + name in described:
        return f"a time series, read as {BUCKETS}{name}"
    return reason_to_leave_out(name)


def _describe(
    database: Database[dict[str, Any]],
    name: str,
    about: Mapping[str, Any],
    described: Mapping[str, Mapping[str, Any]],
) -> SourceCollection:
    collection = database[name]
    series = described.get(name.removeprefix(BUCKETS), about) if name.startswith(BUCKETS) else about
    uuid = series.get("info", {}).get("uuid")
    metadata = {
        "indexes": list(collection.list_indexes()),
        "uuid": bytes(uuid).hex() if uuid is not None else "",
        "collectionName": series["name"],
        "type": series.get("type", "collection"),
        "options": series.get("options", {}),
    }
    documents, size = _measure(database, collection)
    raw = dumps(metadata, json_options=CANONICAL_JSON_OPTIONS, separators=(",", ":")).encode()
    return SourceCollection(name=name, documents=documents, bytes=size, metadata=raw)


def _measure(database: Database[dict[str, Any]], collection: Collection[Any]) -> tuple[int | None, int | None]:
    """Return the number of documents and bytes; None if the server does not know them or the user may not ask.

    Only the progress and the size of partitions depend on these numbers.
    """
    try:
        found = database.command("collStats", collection.name, maxTimeMS=COUNT_LIMIT_MS)
        return int(found["count"]), int(found["size"])
    except ExecutionTimeout:
        return None, None
    except (PyMongoError, KeyError):
        with suppress(ExecutionTimeout):
            return collection.estimated_document_count(maxTimeMS=COUNT_LIMIT_MS), None
        return None, None
