"""The server of the bench that replays a dump: what a driver reads from it is what is in the dump."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from bench.documents import write_dump
from bench.processes import Series
from bench.replay import replayed
from bench.results import compare, ratios_of
from tests.driving import call, digest_database
from tests.scenarios import write_config

MESSAGES = 1000
SOURCE = "LibreChat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replayed")
    write_dump(folder / SOURCE, MESSAGES)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with replayed(folder) as server:
        yield server.url


@pytest.fixture
def there(url: str) -> Iterator[Database[RawBSONDocument]]:
    with MongoClient[RawBSONDocument](url, document_class=RawBSONDocument) as client:
        yield client[SOURCE]


@pytest.mark.parametrize("options", [{}, {"batch_size": 7}, {"sort": [("_id", 1)], "batch_size": 100_000}])
def test_documents(options: dict[str, Any], there: Database[RawBSONDocument], folder: Path) -> None:
    """All documents, in answers of any size, byte by byte."""
    raw = (folder / SOURCE / "messages.bson").read_bytes()
    assert b"".join(each.raw for each in there["messages"].find(**options)) == raw
    batches: Any = there["messages"].find_raw_batches(**options)
    assert b"".join(batches) == raw


def test_ranges(there: Database[RawBSONDocument], folder: Path) -> None:
    """Conditions on `_id`, index bounds, a limit, the last document, counts."""
    ids = [each["_id"] for each in bson.decode_all((folder / SOURCE / "messages.bson").read_bytes())]
    messages = there["messages"]
    for condition, expected in (
        ({"_id": {"$gt": ids[9], "$lte": ids[800]}}, ids[10:801]),
        ({"_id": {"$gte": ids[9], "$lt": ids[11]}}, ids[9:11]),
        ({"_id": ids[5]}, [ids[5]]),
        ({"_id": {"$gt": ids[-1]}}, []),
    ):
        assert [each["_id"] for each in messages.find(condition, {"_id": 1})] == expected
    bounded = messages.find({}, hint=[("_id", 1)]).min([("_id", ids[3])]).max([("_id", ids[700])])
    assert [each["_id"] for each in bounded] == ids[3:700]
    assert [each["_id"] for each in messages.find(limit=3, skip=4)] == ids[4:7]
    last = messages.find_one(sort=[("_id", -1)])
    assert last is not None
    assert last["_id"] == ids[-1]
    assert (messages.count_documents({}), messages.estimated_document_count()) == (MESSAGES, MESSAGES)
    assert sorted(there.list_collection_names()) == ["conversations", "messages", "users"]
    sampled: Any = messages.aggregate_raw_batches([{"$sample": {"size": 5}}, {"$project": {"_id": 1}}])
    assert len({each["_id"] for each in bson.decode_all(b"".join(sampled))} & set(ids)) == 5


def test_what_it_does_not_know_is_an_error(there: Database[RawBSONDocument]) -> None:
    """A write, or a query whose answer would be wrong."""
    for act in (
        lambda: there["messages"].insert_one(RawBSONDocument(bson.encode({"_id": 1}))),
        lambda: list(there["messages"].find({"text": "x"})),
        lambda: list(there["messages"].find({}, {"text": 1})),
        lambda: list(there["messages"].find(sort=[("text", 1)])),
        lambda: list(there["messages"].aggregate([{"$unwind": "$content"}])),
    ):
        with pytest.raises(OperationFailure):
            act()


@pytest.mark.usefixtures("quick")
def test_a_run_from_it_is_a_run_from_the_dump(url: str, folder: Path, database: str, tmp_path: Path) -> None:
    """`migrate run` makes the same database of both."""
    digests = []
    for source, settings in ((url, {"source": {"database": SOURCE}}), (f"dump:{folder}", {})):
        config = write_config(tmp_path / "migrate.toml", source, database, settings)
        answer = call("run", "-c", config, "--json")
        assert answer.code == 0, answer.told
        digests.append(digest_database(database))
        assert call("revert", "-c", config, "--yes").code == 0
    assert digests[0] == digests[1]


def test_ratios_are_compared(tmp_path: Path) -> None:
    """A ratio that is worse by more than the tolerance is named."""
    found = []
    for ours in (2.0, 3.0):
        series = Series()
        for _ in range(3):
            series.add("run", ours)
            series.add("pg_restore -j2 of the same database", 1.0)
        found.append({"ratios": ratios_of({"whole": series})})
    old, new = json.loads(json.dumps(found))
    assert old["ratios"] == {"whole: run ÷ pg_restore -j2 of the same database": 2.0}
    assert [len(each) for each in compare(old, new, 0.15)] == [1, 1]
    assert [len(each) for each in compare(new, old, 0.15)] == [1, 0]
    assert [len(each) for each in compare(old, new, 0.6)] == [1, 0]
