"""Documents looked up by `_id`: every BSON type, exact bytes, documents that are gone, a server that restarts."""

from __future__ import annotations

import datetime
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import bson.raw_bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError

from migrator.documents import raw_bson
from migrator.sources.live import LiveSource
from tests.mongo import fill, mongo, server_in

IDS: list[Any] = [
    ObjectId(), "text", "", "é", "x", 1, Int64(1 << 40), 1.5, float("nan"), float("inf"), -0.0, None, True, False, {},
    {"a": 1}, {"a": 1, "b": [1]}, {"b": [1], "a": 1}, {"a": 2}, Binary(b"xx", 4), Binary(b""),
    datetime.datetime(2020, 1, 1), Decimal128("1.10"), MinKey(), MaxKey(), Timestamp(1, 2), Regex("^t"), Regex("."),
    [1, 2], [1], Code("y"),
]  # fmt: skip


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mongo(tmp_path_factory.mktemp("mongo")) as found:
        yield found


@pytest.fixture
def source(url: str) -> Iterator[LiveSource]:
    found = LiveSource(url, "lookup")
    yield found
    found.close()


def insert_possible(url: str, documents: list[bytes]) -> list[bytes]:
    """Inserts the documents that the server admits: MongoDB admits no arrays and regular expressions as `_id`."""
    fill(url, "lookup", {"odd": []})
    there = []
    for each in documents:
        try:
            fill_one(url, each)
        except (DuplicateKeyError, ValueError):
            continue
        there.append(each)
    return there


def fill_one(url: str, document: bytes) -> None:
    with MongoClient[bson.raw_bson.RawBSONDocument](url, document_class=bson.raw_bson.RawBSONDocument) as client:
        client["lookup"]["odd"].insert_one(bson.raw_bson.RawBSONDocument(document))


def test_every_type(url: str, source: LiveSource) -> None:
    """Each `_id` alone and all together: exactly the documents asked for."""
    there = insert_possible(url, [bson.encode({"_id": each, "n": number}) for number, each in enumerate(IDS)])
    expected = {raw_bson.source_id(each): each for each in there}
    assert len(expected) > 25
    assert source.find_documents("odd", list(expected)) == expected
    for source_id, document in expected.items():
        assert source.find_documents("odd", [source_id]) == {source_id: document}


def test_bytes_are_compared(url: str, source: LiveSource) -> None:
    """An equal number of another type is another document: the one asked for was deleted meanwhile."""
    fill(url, "lookup", {"odd": [bson.encode({"_id": each}) for each in (1, {"a": 1}, "t")]})
    others = [1.0, Int64(1), Decimal128("1"), {"a": 1.0}, Regex("t"), None, MinKey(), [1], "gone", Code("t")]
    assert source.find_documents("odd", [bson.encode({"_id": each}) for each in others]) == {}
    symbol = b"\x0e_id\0\x02\0\0\0t\0"
    assert source.find_documents("odd", [struct.pack("<i", len(symbol) + 5) + symbol + b"\0"]) == {}


def test_missing_collection(source: LiveSource) -> None:
    assert source.find_documents("nothing", [bson.encode({"_id": each}) for each in (1, None)]) == {}
    assert source.find_documents("nothing", []) == {}


def test_many_and_large_ids(url: str, source: LiveSource) -> None:
    """More IDs than one request holds, by number and by size; an ID asked for twice."""
    documents = [bson.encode({"_id": f"{n:0{300_000 if n < 5 else 5}}", "n": n}) for n in range(450)]
    fill(url, "lookup", {"odd": documents})
    expected = {raw_bson.source_id(each): each for each in documents[::2]}
    assert source.find_documents("odd", [*expected, *expected]) == expected


def test_restart_of_the_server(tmp_path: Path) -> None:
    """A look-up waits for a server that is restarting."""
    with server_in(tmp_path / "mongo") as server:
        document = bson.encode({"_id": 1, "text": "x"})
        server.kill()
        server.options = ("--sync-on-commit",)
        server.start()
        fill(server.url, "lookup", {"odd": [document]})
        source = LiveSource(server.url, "lookup")
        server.kill()
        restart = threading.Timer(0.5, server.start)
        restart.start()
        assert source.find_documents("odd", [raw_bson.source_id(document)]) == {raw_bson.source_id(document): document}
        restart.join()
        source.close()
