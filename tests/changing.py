"""A source that changes: random operations over the documents of `talks`, as the change stream would tell of them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import bson
import psycopg
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from migrator.documents import raw_bson
from migrator.documents.codec import CODEC_OPTIONS
from migrator.following.applier import Applier
from migrator.state.dirty import DirtyKey
from migrator.state.lock import exclusive
from migrator.workflows.follow_setup import prepare_following
from tests.driving import open_session
from tests.mongo import Server, fill
from tests.talks import TALKS, USERS, _message_id, _oid

Document = dict[str, Any]
Changed = dict[tuple[str, bytes], bytes | None]  # (collection, source_id) → the newest document; None: gone
ADOPTER = raw_bson.source_id(bson.encode({"_id": _oid(1, 0)}))  # owns the orphans of some tests, so it stays
WRITE_SECONDS = 60  # for which a source may be away
FENCE = "fence"  # a collection of documents that mark a moment
MESSAGES = 700  # ids of messages that changes name


class Changing:
    """The documents of a source by collection and `source_id`, and the changes since `take`."""

    def __init__(self, made: dict[str, list[bytes]], seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = {name: {raw_bson.source_id(raw): raw for raw in raws} for name, raws in made.items()}
        self._changed: Changed = {}
        self._fresh = 5000

    def documents(self) -> dict[str, list[bytes]]:
        return {name: list(found.values()) for name, found in self.now.items()}

    def take(self) -> Changed:
        """Returns the changes since the last call."""
        changed, self._changed = self._changed, {}
        return changed

    def put(self, name: str, document: Document) -> None:
        raw = bson.encode(document)
        key = raw_bson.source_id(raw)
        self.now.setdefault(name, {})[key] = raw
        self._changed[name, key] = raw

    def drop(self, name: str, key: bytes) -> None:
        self.now[name].pop(key, None)
        self._changed[name, key] = None

    def change(self) -> None:
        """Makes one random change."""
        chance, now = self.chance, self.now
        name = chance.choice(["users", "conversations", "conversations", *["messages"] * 4, "logs"])
        if not now[name]:
            return
        key = chance.choice(sorted(now[name]))
        if key == ADOPTER:
            return
        document = bson.decode(now[name][key])
        self._fresh += 1
        kind = chance.random()
        if kind < 0.2:
            self.drop(name, key)
        elif name == "logs":
            self.put(name, {**document, "line": f"changed {self._fresh}"})
        elif kind < 0.35:
            self.put(name, self._new(name, document))
        else:
            self.put(name, {**document, **self._change(name)})

    def _new(self, name: str, like: Document) -> Document:
        chance, fresh = self.chance, self._fresh
        if name == "users":
            email = f"u{chance.randrange(USERS)}@example.com" if chance.random() < 0.3 else f"n{fresh}@example.com"
            return {**like, "_id": _oid(1, fresh), "email": email, "name": "New"}
        if name == "conversations":
            return {**like, "_id": _oid(2, fresh), **self._talk(), **self._owner()}
        return {
            **like,
            "_id": _oid(3, fresh),
            "messageId": _message_id(chance.choice([fresh, self._number()])),
            **self._talk(),
        }

    def _change(self, name: str) -> Document:
        chance, fresh = self.chance, self._fresh
        if name == "users":
            return chance.choice(
                [
                    {"name": f"N{fresh}"},
                    {"email": f"u{chance.randrange(USERS)}@example.com"},
                    {"email": f"e{fresh}@example.com"},
                ]
            )
        if name == "conversations":
            return chance.choice([{"title": f"T{fresh}"}, self._owner(), self._talk(), {"endpoint": "anthropic"}])
        return chance.choice(
            [
                {"text": f"X{fresh}"},
                {"text": f"Y{fresh}"},
                {"parentMessageId": _message_id(self._number())},
                self._talk(),
                {"messageId": _message_id(self._number())},
                {"children": [_message_id(self._number())]},
            ]
        )

    def _talk(self) -> Document:
        return {"conversationId": str(UUID(int=self.chance.randrange(TALKS + 5) + 1))}

    def _owner(self) -> Document:
        return {"user": str(_oid(1, self.chance.randrange(USERS + 2)))}

    def _number(self) -> int:
        return self.chance.randrange(MESSAGES)


@contextmanager
def applier_of(config: Path) -> Iterator[tuple[Applier, psycopg.Connection[Any]]]:
    """An applier for the finished run of a configuration."""
    session = open_session(config)
    with (
        session.source() as source,
        session.target() as target,
        closing(target.connect()) as connection,
        exclusive(connection),
    ):
        yield prepare_following(session.migration(source), connection, target.dsn), connection


def apply_changes(applier: Applier, changed: Changed, chance: random.Random) -> None:
    """Applies changes in batches of random sizes and order."""
    left = list(changed.items())
    chance.shuffle(left)
    while left:
        size = chance.choice([1, 5, 20, 60])
        some, left = dict(left[:size]), left[size:]
        keys = [
            DirtyKey(collection=name, source_id=source_id, number=0, document=raw)
            for (name, source_id), raw in some.items()
        ]
        applier.apply(keys, some)


class LiveChanges:
    """Writes the changes of a `Changing` to a MongoDB database, which may be away for a while.

    They become inserts, replaces, updates and deletes; some are written several at once, in a transaction. Each can be
    repeated, so one whose answer was lost is written again.
    """

    def __init__(self, url: str, source: Changing, database: str = "app") -> None:
        self._client = MongoClient[RawBSONDocument](
            url, document_class=RawBSONDocument, retryWrites=False, serverSelectionTimeoutMS=1000
        )
        self._database, self._source = self._client[database], source
        self._chance = random.Random(len(source.now))
        self._written = {(name, key): raw for name, found in source.now.items() for key, raw in found.items()}

    def write(self, changes: int) -> None:
        """Makes random changes, and writes each."""
        while changes > 0:
            some = self._chance.choice([1, 1, 1, 1, 1, 1, 1, 2, 5])
            for _ in range(some):
                self._source.change()
            self.put(self._source.take(), together=some > 1)
            changes -= some

    def put(self, changed: Changed, *, together: bool = False) -> None:
        """Writes changes, `together`: in one transaction."""
        requests = [self._request(*key, raw) for key, raw in changed.items()]
        for several in [requests] if together else [[each] for each in requests]:
            if several:
                self._repeat(several)
        for key, raw in changed.items():
            if raw is None:
                self._written.pop(key, None)
            else:
                self._written[key] = raw

    def _request(self, name: str, source_id: bytes, raw: bytes | None) -> Document:
        """Returns the command that makes a change. pymongo's own methods refuse documents that it cannot decode."""
        chosen, old = RawBSONDocument(source_id), self._written.get((name, source_id))
        if raw is None:
            return {"delete": name, "deletes": [{"q": chosen, "limit": 1}]}
        new: Any = RawBSONDocument(raw)
        if old is not None and self._chance.random() < 0.5:
            new = _update(old, raw) or new
        return {"update": name, "updates": [{"q": chosen, "u": new, "upsert": True}]}

    def _repeat(self, requests: list[Document]) -> None:
        deadline = time.monotonic() + WRITE_SECONDS
        while True:
            try:
                return self._execute(requests)
            except PyMongoError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _execute(self, requests: list[Document]) -> None:
        with ExitStack() as opened:
            session = None
            if len(requests) > 1:
                session = opened.enter_context(self._client.start_session())
                opened.enter_context(session.start_transaction())
            for request in requests:
                answer = self._database.command(request, session=session)
                assert answer["ok"] == 1, answer
                assert "writeErrors" not in answer, answer

    def fence(self) -> bytes:
        """Inserts a new document of a collection without a mapping, and returns its `source_id`."""
        source_id = bson.encode({"_id": ObjectId()})
        self._repeat([{"insert": FENCE, "documents": [RawBSONDocument(source_id)]}])
        return source_id

    def close(self) -> None:
        self._client.close()


