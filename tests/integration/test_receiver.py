"""The receiver: events of every kind become dirty keys, and a copy that they keep is the source."""

from __future__ import annotations

import datetime
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bson
import psycopg
import psycopg.sql
import pytest
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from pymongo import MongoClient

from migrator.errors import StoppedError
from migrator.sources.change_stream import ChangeStream, EventBatch
from migrator.state import dirty, sync
from migrator.state.journal import read_metadata
from migrator.state.markers import expand_marker
from tests.mongo import Server
from tests.receiving import NAMESPACE, SAFE, Copy, Writer, process_of, read_all, started

IDS: list[Any] = [
    ObjectId(), "text", "", "é", 1, Int64(1 << 40), 1.5, float("nan"), -0.0, None, True, {}, {"a": 1, "b": [1]},
    Binary(b"xx", 4), datetime.datetime(2020, 1, 1), Decimal128("1.10"), MinKey(), MaxKey(), Timestamp(1, 2),
    Regex("^t"), [1, 2],
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with started(tmp_path_factory.mktemp("mongo"), *SAFE) as found:
        yield found


@pytest.fixture
def client(server: Server) -> Iterator[MongoClient[Any]]:
    with MongoClient[Any](server.url) as found:
        found.drop_database("app")
        found["app"]["fence"].insert_one({"_id": 0})
        yield found


@pytest.fixture
def copy(server: Server, client: MongoClient[Any], database: str) -> Iterator[Copy]:
    made = Copy(server.url, database)
    yield made
    made.close()


def id_of(value: Any) -> bytes:
    return bson.encode({"_id": value})


def test_every_type_and_operation(client: MongoClient[Any], copy: Copy) -> None:
    """Inserts, updates, replacements and deletions of documents with `_id`s of every type."""
    collection = client["app"]["odd"]
    for each in IDS:
        collection.insert_one({"_id": each, "n": 1})
    with copy.receiving():
        copy.drain()
        assert copy.documents == read_all(copy.url)
        for number, each in enumerate(IDS):
            same = {"_id": {"$eq": each}}
            if number % 2:
                collection.delete_one(same)
            else:
                collection.update_one(same, {"$set": {"n": 2}})
        collection.replace_one({"_id": "text"}, {"new": True}, upsert=True)
        copy.drain()
        assert copy.documents == read_all(copy.url)


def test_keys_of_events(client: MongoClient[Any], copy: Copy) -> None:
    """The newest event decides: an image of an insert or a replacement, if it is small; otherwise the key only."""
    collection = client["app"]["a"]
    collection.insert_many([{"_id": 1}, {"_id": 2}, {"_id": 3, "text": "x" * 70_000}, {"_id": 4}])
    collection.update_one({"_id": 2}, {"$set": {"n": 1}})
    collection.replace_one({"_id": 2}, {"r": 1})
    collection.update_one({"_id": 4}, {"$set": {"n": 1}})
    with copy.receiving():
        copy.wait_received()
    rows = {source_id: (number, image) for name, source_id, number, image, _ in copy.dirty_rows() if name == "a"}
    assert [rows[id_of(each)][1] for each in (1, 2, 3, 4)] == [True, True, False, False]
    numbers = [rows[id_of(each)][0] for each in (1, 3, 2, 4)]
    assert numbers == sorted(numbers)
    assert copy.state().received >= max(numbers)


def test_first_stays(client: MongoClient[Any], copy: Copy) -> None:
    """Of the oldest event the time is kept, so that the lag is known; an applier deletes no newer event."""
    query = NAMESPACE.sql("SELECT first FROM {dirty} WHERE collection = 'a'")
    client["app"]["a"].insert_one({"_id": 1})
    with copy.receiving():
        copy.wait_received()
        first = copy.connection.execute(query).fetchone()
        keys = dirty.read_oldest(copy.connection, NAMESPACE, 10, 1 << 20)
        client["app"]["a"].update_one({"_id": 1}, {"$set": {"n": 1}})
        copy.wait_received()
        assert copy.connection.execute(query).fetchone() == first
        dirty.delete(copy.connection, NAMESPACE, keys)
        assert [row[1] for row in copy.dirty_rows() if row[0] == "a"] == [id_of(1)]


def test_transaction(client: MongoClient[Any], copy: Copy) -> None:
    """Events of one transaction have one number, and others none."""
    database = client["app"]
    for name in ("a", "b"):
        database.create_collection(name)
    with client.start_session() as session:
        for number in (1, 2):
            with session.start_transaction():
                for name in ("a", "b"):
                    database[name].insert_one({"_id": number}, session=session)
    database["a"].insert_one({"_id": 3})
    with copy.receiving():
        copy.wait_received()
    found = {(name, source_id): number for name, source_id, _, _, number in copy.dirty_rows()}
    one, two = (found["a", id_of(each)] for each in (1, 2))
    assert one == found["b", id_of(1)] is not None
    assert two == found["b", id_of(2)] not in (one, None)
    assert found["a", id_of(3)] is None


def drop(database: Any) -> None:
    database["a"].drop()
    database["a"].insert_one({"_id": 5})


def rename(database: Any) -> None:
    database["a"].rename("c")


def rename_over(database: Any) -> None:
    database["a"].rename("b", dropTarget=True)


def drop_database(database: Any) -> None:
    database.client.drop_database("app")
    database["b"].insert_one({"_id": "again"})


def replace_by_aggregation(database: Any) -> None:
    database["a"].aggregate([{"$out": "b"}])


@pytest.mark.parametrize("change", [drop, rename, rename_over, drop_database, replace_by_aggregation])
def test_whole_collections(client: MongoClient[Any], copy: Copy, change: Callable[[Any], None]) -> None:
    """Collections that are dropped, renamed or replaced, with keys of events before them that were not applied."""
    database = client["app"]
    for name in ("a", "b"):
        database[name].insert_many([{"_id": each, "in": name} for each in range(20)])
    with copy.receiving():
        copy.drain()
        database["a"].insert_one({"_id": "not applied"})
        change(database)
        copy.drain()
        assert copy.documents == read_all(copy.url)
    assert copy.state().position.after_invalidate is False


def test_descriptions(client: MongoClient[Any], copy: Copy) -> None:
    """The description of a collection is stored when it is new or changed, and removed when it is gone."""
    database = client["app"]
    with copy.receiving():
        database["a"].insert_one({"_id": 1})
        database["a"].create_index("n", name="by_n")
        database.create_collection("view", viewOn="a")
        copy.drain()
        described = read_metadata(copy.connection, NAMESPACE)
        assert b"by_n" in (described["a"] or b"")
        assert "view" not in described
        database["a"].drop()
        copy.drain()
        assert "a" not in read_metadata(copy.connection, NAMESPACE)


def test_many_documents_dropped(client: MongoClient[Any], copy: Copy) -> None:
    """Without consent no more than a tenth of the documents is deleted at once, also if collections are small."""
    database = client["app"]
    for number in range(20):
        database[f"c{number}"].insert_many([{"_id": each} for each in range(10)])
    with copy.receiving():
        copy.drain()
        database["c0"].drop()
        copy.wait_received()
        expand_markers(copy)  # 10 of 200 documents
        for number in range(1, 5):
            database[f"c{number}"].drop()
        copy.wait_received()
        before = copy.dirty_rows()
        with pytest.raises(StoppedError, match=r"40 of 192 documents no longer exist") as stopped:
            expand_markers(copy)
        assert "--accept-drop" in stopped.value.hint
        assert copy.dirty_rows() == before
        copy.drain()
        assert copy.documents == read_all(copy.url)


def expand_markers(copy: Copy) -> None:
    for key in dirty.read_oldest(copy.connection, NAMESPACE, 1000, 1 << 20):
        if key.is_marker:
            expand_marker(copy.connection, NAMESPACE, copy.source, key)


def test_newer_event_than_the_marker(client: MongoClient[Any], copy: Copy) -> None:
    """Expanding a marker leaves a newer event, with its image, and outdates an older one."""
    database = client["app"]
    database["a"].insert_one({"_id": 1})
    database["a"].drop()
    database["a"].insert_one({"_id": 2})
    with copy.receiving():
        copy.wait_received()
    (marker,) = [each for each in dirty.read_oldest(copy.connection, NAMESPACE, 10, 1 << 20) if each.is_marker]
    assert expand_marker(copy.connection, NAMESPACE, copy.source, marker, accept_drop=True) == 1
    rows = {source_id: (number, image) for name, source_id, number, image, _ in copy.dirty_rows() if name == "a"}
    assert rows[id_of(1)] == (marker.number, False)
    assert rows[id_of(2)][0] > marker.number
    assert rows[id_of(2)][1]


def test_idle(client: MongoClient[Any], copy: Copy) -> None:
    """While nothing happens, the position is stored every second, and it moves with writes to other databases."""
    with copy.receiving():
        before = copy.state()
        client["other"]["x"].insert_one({"n": 1})
        after = copy.wait_until(lambda state: state.position != before.position)
        copy.wait_until(lambda state: state.stored > after.stored)
    assert copy.dirty_rows() == []


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    """No answer is not the answer that there are no more events: else a stalled source would count as caught up."""
    with started(tmp_path / "mongo") as server:
        stream = ChangeStream(server.url, "app")
        while not stream.read(0.1).is_end:
            pass
        server.pause()
        stream.read(0.1)  # an answer can have been under way
        assert not any(stream.read(0.1).is_end for _ in range(15))
        server.resume()
        while not stream.read(0.1).is_end:
            pass
        stream.close()


def test_large_documents(client: MongoClient[Any], copy: Copy) -> None:
    collection = client["app"]["a"]
    collection.insert_one({"_id": 1, "text": "x" * (15 << 20)})
    collection.update_one({"_id": 1}, {"$set": {"text": "y" * (15 << 20)}})
    with copy.receiving():
        copy.drain()
        assert copy.documents == read_all(copy.url)


def test_history_lost(tmp_path: Path, database: str) -> None:
    """The events after the position no longer exist: everything is compared, and receiving continues."""
    with started(tmp_path / "mongo", "--oplog-max-entries", "500") as server, MongoClient[Any](server.url) as client:
        client["app"]["a"].insert_many([{"_id": each} for each in range(300)])
        copy = Copy(server.url, database)
        client["app"]["a"].insert_one({"_id": "early"})
        with copy.receiving():
            copy.drain()
        client["app"]["a"].delete_many({"_id": {"$lt": 100}})
        client["elsewhere"]["x"].insert_many([{"n": each} for each in range(3000)])
        with copy.receiving():
            copy.wait_until(lambda state: state.last_event is None)
            assert ("a", b"") in {row[:2] for row in copy.dirty_rows()}
            copy.drain()
            assert copy.documents == read_all(copy.url)
        copy.close()


def test_silent_gap(tmp_path: Path, database: str) -> None:
    """The server loses events that were received: it is noticed, and everything is compared."""
    with started(tmp_path / "mongo") as server, MongoClient[Any](server.url) as client:
        client["app"]["a"].insert_one({"_id": "early"})
        copy = Copy(server.url, database)
        with copy.receiving():
            for number in range(200):
                client["app"]["a"].insert_one({"_id": number})
            copy.wait_until(lambda state: state.received >= 200)
            server.kill()
            server.start()
            for number in range(1000, 1010):
                client["app"]["a"].insert_one({"_id": number})
            copy.drain()
            assert copy.documents == read_all(copy.url)
        copy.close()


def test_one_receiver_writes(client: MongoClient[Any], copy: Copy) -> None:
    """A second receiver waits for the first; when that is killed, it goes on where the first stopped."""
    with process_of(copy) as first:
        copy.wait_until(lambda state: state.stored > copy.state().stored or first.is_alive)
        client["app"]["a"].insert_one({"_id": 1})
        copy.wait_until(lambda state: state.received >= 1)
        with process_of(copy) as second:
            while second.waiting != "target: another receiver is ending":
                assert second.is_alive
                time.sleep(0.02)
            os.kill(first.pid or 0, signal.SIGKILL)
            client["app"]["a"].insert_one({"_id": 2})
            copy.wait_until(lambda state: state.received >= 2)
            copy.drain()
            assert copy.documents == read_all(copy.url)
        assert not second.is_alive
        assert first.error is None


def test_another_receiver_has_stored(client: MongoClient[Any], copy: Copy) -> None:
    """Events are stored only if no other receiver has stored any meanwhile."""
    state = copy.state()
    batch = EventBatch(events=(), position=state.position)
    with pytest.raises(StoppedError, match="another process receives"):
        sync.store(copy.connection, NAMESPACE, state.received + 1, batch)


PARENT = """
import sys, time
from migrator.following.receiver import ReceiverJob
from migrator.following.receiver_process import ReceiverProcess
from migrator.state.records import Namespace
if __name__ == "__main__":
    process = ReceiverProcess(ReceiverJob(url=sys.argv[1], database="app", dsn=sys.argv[2], namespace=Namespace()))
    print(process.pid, flush=True)
    time.sleep(600)
"""


def test_ends_with_its_parent(copy: Copy, tmp_path: Path) -> None:
    """The parent is killed, and the receiver ends."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script), copy.url, copy.dsn]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            began = copy.state().stored
            copy.wait_until(lambda state: state.stored > began)
        finally:
            parent.kill()  # otherwise a failure would wait for its end
    end = time.monotonic() + 10
    while has_process(pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def has_process(pid: int) -> bool:
    try:
        return "\tZ" not in Path(f"/proc/{pid}/status").read_text().partition("State:")[2][:3]
    except OSError:
        return False


def test_error_that_ends_it(copy: Copy) -> None:
    """The parent gets the error of a receiver that cannot go on."""
    with psycopg.connect(copy.dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA migrator CASCADE")
    with process_of(copy) as process:
        process._process.join(20)
        assert process.error is not None
        with pytest.raises(type(process.error)):
            process.check()


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 60)])
def test_kills(tmp_path: Path, database: str, seed: int) -> None:
    """Receiver, source and sessions of the target are killed while a writer writes: the copy is the source."""
    chance = random.Random(seed)
    with started(tmp_path / "mongo", *SAFE) as server:
        with MongoClient[Any](server.url) as client:
            client["app"]["fence"].insert_one({"_id": 0})
        copy = Copy(server.url, database)
        kills = chance.choices([kill_receiver, kill_source, kill_sessions], k=3)
        writer = Writer(server.url, seed, drops=kill_source not in kills)
        with process_of(copy) as process:
            for kill in kills:
                time.sleep(chance.uniform(0.1, 0.8))
                kill(copy, process, server)
                process.check()
            writer.stop()
            assert writer.writes
            copy.drain(60)
            assert copy.documents == read_all(copy.url)
        copy.close()


def kill_receiver(copy: Copy, process: Any, server: Server) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process._process.join(10)


def kill_source(copy: Copy, process: Any, server: Server) -> None:
    server.kill()
    server.start()


def kill_sessions(copy: Copy, process: Any, server: Server) -> None:
    copy.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'migrate worker'"
    )


def test_target_that_refuses_connections(client: MongoClient[Any], copy: Copy, server_url: str, tmp_path: Path) -> None:
    """The target is away: the receiver tries again and says so, and afterwards nothing is missing."""
    name = copy.connection.info.dbname
    with psycopg.connect(server_url, autocommit=True) as admin, process_of(copy) as process:
        client["app"]["a"].insert_one({"_id": 1})
        copy.wait_until(lambda state: state.received >= 1)
        query = psycopg.sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        admin.execute(query.format(psycopg.sql.Identifier(name), psycopg.sql.SQL("false")))
        kill_sessions(copy, process, Server(tmp_path))
        client["app"]["a"].insert_one({"_id": 2})
        while not process.waiting.startswith("target: "):
            assert process.is_alive
            time.sleep(0.02)
        assert "does not accept connections" in process.waiting
        admin.execute(query.format(psycopg.sql.Identifier(name), psycopg.sql.SQL("true")))
        copy.drain()
        assert copy.documents == read_all(copy.url)
        assert process.waiting == ""
