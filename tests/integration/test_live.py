"""A live MongoDB as a source: ids of every type, in parts, while documents come and the server goes."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient

from migrator.documents import raw_bson as rawbson
from migrator.errors import SourceError, StoppedError, UsageError
from migrator.sources import live_catalog, open_source
from migrator.sources.base import Batch, Partition, Source
from migrator.sources.live import LiveSource
from migrator.state import partitions, source_state
from migrator.workflows.pipeline import Pipeline
from tests.archive_writer import write_folder
from tests.driving import call, digest_database
from tests.mongo import fill, mongo, server_in
from tests.scenarios import write_config
from tests.talks import make_talks

pytestmark = pytest.mark.usefixtures("quick")

IDS: list[Any] = [
    MinKey(), None, 1, 2.5, Int64(2**40), float("nan"), float("-inf"), Decimal128("3.1"), "", "a", "é", {"x": 1},
    {"x": {"y": None}}, {}, Binary(b""), Binary(b"a", 128), Binary(b"1" * 16, 4), ObjectId(), ObjectId(), True, False,
    DatetimeMS(0), DatetimeMS(-1), Timestamp(1, 1), MaxKey(),
]  # fmt: skip


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mongo(tmp_path_factory.mktemp("mongo")) as found:
        yield found


def read_parts(source: LiveSource, parts: list[Partition], *, documents: int = 3) -> Iterator[Batch]:
    for part in parts:
        yield from source.read_partition(part, part.start, documents=documents, size=1 << 20)


def ids_of(batches: Iterator[Batch]) -> Counter[bytes]:
    return Counter(rawbson.source_id(raw) for batch in batches for raw in rawbson.split_documents(batch.data))


def make_parts(ids: list[Any], chance: random.Random) -> list[Partition]:
    """Parts that begin at some of the ids, in the server's order."""
    places = sorted(chance.sample(range(len(ids)), chance.randrange(len(ids))))
    cuts = [bson.encode({"_id": ids[place]}).hex() for place in places]
    bounds = zip(["", *cuts], [*cuts, ""], strict=True)
    return [Partition(collection="odd", number=n, start=start, stop=stop) for n, (start, stop) in enumerate(bounds)]


@pytest.mark.parametrize("seed", range(5))
def test_parts_cover_ids_of_every_type(url: str, seed: int) -> None:
    """Whatever ids the parts begin with, of whatever types: each document is in exactly one."""
    fill(url, "types", {"odd": [bson.encode({"_id": each, "n": number}) for number, each in enumerate(IDS)]})
    source = LiveSource(url, "types")
    with MongoClient[dict[str, Any]](url, datetime_conversion="DATETIME_MS") as client:
        in_order = [each["_id"] for each in client["types"]["odd"].find(sort=[("_id", 1)])]
    expected = Counter(bson.encode({"_id": each}) for each in IDS)
    assert ids_of(read_parts(source, make_parts(in_order, random.Random(seed)))) == expected
    source.close()


def test_a_read_goes_on_anywhere(url: str) -> None:
    """From the end of any batch the rest is read, no document twice, none left out."""
    fill(url, "types", {"odd": [bson.encode({"_id": each}) for each in IDS]})
    source = LiveSource(url, "types")
    whole = Partition(collection="odd", number=0, start="", stop="")
    batches = list(source.read_partition(whole, "", documents=2, size=1 << 20))
    assert [batch.last for batch in batches] == [False] * (len(batches) - 1) + [True]
    for number, batch in enumerate(batches):
        rest = ids_of(source.read_partition(whole, batch.end, documents=4, size=1 << 20))
        assert rest == ids_of(iter(batches[number + 1 :]))
    source.close()


def test_documents_may_come_while_parts_are_read(url: str) -> None:
    """Parts are planned once: what is inserted after falls into one of them, and what was there is read once."""
    chance = random.Random(1)
    old = [bson.encode({"_id": chance.random(), "text": "x" * 2000}) for _ in range(2000)]
    fill(url, "moving", {"odd": old})
    source = LiveSource(url, "moving")
    parts = source.split("odd", 500_000)
    assert parts is not None
    assert len(parts) > 3
    with MongoClient[dict[str, Any]](url) as client:
        client["moving"]["odd"].insert_many([{"_id": chance.random() * 3 - 1} for _ in range(200)])
    found = ids_of(read_parts(source, parts, documents=300))
    assert found.total() == 2200
    assert max(found.values()) == 1
    source.close()


