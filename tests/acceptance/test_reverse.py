"""After the switch, what the application changes in PostgreSQL comes back to MongoDB."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from pymongo import MongoClient

from migrator.documents.codec import decode
from migrator.reversing.capture import captured
from migrator.reversing.rehearsal import change_columns
from migrator.rows.rebuild import read_loaded
from migrator.rows.update import update_row
from migrator.workflows import returning
from migrator.workflows.pipeline import Pipeline
from migrator.workflows.plan import rehearse_return
from tests import mongo
from tests.application_rows import (
    NEW_CONVERSATION,
    NEW_COURSE,
    NEW_MEMORY,
    NEW_MESSAGE,
    NEW_MODULE,
    NEW_TRANSACTION,
    NEW_USER,
    NEWEST,
    change_randomly,
)
from tests.driving import call
from tests.reverse_rig import FIXTURES, Switched, read_dump, switched

TABLES = ("users", "files", "agents", "conversations", "messages", "memories", "transactions", "courses", "modules")

pytestmark = pytest.mark.usefixtures("quick")


def change_every_column(
    rig: Switched, rows: int, skipped: frozenset[tuple[str, str]] = frozenset()
) -> dict[tuple[str, str], int]:
    """Changes each column once, in another row of each table as long as there are some."""
    changed: dict[tuple[str, str], int] = {}
    for collection in captured(rig.context.definition.mappings.values()):
        loaded = [row for _, row, _ in read_loaded(rig.rows, collection)]
        for number, row in enumerate(loaded[:rows]):
            choices = list(change_columns(collection, row, loaded))
            name, change = choices[number % len(choices)]
            if (collection.name, name) in skipped:
                continue
            value = change[name]
            if name in collection.unique:
                value = f"{value}{number}"
            update_row(rig.rows, collection, row[collection.key.column], {name: value})
            changed[collection.name, name] = changed.get((collection.name, name), 0) + 1
    return changed


@pytest.mark.parametrize("fixture", ["demo", pytest.param("librechat", marks=pytest.mark.long)])
def test_every_column(fixture: str, live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Each column of each table changes: MongoDB has what PostgreSQL rebuilds; only what `plan` names is missing."""
    documents = read_dump(FIXTURES / fixture)
    with switched(live_server.url, f"columns_{fixture}", new_database(), tmp_path, documents, {}) as rig:
        rig.assert_same("before")
        pipeline = Pipeline(context=rig.context, connection=rig.connection, dsn=rig.target)
        announced = {(each.collection, name) for each in rehearse_return(pipeline, 1000) for name in each.lost}
        changed = change_every_column(rig, 100)
        report = rig.back()
        assert report["waiting"] == 0
        assert report["conflicts"] == 0
        rig.assert_same(changed)
        assert set(rig.unreturned()) - announced == set()


