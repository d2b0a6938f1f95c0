"""Measures the collections of a live database, to notice writes. Each request is limited, as it is only evidence.

`dbHash` would be a proof, but it reads all documents and blocks writers.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from bson.errors import BSONError
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from migrator.documents.codec import CODEC_OPTIONS, encode
from migrator.sources.base import CollectionState

LIMIT_MS: Final = 500
WRITES: Final = ("insert calls", "update calls", "modify calls", "remove calls")  # of WiredTiger, per collection


def process_of(client: MongoClient[dict[str, Any]]) -> str:
    """Return the ID of the server process, whose counters begin at zero; "" if the server has none."""
    hello = client.admin.command("hello")
    return str(hello.get("topologyVersion", {}).get("processId", ""))


def measure_collection(database: Database[dict[str, Any]], name: str, process: str) -> CollectionState:
    """Return the state of a collection; None for what the server does not know or the user may not ask."""
    stats: Mapping[str, Any] = {}
    with suppress(PyMongoError, BSONError):
        stats = database.command("collStats", name, maxTimeMS=LIMIT_MS)
    documents = _integer(stats.get("count"))
    last_id = None
    with suppress(PyMongoError, BSONError):
        if documents is None:
            documents = database[name].estimated_document_count(maxTimeMS=LIMIT_MS)
        collection = database[name].with_options(codec_options=CODEC_OPTIONS)
        last = collection.find_one({}, {"_id": 1}, sort=[("_id", -1)], max_time_ms=LIMIT_MS)
        last_id = "" if last is None else encode(last).hex()
    return {
        "documents": documents,
        "bytes": _integer(stats.get("size")),
        "last_id": last_id,
        "writes": _count_writes(stats) if process else None,
        "process": process or None,
    }


def _count_writes(stats: Mapping[str, Any]) -> int | None:
    """Return the number of writes that the storage engine counted; None if it does not count them."""
    cursor = stats.get("wiredTiger", {}).get("cursor", {})
    counts = [cursor[name] for name in WRITES if isinstance(cursor.get(name), int)]
    return sum(counts) if counts else None


def _integer(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None
