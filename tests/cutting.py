"""An application that a cutover moves: it writes to the database that a file names, as hooks tell it, and remembers
what was acknowledged. Nothing that was acknowledged may be missing in the database that it uses in the end.
"""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import psycopg
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from psycopg import sql
from pymongo import MongoClient

from migrator.state.follow_lock import COMPARE_KEY
from migrator.targets.bundled import program_path
from tests.driving import call
from tests.follow_killing import GATE, KEY
from tests.mongo import fill
from tests.scenarios import write_config

DATABASE = "app"
OWNER, TALK = ObjectId(b"owner".rjust(12)), "c0000000-0000-4000-8000-000000000001"
MONGO, POSTGRES, STOPPED = "mongo", "postgres", "stopped"


def message_id(number: int) -> str:
    return str(UUID(int=0xA << 124 | number))


def message(number: int, text: str) -> dict[str, Any]:
    return {
        "_id": ObjectId(f"65b00000{number:016x}"), "messageId": message_id(number), "conversationId": TALK,
        "user": str(OWNER), "isCreatedByUser": True, "sender": "User", "text": text, "endpoint": "openAI",
        "createdAt": DatetimeMS(1_704_067_200_000 + number), "updatedAt": DatetimeMS(1_704_067_200_000 + number),
    }  # fmt: skip


def documents(messages: int) -> dict[str, list[bytes]]:
    """A user, a conversation and messages."""
    made = {
        "users": [{"_id": OWNER, "email": "owner@x.example", "name": "Owner"}],
        "conversations": [{"_id": ObjectId(b"talk".rjust(12)), "conversationId": TALK, "user": str(OWNER)}],
        "messages": [message(number, f"text {number}") for number in range(messages)],
        "settings": [{"_id": number} for number in range(3)],
    }
    return {name: [bson.encode(each) for each in some] for name, some in made.items()}