def is_applied(database: str, fence: bytes) -> bool:
    """Returns whether all changes up to a `LiveChanges.fence` have been applied to a database."""
    query: LiteralString = (
        "SELECT EXISTS (SELECT FROM migrator.ledger WHERE source_id = %s) AND NOT EXISTS (SELECT FROM migrator.dirty)"
    )
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute(query, (fence,)).fetchone()
    return bool(row and row[0])


def wait_applied(database: str, fence: bytes, seconds: float = 120) -> None:
    """Waits until all changes up to a `LiveChanges.fence` have been applied to a database."""
    deadline = time.monotonic() + seconds
    while not is_applied(database, fence):
        assert time.monotonic() < deadline, f"not applied within {seconds} s"
        time.sleep(0.02)


def _update(old: bytes, new: bytes) -> Document | None:
    """Returns the update that makes a document a new one; None if there is none."""
    try:
        before, after = bson.decode(old, CODEC_OPTIONS), bson.decode(new, CODEC_OPTIONS)
    except bson.errors.InvalidBSON:
        return None
    changed = {name: value for name, value in after.items() if name not in before or before[name] != value}
    gone = {name: "" for name in before if name not in after}
    if any(not name or "$" in name or "." in name for name in {**changed, **gone}):
        return None
    return {key: value for key, value in (("$set", changed), ("$unset", gone)) if value} or None


SAFE = ("--sync-on-commit", "--oplog-max-entries", "10000000", "--oplog-retention-seconds", "86400")
DATABASE = "app"


@contextmanager
def changing_server(folder: Path, source: Changing) -> Iterator[Server]:
    """A server with the documents of a `Changing`."""
    server = Server(folder)
    server.options = SAFE
    server.start()
    try:
        fill(server.url, DATABASE, source.documents())
        yield server
    finally:
        server.kill()
