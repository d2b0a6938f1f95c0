"""Returning changes is interrupted, or MongoDB is not as expected: nothing is lost, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from migrator.documents.codec import decode
from migrator.errors import StoppedError
from migrator.reversing.returner import Returner
from migrator.sources.live_writer import LiveWriter
from migrator.workflows.returning import ReturnCounts, drain, open_returner
from migrator.workflows.reverse import remove_reverse
from tests import mongo
from tests.driving import call
from tests.reverse_rig import FIXTURES, NAMESPACE, Switched, read_dump, switched

pytestmark = pytest.mark.usefixtures("quick")


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def rig(live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> Iterator[Switched]:
    with switched(live_server.url, "faults", new_database(), tmp_path, read_dump(FIXTURES / "demo"), {}) as found:
        yield found


@contextmanager
def killed_after(rig: Switched, monkeypatch: pytest.MonkeyPatch, writes: int) -> Iterator[Returner]:
    """Gives a returner that ends after it has written to so many collections."""
    left = [writes]
    write = LiveWriter.write

    def write_some(self: LiveWriter, collection: str, documents: Mapping[bytes, bytes | None]) -> None:
        if not left[0]:
            raise KilledError
        left[0] -= 1
        write(self, collection, documents)

    with monkeypatch.context() as patch, open_returner(rig.context, rig.connection, rig.target) as returner:
        patch.setattr(LiveWriter, "write", write_some)
        yield returner


def change(rig: Switched, number: int) -> None:
    """Changes rows of several tables, creates some and deletes some."""
    run = rig.connection.execute
    run("UPDATE users SET name = name || %s", (str(number),))
    run("UPDATE conversations SET title = title || %s", (str(number),))
    run("UPDATE messages SET content = content || %s WHERE role = 'user'", (str(number),))
    run(
        "INSERT INTO messages (tenant_id, conversation_id, content, role, provider) SELECT tenant_id, id, 'new',"
        " 'user', 'openai' FROM conversations"
    )
    run("DELETE FROM memories WHERE id IN (SELECT id FROM memories ORDER BY id LIMIT 1)")


@pytest.mark.parametrize("writes", [0, *(pytest.param(number, marks=pytest.mark.long) for number in (1, 2)), 3])
def test_killed_after_some_writes(writes: int, rig: Switched, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before the end is no conflict, also if its row has changed again."""
    change(rig, 1)
    with killed_after(rig, monkeypatch, writes) as returner, pytest.raises(KilledError):
        drain(returner)
    change(rig, 2)
    assert rig.back()["conflicts"] == 0
    rig.assert_same()
    assert rig.read("SELECT count(*) FROM migrator.intended") == (0,)