def test_a_server_that_is_killed_comes_back(tmp_path: Path) -> None:
    """A lost cursor is opened again after the last document that was handed out, and that is said."""
    with server_in(tmp_path / "mongo") as server:
        made = [bson.encode({"_id": number, "text": "x" * 12_000}) for number in range(3000)]
        fill(server.url, "chat", {"notes": made})
        told: list[str] = []
        source = LiveSource(server.url + "/?serverSelectionTimeoutMS=2000", "chat", told.append)
        batches = source.read({"notes": ""}, documents=100, size=1 << 20)
        first = [next(batches) for _ in range(5)]
        server.kill()
        threading.Timer(1, server.start).start()
        found = ids_of(iter([*first, *batches]))
        assert found == Counter(map(rawbson.source_id, made))
        assert any("retrying" in each for each in told)
        source.close()


def test_what_is_wrong_is_said(url: str, tmp_path: Path) -> None:
    """No server, an unknown host, a URL that is none: cause and remedy, and never the password."""
    for wrong in ("mongodb://u:hidden-secret@127.0.0.1:1/chat", "mongodb://u:hidden-secret@no.such.host.example/chat"):
        source = open_source(wrong + "?serverSelectionTimeoutMS=300")
        with pytest.raises(SourceError) as failed:
            source.collections()
        assert failed.value.exit_code == 7
        assert "hidden-secret" not in str(failed.value) + failed.value.hint + source.label
    with pytest.raises(UsageError):
        open_source("mongodb://u:p@:x")
    with pytest.raises((UsageError, SourceError)):
        LiveSource(url, "types").read({"gone": ""}, documents=1, size=1).__next__()


def test_live_and_dump_are_the_same(url: str, new_database: Any, tmp_path: Path) -> None:
    """The same database read live, by workers, and as a dump gives identical tables; every document comes back."""
    made = make_talks()
    fill(url, "talks", made)
    dump = write_folder(tmp_path / "dump", made)
    from_dump, live = new_database(), new_database()
    assert call("run", "-c", write_config(tmp_path / "dump.toml", f"dump:{dump}", from_dump)).code == 0
    settings = {"engine": {"workers": 2, "part_bytes": 100_000}}
    config = write_config(tmp_path / "live.toml", f"{url}/talks", live, settings)
    answer = call("run", "-c", config)
    assert answer.code == 0, answer.told
    assert digest_database(live) == digest_database(from_dump)
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0
    assert call("revert", "--yes", "-c", config).code == 0


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_what_cannot_be_measured_is_cut_while_it_is_read(
    workers: int, url: str, new_database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a collection of unknown size every batch is a part: a later attempt reads again the one that was lost in their
    midst, though documents have gone and come since."""
    made = make_talks()
    fill(url, "unknown", made)
    from_dump, live = new_database(), new_database()
    monkeypatch.setattr(live_catalog, "_measure", lambda database, collection: (None, None))
    settings = {"engine": {"workers": workers, "batch_rows": 30}}
    config = write_config(tmp_path / "live.toml", f"{url}/unknown", live, settings)
    with monkeypatch.context() as patched:
        patched.setattr(partitions, "split_at", lose(3))
        assert call("run", "-c", config).code == 5
    messages = [raw for raw in made["messages"] if rawbson.source_id(raw) != LOST[0]]
    with MongoClient[dict[str, Any]](url) as client:
        client["unknown"]["messages"].delete_one(bson.decode(LOST[0]))
    assert call("run", "-c", config).code == 0
    dump = write_folder(tmp_path / "dump", {**made, "messages": messages})
    assert call("run", "-c", write_config(tmp_path / "dump.toml", f"dump:{dump}", from_dump)).code == 0
    assert digest_database(live) == digest_database(from_dump)
    assert call("verify", "-c", config, "--level", "roundtrip").code == 0


LOST: list[bytes] = []  # the first `_id` of the batch that was lost


def lose(number: int) -> Callable[..., Batch]:
    """`partitions.split_at` for a run that ends with the batch of messages after this one, which is never loaded."""

    def cut_off(connection: Any, place: Any, batch: Batch) -> Batch:
        part = cut_off_as_it_is(connection, place, batch)
        if batch.collection == "messages" and part.part == number:
            LOST[:] = [rawbson.source_id(next(rawbson.split_documents(batch.data)))]
            return replace(part, data=b"", count=0, last=False, start="none")
        if batch.collection == "messages" and part.part > number:
            raise StoppedError("a test ends it here")
        return part

    return cut_off


cut_off_as_it_is = partitions.split_at


@pytest.mark.long
def test_a_real_database_live(url: str, new_database: Any, tmp_path: Path) -> None:
    """LibreChat's own documents: live as from the dump, to the byte."""
    dump = Path("fixtures/librechat").absolute()
    source = open_source(f"dump:{dump}")
    names = [each.name for each in source.collections()]
    made = {name: list(read_all(source, name)) for name in names}
    fill(url, "LibreChat", made)
    from_dump, live = new_database(), new_database()
    assert call("run", "-c", write_config(tmp_path / "dump.toml", f"dump:{dump}", from_dump)).code == 0
    config = write_config(tmp_path / "live.toml", url, live, {"source": {"database": "LibreChat"}})
    answer = call("run", "-c", config)
    assert answer.code == 0, answer.told
    assert digest_database(live) == digest_database(from_dump)


def read_all(source: Source, name: str) -> Iterator[bytes]:
    for batch in source.read({name: ""}, documents=1000, size=1 << 20):
        yield from rawbson.split_documents(batch.data)


# --- writes during the load -------------------------------------------------------------------------------------------

STATE: dict[str, Any] = {"documents": 5, "bytes": 100, "last_id": "ab", "writes": 7, "process": "p"}
UNKNOWN: dict[str, Any] = dict.fromkeys(STATE)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (STATE, {}, None),
        (STATE, UNKNOWN, None),
        (UNKNOWN, {"documents": 6}, None),
        (STATE, {"documents": 6}, "5 documents before the load, 6 after it"),
        (STATE, {"documents": 4, "writes": 8}, "5 documents before the load, 4 after it"),
        (STATE, {"bytes": 101}, "documents were written during the load"),
        (STATE, {"last_id": "ac"}, "documents were written during the load"),
        (STATE, {"writes": 8}, "documents were written during the load"),
        (STATE, {"writes": 2, "process": "another"}, None),
        (STATE, {"writes": 2, "process": "another", "bytes": 7}, "documents were written during the load"),
    ],
)
def test_evidence_of_writes(before: dict[str, Any], after: dict[str, Any], expected: str | None) -> None:
    """Every known value that differs is evidence; counters of another server process are not."""
    found = dict(source_state.compare_states({"x": before}, {"x": {**before, **after}}))
    assert found == ({} if expected is None else {"x": expected})