def test_new_and_deleted_rows(live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> None:
    """The application creates rows with IDs of PostgreSQL, and deletes others with all that belongs to them."""
    documents = read_dump(FIXTURES / "demo")
    with switched(live_server.url, "born", new_database(), tmp_path, documents, {}) as rig:
        run = rig.connection.execute
        user, tenant = rig.read(NEW_USER)
        (conversation,) = rig.read(NEW_CONVERSATION, tenant, user)
        (first,) = rig.read(NEW_MESSAGE, tenant, conversation, None, "Hello", "user")
        run(NEW_MESSAGE, (tenant, conversation, first, "Hello, too", "assistant"))
        (old,) = rig.read("SELECT conversation_id FROM messages ORDER BY id LIMIT 1")
        run(NEW_MESSAGE, (tenant, old, None, "More", "user"))
        (gone,) = rig.read("SELECT id FROM conversations WHERE id <> ALL(%s) ORDER BY id LIMIT 1", [old, conversation])
        run("UPDATE messages SET parent_id = NULL WHERE conversation_id = %s", (gone,))
        run("DELETE FROM conversations WHERE id = %s", (gone,))
        run(NEWEST)
        rig.back()
        rig.assert_same()
        assert rig.unreturned() == {}
        users = {raw: decode(raw) for raw in rig.documents("users").values()}
        new = next(each for each in users.values() if each["email"] == "new@example.com")
        talk = next(e for raw in rig.documents("conversations").values() if (e := decode(raw))["title"] == "New")
        assert talk["user"] == str(new["_id"])
        assert len(talk["messages"]) == 2
        found = [decode(raw) for raw in rig.documents("messages").values()]
        mine = [each for each in found if each["_id"] in talk["messages"]]
        asked, answer = sorted(mine, key=lambda each: each["sender"] != "User")
        assert (asked["text"], asked["user"], answer["parentMessageId"]) == ("Hello", str(new["_id"]), str(first))
        run("UPDATE users SET name = 'Newer' WHERE id = %s", (user,))
        run("UPDATE conversations SET title = 'Newer' WHERE id = %s", (conversation,))
        rig.back()
        rig.assert_same("again")
        run("DELETE FROM users WHERE id = %s", (user,))
        rig.back()
        rig.assert_same("deleted")
        assert len(rig.documents("users")) == len(users) - 1


# Documents of conversations get the provider and the model of their agent, whose name is in no foreign key.
LOOKED_UP = frozenset({("agents", "provider"), ("agents", "model")})

# A run would not keep the other ones, and `verify` reports them.
VALID_PARENTS = """
    UPDATE messages m SET parent_id = NULL FROM messages p
     WHERE m.parent_id = p.id
       AND (p.conversation_id <> m.conversation_id OR (p.created_at, p.id) >= (m.created_at, m.id))
"""


# A date that the application has not chosen follows from the messages.
UNCHANGED_NEWEST = """
    UPDATE conversations c SET last_message_at = (SELECT max(created_at) FROM messages WHERE conversation_id = c.id)
      FROM loaded l WHERE l.id = c.id AND l.last_message_at IS NOT DISTINCT FROM c.last_message_at
"""


def read_rows(url: str) -> dict[str, list[str]]:
    with psycopg.connect(url) as connection:
        found = {}
        for table in TABLES:
            query = sql.SQL("SELECT t::text FROM {} t ORDER BY t.id").format(sql.Identifier(table))
            found[table] = [row[0] for row in connection.execute(query)]
    return found


@pytest.mark.parametrize("fixture", ["demo", pytest.param("librechat", marks=pytest.mark.long)])
def test_back_and_forth(
    fixture: str, live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path
) -> None:
    """After a switch back and following again, the rows are what the application has left, also where documents cannot
    hold it."""
    documents = read_dump(FIXTURES / fixture)
    with switched(live_server.url, f"forth_{fixture}", new_database(), tmp_path, documents, {}) as rig:
        rig.connection.execute("CREATE TEMP TABLE loaded AS SELECT id, last_message_at FROM conversations")
        change_every_column(rig, 60, LOOKED_UP)
        rig.connection.execute(VALID_PARENTS)
        rig.connection.execute(UNCHANGED_NEWEST)
        tenant, user = rig.read("SELECT tenant_id, id FROM users ORDER BY id LIMIT 1")
        (conversation,) = rig.read(NEW_CONVERSATION, tenant, user)
        rig.connection.execute(NEW_MESSAGE, (tenant, conversation, None, "Hello", "user"))
        rig.connection.execute(NEWEST + " WHERE c.id = %s", (conversation,))
        rig.back()
        rig.assert_same()
        before = read_rows(rig.target)
        rig.forward()
        rig.assert_same("forward")
        after = read_rows(rig.target)
        for table in TABLES:
            assert [pair for pair in zip(before[table], after[table], strict=True) if pair[0] != pair[1]] == [], table
        if fixture == "librechat":  # it takes seconds
            answer = call("verify", "-c", rig.config, "--level", "roundtrip", "--json")
            failed = [each for each in answer.json["checks"] if not each["ok"]]
            assert [(each["check"], each["table"], each["examples"]) for each in failed] == []


@pytest.mark.usefixtures("quick")
@pytest.mark.long  # the stations show it, too
def test_newest_message(live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> None:
    """The date of the newest message follows from the messages if the application does not keep it, also in the part
    below a millisecond; a date that the application has set stays. `verify` agrees."""
    with switched(live_server.url, "newest", new_database(), tmp_path, read_dump(FIXTURES / "demo"), {}) as rig:
        run = rig.connection.execute
        (tenant,) = rig.read("SELECT tenant_id FROM users LIMIT 1")
        kept, left, untouched = (row[0] for row in run("SELECT id FROM conversations ORDER BY id LIMIT 3"))
        for talk in (kept, left, untouched):
            run(NEW_MESSAGE, (tenant, talk, None, "Hello", "user"))
        run("UPDATE conversations SET title = 'Left' WHERE id = %s", (left,))
        chosen = "UPDATE conversations SET last_message_at = '2030-01-01 00:00:00.123456' WHERE id = %s"
        run(chosen, (kept,))
        rig.back()
        assert rig.unreturned() == {("conversations", "last_message_at"): 1}
        rig.forward()
        query = (
            "SELECT last_message_at = max(m.created_at) FROM conversations c JOIN messages m ON conversation_id = c.id"
        )
        found = [rig.read(f"{query} WHERE c.id = %s GROUP BY c.id", talk)[0] for talk in (left, untouched)]
        assert found == [True, True]
        assert rig.read("SELECT last_message_at::text FROM conversations WHERE id = %s", kept)[0].startswith("2030")
        answer = call("verify", "-c", rig.config, "--level", "roundtrip")
        assert answer.code == 0, answer.told


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 20))])
def test_random_changes_in_small_batches(
    seed: int,
    live_server: mongo.Server,
    new_database: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows that depend on each other change in any order, and come back a few at a time."""
    documents, chance = read_dump(FIXTURES / "demo"), random.Random(seed)
    monkeypatch.setattr(returning, "BATCH_CHANGES", chance.choice([1, 2, 5, 20]))
    with switched(live_server.url, f"small_{seed}", new_database(), tmp_path, documents, {}) as rig:
        for number in range(60):
            change_randomly(rig, chance, number)
            if number % 20 == 19:
                assert rig.back()["conflicts"] == 0, seed
                rig.assert_same((seed, number))


def test_ids_of_new_rows_stay(live_server: mongo.Server, new_database: Callable[[], str], tmp_path: Path) -> None:
    """Rows that the application created keep their IDs after a switch back: when their documents change, are set back
    by other changes, disappear and return, or are rejected meanwhile. New documents refer to them."""
    documents = read_dump(FIXTURES / "demo")
    with switched(live_server.url, "born_back", new_database(), tmp_path, documents, {}) as rig:
        user, tenant = rig.read(NEW_USER)
        (conversation,) = rig.read(NEW_CONVERSATION, tenant, user)
        rig.read(NEW_MESSAGE, tenant, conversation, None, "Hello", "user")
        (memory,) = rig.read(NEW_MEMORY, tenant, user)
        (spent,) = rig.read(NEW_TRANSACTION, tenant, user)
        (course,) = rig.read(NEW_COURSE, tenant)
        (module,) = rig.read(NEW_MODULE, tenant, course)
        rig.back()
        rig.assert_same()
        rig.forward()
        rig.assert_same("forward")
        born = {
            "users": (user, None), "memories": (memory, user), "transactions": (spent, user), "courses": (course, None),
            "modules": (module, course), "conversations": (conversation, user),
        }  # fmt: skip
        owners = {"memories": "user_id", "transactions": "user_id", "modules": "course_id", "conversations": "user_id"}

        def assert_there(what: str, *gone: str) -> None:
            rig.assert_same(what)
            for table, (row_id, owner) in born.items():
                query = sql.SQL("SELECT {} FROM {} WHERE id = %s").format(
                    sql.Identifier(owners[table]) if table in owners else sql.NULL, sql.Identifier(table)
                )
                found = rig.connection.execute(query, (row_id,)).fetchone()
                assert found == (None if table in gone else (owner,)), (what, table)

        assert_there("forward")
        with MongoClient[dict[str, Any]](rig.url) as client:
            there = client[rig.name]
            new = there["users"].find_one({"email": "new@example.com"})
            assert new is not None
            for name in ("users", "memoryentries", "transactions", "courses", "modules"):
                there[name].update_many({}, {"$set": {"extra": 1}})
            rig.follow()
            assert_there("changed")
            there["users"].update_one({"_id": new["_id"]}, {"$set": {"email": "newer@example.com"}})
            talk = there["conversations"].find_one({"conversationId": str(conversation)}, {"_id": 0}) or {}
            there["conversations"].insert_one({**talk, "conversationId": str(uuid4()), "messages": []})
            rig.follow()
            assert_there("set back")
            assert rig.read("SELECT count(*) FROM conversations WHERE user_id = %s", user) == (2,)
            there["users"].update_one({"_id": new["_id"]}, {"$unset": {"email": 1}})
            rig.follow()
            assert_there("rejected", "users", "memories", "transactions", "conversations")
            there["users"].update_one({"_id": new["_id"]}, {"$set": {"email": "newest@example.com"}})
            rig.follow()
            assert_there("loaded again")
            there["users"].delete_one({"_id": new["_id"]})
            rig.follow()
            assert_there("deleted", "users", "memories", "transactions", "conversations")
            there["users"].insert_one({**new, "email": "newest@example.com"})
            rig.follow()
            assert_there("here again")
        answer = call("verify", "-c", rig.config, "--level", "roundtrip", "--json")
        failed = [each for each in answer.json["checks"] if not each["ok"]]
        assert [(each["check"], each["table"], each["examples"]) for each in failed] == []
