"""What tests of receiving share: a source that changes, a receiver, a copy that dirty keys keep equal to the source."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import bson
import psycopg
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from migrator.documents import raw_bson
from migrator.following.receiver import Receiver, ReceiverJob
from migrator.following.receiver_process import ReceiverProcess
from migrator.sources.live import LiveSource
from migrator.state import dirty, sync
from migrator.state.markers import expand_marker
from migrator.state.records import Connection, Namespace, create_records
from tests.mongo import Server

SAFE: Final = ("--sync-on-commit", "--oplog-max-entries", "10000000", "--oplog-retention-seconds", "86400")
NAMESPACE: Final = Namespace()
Documents = dict[tuple[str, bytes], bytes]


@contextmanager
def started(folder: Path, *options: str) -> Iterator[Server]:
    """A server with these options."""
    server = Server(folder)
    server.options = options
    server.start()
    try:
        yield server
    finally:
        server.kill()


@dataclass
class Copy:
    """A copy of the database `app`, changed by dirty keys only. Its keys are in the ledger, as a target's are."""

    url: str
    dsn: str
    documents: Documents = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.connection: Connection = psycopg.connect(self.dsn, autocommit=True)
        create_records(self.connection, NAMESPACE)
        self.source = LiveSource(self.url, "app")
        sync.begin(self.connection, NAMESPACE, self.source.current_position())
        for (name, source_id), document in read_all(self.url).items():
            self._put(name, source_id, document)

    @property
    def job(self) -> ReceiverJob:
        return ReceiverJob(url=self.url, database="app", dsn=self.dsn, namespace=NAMESPACE)

    def close(self) -> None:
        self.source.close()
        self.connection.close()

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Receive in a thread of this process."""
        ended = threading.Event()
        errors: list[BaseException] = []

        def run() -> None:
            try:
                Receiver(self.job, lambda text: None, ended.is_set).run()
            except BaseException as error:  # noqa: BLE001 - raised in the test
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(20)
        if errors:
            raise errors[0]

    def drain(self, most: float = 20) -> None:
        """Wait until what was written so far has been received, and apply all keys."""
        self.wait_received(most)
        while keys := dirty.read_oldest(self.connection, NAMESPACE, 500, 1 << 20):
            self.apply(keys)

    def wait_received(self, most: float = 20) -> None:
        """Write to a collection and wait until that is received."""
        with MongoClient[Any](self.url, retryWrites=False) as client:
            client["app"]["fence"].insert_one({"_id": (number := random.getrandbits(60))})
        end = time.monotonic() + most
        while time.monotonic() < end:
            query = NAMESPACE.sql("SELECT FROM {dirty} WHERE collection = 'fence' AND source_id = %s")
            if self.connection.execute(query, (_id_of(number),)).fetchone() is not None:
                return
            if self._was_compared():
                return
            time.sleep(0.02)
        raise AssertionError(f"not received within {most} s")

    def _was_compared(self) -> bool:
        """After a loss of events what was written before is compared and not received."""
        query = NAMESPACE.sql(
            "SELECT FROM {dirty}, {sync} WHERE collection = 'fence' AND source_id = '' AND last_event IS NULL"
        )
        return self.connection.execute(query).fetchone() is not None

    def apply(self, keys: list[dirty.DirtyKey]) -> None:
        """Apply keys as an applier does: images, else the newest document, which may be gone."""
        for key in keys:
            if key.is_marker:
                expand_marker(self.connection, NAMESPACE, self.source, key, accept_drop=True)
                continue
            found = key.document
            if found is None:
                found = self.source.find_documents(key.collection, [key.source_id]).get(key.source_id)
            self._put(key.collection, key.source_id, found)
        dirty.delete(self.connection, NAMESPACE, [key for key in keys if not key.is_marker])

    def _put(self, collection: str, source_id: bytes, document: bytes | None) -> None:
        gone = NAMESPACE.sql("DELETE FROM {ledger} WHERE collection = %s AND source_id = %s")
        self.connection.execute(gone, (collection, source_id))
        self.documents.pop((collection, source_id), None)
        if document is not None:
            there = NAMESPACE.sql("INSERT INTO {ledger} (collection, source_id, outcome) VALUES (%s, %s, 'loaded')")
            self.connection.execute(there, (collection, source_id))
            self.documents[collection, source_id] = document

    def dirty_rows(self) -> list[tuple[Any, ...]]:
        query = NAMESPACE.sql(
            "SELECT collection, source_id, number, document IS NOT NULL, transaction_number FROM {dirty}"
            " ORDER BY number"
        )
        return self.connection.execute(query, binary=True).fetchall()

    def state(self) -> sync.SyncState:
        found = sync.read(self.connection, NAMESPACE)
        assert found is not None
        return found

    def wait_until(self, condition: Callable[[sync.SyncState], bool], most: float = 60) -> sync.SyncState:
        end = time.monotonic() + most
        while time.monotonic() < end:
            if condition(state := self.state()):
                return state
            time.sleep(0.01)
        raise AssertionError(f"not within {most} s: {self.state()}")


def _id_of(value: Any) -> bytes:
    return bson.encode({"_id": value})


def read_all(url: str) -> Documents:
    """All documents of the database `app`."""
    with MongoClient[Any](url, document_class=RawBSONDocument) as client:
        database = client["app"]
        names = [name for name in database.list_collection_names() if not name.startswith("system.")]
        return {
            (name, raw_bson.source_id(document)): document
            for name in names
            for document in (bytes(each.raw) for each in database[name].find())
        }


class Writer:
    """Writes at random until it is stopped, to a server that may be gone for a while.

    `drops`: also drops a collection. SecantusDB does not drop atomically: if it is killed meanwhile, the documents are
    gone and there is no event.
    """

    def __init__(self, url: str, seed: int, *, drops: bool) -> None:
        self._url, self._chance, self._drops = url, random.Random(seed), drops
        self._ended = threading.Event()
        self.writes = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with MongoClient[Any](self._url, serverSelectionTimeoutMS=500) as client:
            while not self._ended.is_set():
                with suppress(PyMongoError):
                    self._write(client)
                    self.writes += 1
                time.sleep(0.001)

    def _write(self, client: MongoClient[Any]) -> None:
        chance = self._chance
        collection = client["app"][chance.choice("abc")]
        number, kind = chance.randrange(60), chance.random()
        if kind < 0.35:
            collection.replace_one({"_id": number}, {"text": "x" * chance.randrange(2000)}, upsert=True)
        elif kind < 0.7:
            collection.update_one({"_id": number}, {"$inc": {"n": 1}}, upsert=True)
        elif kind < 0.85:
            collection.delete_one({"_id": number})
        elif kind < 0.97:
            collection.insert_many([{"_id": chance.getrandbits(40)} for _ in range(5)])
        elif kind < 0.985:
            with client.start_session() as session, session.start_transaction():
                for name in "ab":
                    client["app"][name].update_one({"_id": number}, {"$set": {"t": 1}}, upsert=True, session=session)
        elif self._drops:
            collection.drop()


@contextmanager
def process_of(copy: Copy) -> Iterator[ReceiverProcess]:
    """A receiver in a process of its own."""
    process = ReceiverProcess(copy.job)
    try:
        yield process
    finally:
        process.stop()