def test_collections_that_come_and_go() -> None:
    """A collection that was created or dropped is reported."""
    found = dict(source_state.compare_states({"a": STATE, "b": STATE}, {"b": STATE, "c": STATE}))
    assert found == {"a": "dropped during the load", "c": "created during the load"}


def insert(client: MongoClient[dict[str, Any]]) -> None:
    client["busy"]["messages"].insert_one({"_id": ObjectId(), "text": "late"})


def update(client: MongoClient[dict[str, Any]]) -> None:
    client["busy"]["messages"].update_one({}, {"$set": {"text": "a longer text than before" * 10}})


def replace_one(client: MongoClient[dict[str, Any]]) -> None:
    last = client["busy"]["messages"].find_one(sort=[("_id", -1)])
    assert last is not None
    client["busy"]["messages"].delete_one({"_id": last["_id"]})
    client["busy"]["messages"].insert_one({**last, "_id": ObjectId()})


def drop(client: MongoClient[dict[str, Any]]) -> None:
    client["busy"]["odd"].drop()


@pytest.mark.parametrize("write", [insert, update, replace_one, drop, None])
def test_writes_during_the_load_are_noticed(
    url: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., None] | None
) -> None:
    """A write after the load began: warning, finding per collection, and verify says it; without one, nothing."""
    fill(url, "busy", {**make_talks(3, messages=100), "odd": [bson.encode({"_id": 1})]})
    config = write_config(tmp_path / "migrate.toml", url, database, {"source": {"database": "busy"}})
    merge = Pipeline.merge

    def write_and_merge(self: Pipeline, run: int) -> None:
        if write is not None:
            with MongoClient[dict[str, Any]](url) as client:
                write(client)
        merge(self, run)

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "merge", write_and_merge)
        answer = call("run", "-c", config, "--json")
    assert answer.code == 0, answer.told
    name = "odd" if write is drop else "messages"
    assert answer.json["findings"].get("source_changed", 0) == (write is not None)
    assert (f"written to during the load: {name}" in answer.err) == (write is not None), answer.err
    answer = call("verify", "-c", config, "--level", "rows")
    assert (f"written to since the load began: {name}" in answer.told) == (write is not None), answer.told
    assert answer.code == (4 if write is not None else 0), answer.told
    assert "internal error" not in answer.told
    if write is not None:
        assert "source" in answer.told