@dataclass
class Application:
    """Writes at a steady rate in a thread. `acknowledged`: message → text, None for a deleted one."""

    url: str
    postgres: str
    folder: Path
    rate: float
    first: int
    route_file: str = "route"
    acknowledged: dict[str, str | None] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)
    longest: float = 0.0  # seconds between two writes

    def __post_init__(self) -> None:
        self._route, self._idle = self.folder / self.route_file, self.folder / "idle"
        self._ended = threading.Event()
        self._chance = random.Random(self.first)
        self._next, self._own = self.first, list[int]()
        self._last = 0.0
        self._route.write_text(MONGO)

    @property
    def hooks(self) -> dict[str, Any]:
        """The section [cutover] that stops, resumes and moves this application."""
        stop = f"rm -f {self._idle}; echo {STOPPED} > {self._route}; until [ -e {self._idle} ]; do sleep 0.005; done"
        there = f'[ "$MIGRATE_DIRECTION" = forward ] && W="{MONGO} {POSTGRES}" || W="{POSTGRES} {MONGO}"; set -- $W;'
        return {
            "stop_writes": "hook",
            "stop_hook": stop,
            "resume_hook": f"{there} echo $1 > {self._route}",
            "switch_hook": f"{there} echo $2 > {self._route}",
        }

    @property
    def route(self) -> str:
        return self._route.read_text().strip()

    @contextmanager
    def writing(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join(30)
        if self.errors:
            raise self.errors[0]

    def wait_writes(self, count: int, seconds: float = 20) -> None:
        """Waits for so many more writes."""
        end, wanted = time.monotonic() + seconds, self.writes + count
        while self.writes < wanted:
            assert time.monotonic() < end, f"{self.writes} writes, not {wanted}; the application writes to {self.route}"
            assert not self.errors, self.errors
            time.sleep(0.01)

    @property
    def writes(self) -> int:
        return self._next - self.first

    def _run(self) -> None:
        try:
            with (
                MongoClient[Any](self.url, retryWrites=False) as client,
                psycopg.connect(self.postgres, autocommit=True) as connection,
            ):
                due = time.monotonic()
                while not self._ended.is_set():
                    route = self.route
                    if route not in (MONGO, POSTGRES):
                        if route == STOPPED:
                            self._idle.touch()
                        time.sleep(0.002)
                        due = time.monotonic()
                        continue
                    with suppress(FileNotFoundError):
                        self._idle.unlink()
                    self._write(client[DATABASE]["messages"] if route == MONGO else connection)
                    now = time.monotonic()
                    self.longest = max(self.longest, now - self._last if self._last else 0.0)
                    self._last = now
                    due = max(due + 1 / self.rate, now - 0.2)
                    time.sleep(max(0.0, due - now))
        except BaseException as error:  # noqa: BLE001 - raised in the test
            self.errors.append(error)

    def _write(self, there: Any) -> None:
        """Inserts, updates or deletes a message of its own."""
        number, kind = self._next, self._chance.random()
        old = self._chance.choice(self._own) if self._own else None
        write = _write_postgres if isinstance(there, psycopg.Connection) else _write_mongo
        if old is None or kind < 0.5:
            write(there, number, f"new {number}", "insert")
            self.acknowledged[message_id(number)] = f"new {number}"
            self._own.append(number)
        elif kind < 0.9:
            write(there, old, f"changed {number}", "update")
            self.acknowledged[message_id(old)] = f"changed {number}"
        else:
            write(there, old, "", "delete")
            self.acknowledged[message_id(old)] = None
            self._own.remove(old)
        self._next += 1

    # --- the checker -------------------------------------------------------------------------------------------------

    def lost_in_mongo(self) -> dict[str, Any]:
        """The acknowledged writes that MongoDB does not have: message → (acknowledged, found)."""
        with MongoClient[Any](self.url) as client:
            found = {each["messageId"]: each["text"] for each in client[DATABASE]["messages"].find()}
        return self._lost(found)

    def lost_in_postgres(self) -> dict[str, Any]:
        """The acknowledged writes that PostgreSQL does not have."""
        with psycopg.connect(self.postgres) as connection:
            found: dict[str, str] = dict(connection.execute("SELECT id::text, content FROM messages").fetchall())
        return self._lost(found)

    def _lost(self, found: dict[str, str]) -> dict[str, Any]:
        return {key: (text, found.get(key)) for key, text in self.acknowledged.items() if found.get(key) != text}


def _write_mongo(collection: Any, number: int, text: str, kind: str) -> None:
    if kind == "insert":
        collection.insert_one(message(number, text))
        return
    chosen = {"messageId": message_id(number)}
    found = collection.find_one({"_id": message(number, "")["_id"]}, {"_id": 1})  # others were born in PostgreSQL
    chosen = chosen if found is None else found
    if kind == "update":
        assert collection.update_one(chosen, {"$set": {"text": text}}).matched_count == 1, number
    else:
        assert collection.delete_one(chosen).deleted_count == 1, number


def _write_postgres(connection: psycopg.Connection[Any], number: int, text: str, kind: str) -> None:
    """Writes a message, and what its conversation tells of the latest one, as the run does."""
    with connection.transaction():
        _write_row(connection, number, text, kind)
        connection.execute("UPDATE conversations SET last_message_at = (SELECT max(created_at) FROM messages)")


def _write_row(connection: psycopg.Connection[Any], number: int, text: str, kind: str) -> None:
    if kind == "insert":
        connection.execute(
            "INSERT INTO messages (id, conversation_id, tenant_id, content, role, created_at)"
            " SELECT %s, id, tenant_id, %s, 'user', date_trunc('milliseconds', now()) FROM conversations LIMIT 1",
            (message_id(number), text),
        )
    elif kind == "update":
        query = "UPDATE messages SET content = %s, updated_at = now() WHERE id = %s"
        assert connection.execute(query, (text, message_id(number))).rowcount == 1, number
    else:
        assert connection.execute("DELETE FROM messages WHERE id = %s", (message_id(number),)).rowcount == 1, number


def configure(folder: Path, url: str, database: str, cutover: dict[str, Any]) -> Path:
    settings = {"engine": {"workers": 1}, "source": {"database": DATABASE}, "cutover": cutover}
    return write_config(folder / "migrate.toml", url, database, settings)


def prepare(url: str, config: Path, messages: int, ttl: int = 0) -> None:
    """Loads a new source, and verifies it, so that a cutover may follow. `ttl`: of an index that deletes nothing."""
    fill(url, DATABASE, documents(messages))
    if ttl:
        with MongoClient[Any](url) as client:
            client[DATABASE]["settings"].create_index("at", expireAfterSeconds=ttl)
    ran = call("run", "--follow", "--until-caught-up", "-c", config, "--json")
    assert ran.code == 0, ran.told
    proof = call("verify", "--level", "roundtrip", "-c", config, "--json")
    assert proof.code == 0, proof.told


def dump_schema(url: str) -> str:
    """The schema of the application's tables, as pg_dump writes it."""
    command = [str(program_path("pg_dump")), "--dbname", url, "--schema-only", "--schema", "public"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


@contextmanager
def held_at(database: str, step: str) -> Iterator[Callable[[], None]]:
    """Lets a cutover wait before a step in the block. Yields what waits until it has come there."""
    with psycopg.connect(database, autocommit=True) as gate:
        gate.execute(GATE)
        gate.execute("SELECT pg_advisory_lock(%s)", (KEY,))
        gate.execute(
            "CREATE TRIGGER gate BEFORE INSERT ON migrator.cutover_steps FOR EACH ROW WHEN (new.step = "
            + sql.Literal(step).as_string(gate)
            + ") EXECUTE FUNCTION gates.wait()"
        )

        def wait() -> None:
            query = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
            end = time.monotonic() + 30
            while gate.execute(query, (KEY,)).fetchone() is None:
                assert time.monotonic() < end, f"no cutover came to {step!r}"
                time.sleep(0.01)

        try:
            yield wait
        finally:
            gate.execute("SELECT pg_advisory_unlock(%s)", (KEY,))
        wait_unlocked(gate, COMPARE_KEY)
        gate.execute("DROP SCHEMA gates CASCADE")


def wait_unlocked(connection: psycopg.Connection[Any], key: int) -> None:
    """Waits until no session holds a lock: a server notices only after a while that a killed client is gone."""
    query = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = %s"
    end = time.monotonic() + 30
    while connection.execute(query, (key,)).fetchone() is not None:
        assert time.monotonic() < end, f"lock {key} was not released"
        time.sleep(0.02)