def end_before_record(rig: Switched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the process end when it has written all documents, before it records that."""

    def end(*arguments: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch, open_returner(rig.context, rig.connection, rig.target) as returner:
        patch.setattr(Returner, "_record", end)
        with pytest.raises(KilledError):
            drain(returner)


def test_killed_before_the_record(rig: Switched, monkeypatch: pytest.MonkeyPatch) -> None:
    """All documents were written, and deleted again by the application since."""
    change(rig, 1)
    end_before_record(rig, monkeypatch)
    rig.connection.execute("DELETE FROM messages WHERE content = 'new'")
    assert rig.back()["conflicts"] == 0
    rig.assert_same()


def test_changed_back_after_a_kill(rig: Switched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document was written, and then its row became again what it was: it must be written again."""
    run = rig.connection.execute
    run("UPDATE users SET name = name || '!'")
    (talk,) = rig.read("SELECT id FROM conversations ORDER BY id LIMIT 1")
    (new,) = rig.read(
        "INSERT INTO messages (tenant_id, conversation_id, content, role, provider) SELECT tenant_id, id, 'new',"
        " 'user', 'openai' FROM conversations WHERE id = %s RETURNING id",
        talk,
    )
    end_before_record(rig, monkeypatch)
    run("UPDATE users SET name = rtrim(name, '!')")
    run("DELETE FROM messages WHERE id = %s", (new,))
    assert rig.back()["conflicts"] == 0
    rig.assert_same()


def test_conflict(rig: Switched) -> None:
    """Somebody has changed and deleted documents in MongoDB: they are kept, also after the end, and the rows win."""
    change(rig, 1)
    with MongoClient[dict[str, Any]](rig.url) as client:
        users = client[rig.name]["users"]
        first = users.find_one({})
        users.update_one({"_id": (first or {})["_id"]}, {"$set": {"name": "Somebody else"}})
        client[rig.name]["conversations"].delete_one({})
    assert rig.back()["conflicts"] == 2
    rig.assert_same()
    remove_reverse(rig.connection, NAMESPACE)
    found = rig.connection.execute("SELECT collection, document IS NULL FROM migrator.conflicts ORDER BY 1").fetchall()
    assert found == [("conversations", True), ("users", False)]


def test_conflict_that_stops(live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> None:
    """With `on_conflict = "stop"` nothing is written until somebody has decided; `status` shows what waits."""
    settings = {"cutover": {"on_conflict": "stop"}}
    documents = read_dump(FIXTURES / "demo")
    with switched(live_server.url, "stop", new_database(), tmp_path, documents, settings) as rig:
        change(rig, 1)
        with MongoClient[dict[str, Any]](rig.url) as client:
            client[rig.name]["users"].update_many({}, {"$set": {"name": "Somebody else"}})
        before = rig.documents("conversations")
        answer = call("follow", "-c", rig.config, "--until-caught-up")
        assert answer.code == StoppedError.exit_code, answer.told
        assert rig.documents("conversations") == before
        found = call("status", "-c", rig.config, "--json").json["follow"]["returning"]
        assert found["waiting"] > 0
        assert (found["conflicts"], found["unreturned"]) == (0, 0)
        assert f"{found['waiting']} rows waiting" in call("status", "-c", rig.config).told


def test_exchanged_unique_values(rig: Switched) -> None:
    """Two users exchange their addresses, and MongoDB has a unique index on them."""
    with MongoClient[dict[str, Any]](rig.url) as client:
        client[rig.name]["users"].create_index("email", unique=True)
    query = "SELECT id, email FROM users ORDER BY id LIMIT 2"
    (one, first), (other, second) = rig.connection.execute(query).fetchall()
    with rig.connection.transaction():
        for row_id, email in ((one, "-"), (other, first), (one, second)):
            rig.connection.execute("UPDATE users SET email = %s WHERE id = %s", (email, row_id))
    rig.back()
    rig.assert_same()


def test_values_that_no_document_can_hold(rig: Switched) -> None:
    """JSON of another shape, and numbers that BSON has no type for, stay in the row; all other columns come back."""
    run = rig.connection.execute
    run("UPDATE users SET preferences = '{\"n\": 1e400}', name = 'Changed'")
    run("UPDATE conversations SET parameters = '[1, 2]', title = 'Changed'")
    run("UPDATE agents SET parameters = '[1]', tool_resources = '\"x\"', description = 'Changed'")
    run("UPDATE files SET metadata = '\"x\"', mime_type = 'changed/x'")
    run(
        "INSERT INTO users (tenant_id, email, preferences) SELECT tenant_id, 'n@example.com', '{\"n\": 1e400}'"
        " FROM users LIMIT 1"
    )
    rig.back()
    rig.assert_same()
    left = rig.unreturned()
    for name, column in (("users", "preferences"), ("conversations", "parameters"), ("agents", "parameters")):
        assert left[name, column] == len(rig.documents(name)), (name, column)
    for name, field, value in (("users", "name", "Changed"), ("conversations", "title", "Changed")):
        values = [decode(raw).get(field) for raw in rig.documents(name).values()]
        assert values.count(value) >= len(values) - 1
    run("UPDATE users SET preferences = NULL")
    run("UPDATE conversations SET parameters = NULL")
    run("UPDATE agents SET parameters = NULL, tool_resources = NULL")
    run("UPDATE files SET metadata = NULL")
    rig.back()
    rig.assert_same("again")
    assert rig.unreturned() == {}


def test_truncated_table(rig: Switched) -> None:
    rig.connection.execute("TRUNCATE memories")
    rig.back()
    rig.assert_same()
    assert rig.documents("memoryentries") == {}


def test_disabled_trigger(rig: Switched) -> None:
    """Without the trigger changes would be lost, so returning does not begin."""
    rig.connection.execute("ALTER TABLE messages DISABLE TRIGGER migrate_capture")
    answer = call("follow", "-c", rig.config, "--until-caught-up")
    assert answer.code == StoppedError.exit_code
    assert "messages" in answer.told


def test_changed_tables(rig: Switched) -> None:
    """A new column is named; without a mapped one, changes wait until it is there again."""
    run = rig.connection.execute
    run("ALTER TABLE users ADD COLUMN nickname text")
    change(rig, 1)
    answer = call("follow", "-c", rig.config, "--until-caught-up")
    assert answer.code == 0, answer.told
    assert "nickname" in answer.told
    run("ALTER TABLE users RENAME COLUMN username TO login")
    change(rig, 2)
    answer = call("follow", "-c", rig.config, "--until-caught-up")
    assert answer.code == StoppedError.exit_code
    assert "username" in answer.told
    run("ALTER TABLE users RENAME COLUMN login TO username")
    rig.back()
    rig.assert_same()


def test_privileges_of_the_application(rig: Switched) -> None:
    """The application's role has no rights on the records, and need not."""
    run = rig.connection.execute
    run("DROP ROLE IF EXISTS only_rows")
    run("CREATE ROLE only_rows")
    run("GRANT UPDATE, SELECT ON messages TO only_rows")
    run("ALTER TABLE messages DISABLE ROW LEVEL SECURITY")
    with rig.connection.transaction():
        run("SET LOCAL ROLE only_rows")
        run("UPDATE messages SET content = 'x'")
    run("REVOKE ALL ON messages FROM only_rows")
    run("DROP ROLE only_rows")
    rig.back()
    rig.assert_same()


def test_nothing_is_written_twice(rig: Switched) -> None:
    """Rows that did not really change write nothing."""
    rig.connection.execute("UPDATE messages SET content = content")
    with open_returner(rig.context, rig.connection, rig.target) as returner:
        counts = drain(returner, ReturnCounts())
    assert counts.changes > 0
    assert counts.documents == 0
