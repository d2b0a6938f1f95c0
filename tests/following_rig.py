"""Following in this process: a MongoDB database, its followed target, and each step of following by itself."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
import psycopg
from bson import Decimal128
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.client_session import ClientSession

from migrator.documents import raw_bson
from migrator.documents.codec import CODEC_OPTIONS
from migrator.following.applier import Applier
from migrator.following.receiver import Receiver, ReceiverJob
from migrator.sources.base import Position
from migrator.sources.change_events import RAW_OPTIONS
from migrator.sources.live import LiveSource
from migrator.state import dirty, sync
from migrator.state.records import Namespace
from migrator.workflows.follower import BATCH_BYTES, FollowCounts, Follower
from migrator.workflows.receiving import Receiving
from migrator.workflows.run_options import FollowOptions
from tests.acceptance.test_collisions import read_all
from tests.driving import call, open_session
from tests.scenarios import write_config

NAMESPACE = Namespace()
FENCE = "fence"


@dataclass
class Rig:
    """`url`: of the MongoDB server; `followed`, `fresh`: URLs of empty target databases."""

    url: str
    followed: str
    fresh: str
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    options: FollowOptions = field(default_factory=lambda: FollowOptions(accept_drop=True))

    def __post_init__(self) -> None:
        self.name = f"rig_{secrets.token_hex(4)}"
        self._exits = ExitStack()
        self.client = self._exits.enter_context(
            MongoClient[Any](self.url, document_class=RawBSONDocument, retryWrites=False)
        )
        self.database = self.client.get_database(self.name, RAW_OPTIONS)
        self.config = self._configure("migrate", self.followed)
        self._applying = ExitStack()
        self._session: ClientSession | None = None
        self._applier: Applier | None = None
        self._position: Position | None = None

    def _configure(self, name: str, database: str) -> Path:
        settings = {"engine": {"workers": 1}, **self.settings, "source": {"database": self.name}}
        return write_config(self.folder / f"{name}.toml", self.url, database, settings)

    # --- the application ---------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Makes the changes in the block one transaction."""
        with self.client.start_session() as session, session.start_transaction():
            self._session = session
            try:
                yield
            finally:
                self._session = None

    def put(self, name: str, raw: bytes) -> None:
        """Inserts a document, or replaces the one with the same `_id`. Equal numbers are the same `_id` to MongoDB."""
        source_id = raw_bson.source_id(raw)
        if isinstance(_value(source_id), int | float | Decimal128):
            self.delete(name, source_id)
        self._write(name, "update", {"q": _chosen(source_id), "u": RawBSONDocument(raw), "upsert": True})

    def update(self, name: str, source_id: bytes, change: dict[str, Any]) -> None:
        self._write(name, "update", {"q": _chosen(source_id), "u": change})

    def delete(self, name: str, source_id: bytes) -> None:
        self._write(name, "delete", {"q": _chosen(source_id), "limit": 1})

    def drop(self, name: str) -> None:
        self.database.drop_collection(name)

    def rename(self, name: str, other: str) -> None:
        """Renames a collection, if it exists, in the place of another."""
        if name in self.database.list_collection_names():
            self.database[name].rename(other, dropTarget=True)

    def read(self, name: str) -> list[bytes]:
        """Returns the documents of a collection."""
        return [bytes(each.raw) for each in self.database[name].find(session=self._session)]

    def _write(self, name: str, command: str, request: dict[str, Any]) -> None:
        answer = self.database.command({command: name, f"{command}s": [request]}, session=self._session)
        assert "writeErrors" not in answer, answer

    # --- the run -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Remembers the present position: what is written from now on is applied after the run."""
        source = LiveSource(self.url, self.name)
        self._position = source.current_position()
        source.close()

    def run(self) -> None:
        """Loads the source into the followed target."""
        migrate(self.config)
        self.connection = psycopg.connect(self.followed, autocommit=True)
        self._exits.callback(self.connection.close)
        assert self._position is not None  # after `begin`
        sync.begin(self.connection, NAMESPACE, self._position)

    # --- steps of following ------------------------------------------------------------------------------------------

    def receive(self) -> None:
        """Receives all changes that were written so far."""
        source_id = bson.encode({"_id": bson.ObjectId()})
        self.database[FENCE].insert_one(RawBSONDocument(source_id))
        query = "SELECT FROM migrator.dirty WHERE collection = %s AND source_id = %s"
        job = ReceiverJob(url=self.url, database=self.name, dsn=self.followed, namespace=NAMESPACE)
        Receiver(
            job, lambda text: None, lambda: self.connection.execute(query, (FENCE, source_id)).fetchone() is not None
        ).run()

    def replay(self) -> None:
        """Lets the next `receive` receive all changes since `begin` again."""
        assert self._position is not None  # after `begin`
        self.connection.execute(
            "UPDATE migrator.sync SET token = %s, last_event = NULL, after_invalidate = false", (self._position.token,)
        )

    def apply(self, limit: int) -> int:
        """Applies the oldest dirty keys; returns how many were read."""
        keys = dirty.read_oldest(self._follower._connection, NAMESPACE, limit, BATCH_BYTES)
        if keys:
            self._follower._apply(self._prepare(), keys, self.options, FollowCounts())
        return len(keys)

    def deliver_again(self, collection: str, source_id: bytes) -> None:
        """Makes a document dirty that may be applied already."""
        number = self._count()
        self.connection.execute(
            "INSERT INTO migrator.dirty (key, collection, source_id, number, cluster_time) VALUES (%s, %s, %s, %s, 0)"
            " ON CONFLICT (key) DO NOTHING",
            (dirty.key_of(collection, source_id), collection, source_id, number),
        )

    def reorder(self, seed: int) -> None:
        """Gives the waiting keys another order. A marker concerns the documents that were dirty before it."""
        self.connection.execute("SELECT setseed(%s)", ((seed % 1000) / 1000,))
        self.connection.execute(
            "UPDATE migrator.dirty d SET number = o.number FROM (SELECT a.key, b.number FROM"
            " (SELECT key, row_number() OVER (ORDER BY random()) AS n FROM migrator.dirty WHERE source_id <> '') a JOIN"
            " (SELECT number, row_number() OVER (ORDER BY number) AS n FROM migrator.dirty WHERE source_id <> '') b"
            " USING (n)) o WHERE d.key = o.key AND NOT EXISTS (SELECT FROM migrator.dirty WHERE source_id = '')"
        )

    def _count(self) -> int:
        """Takes a new number for a key."""
        row = self.connection.execute("UPDATE migrator.sync SET received = received + 1 RETURNING received").fetchone()
        assert row is not None  # `run` has made it
        return int(row[0])

    def restart(self) -> None:
        """Ends the applier; the next batch prepares a new one."""
        self._applying.close()
        self._applier = None

    def _prepare(self) -> Applier:
        assert self._applier is not None  # `_follower` has set it
        return self._applier

    @property
    def _follower(self) -> Follower:
        if self._applier is None:
            self._started = self._applying.enter_context(self._following())
        return self._started

    @contextmanager
    def _following(self) -> Iterator[Follower]:
        session = open_session(self.config)
        with session.source() as source, session.target() as target, target.connect() as connection:
            context = session.migration(source)
            follower = Follower(context, target, connection, Receiving(context, target))
            with follower._prepared() as self._applier:
                yield follower

    # --- the end -----------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Receives and applies everything, and ends the applier."""
        self.receive()
        while self.apply(1000):
            pass
        self.restart()

    def assert_equals_run(self, what: object = "") -> None:
        """The followed target is what a run on the source as it is now makes."""
        migrate(self._configure("fresh", self.fresh))
        found, expected = dict(read_all(self.followed)), dict(read_all(self.fresh))
        for name, rows in expected.items():
            missing, extra = sorted(set(rows) - set(found[name])), sorted(set(found[name]) - set(rows))
            assert (missing, extra) == ([], []), (what, name)

    def close(self) -> None:
        self._applying.close()
        self.client.drop_database(self.name)
        self._exits.close()


def _value(source_id: bytes) -> Any:
    return bson.decode(source_id, CODEC_OPTIONS)["_id"]


def _chosen(source_id: bytes) -> dict[str, Any]:
    """Returns the filter of one document. Without `$eq` a regular expression would match other `_id`s."""
    return {"_id": {"$eq": _value(source_id)}}


def migrate(config: Path) -> None:
    answer = call("run", "-c", config, "--json")
    assert answer.code == 0, answer.told
