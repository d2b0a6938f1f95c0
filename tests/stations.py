"""The way of an application from MongoDB to PostgreSQL, back, and there again, with random changes on each side.

At each station the two databases must agree. Forward, the target is what a new run on the source makes, except by
design: rows that the application created in PostgreSQL keep their IDs, and values that no document can hold stay.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from bson import ObjectId
from psycopg import sql
from pymongo import MongoClient
from pymongo.database import Database

from migrator.commands import context as commands
from tests.application_rows import NEW_CONVERSATION, NEW_MESSAGE, change_randomly
from tests.driving import RECORDS, Answer, call
from tests.mongo import fill
from tests.reverse_rig import Switched
from tests.scenarios import write_config

HOOKS = {"stop_writes": "hook", "stop_hook": "true", "resume_hook": "true", "switch_hook": "true"}
DERIVED = "last_message_at"  # follows from dates whose part below a millisecond is in no document
Found = dict[str, dict[str, Any]]  # table or record → key → values


@dataclass
class Journey(Switched):
    """A followed target. `fresh`: the URL of an empty database for runs to compare with."""

    fresh: str

    def cut_over(self, *options: str) -> Answer:
        """Switches the application, after a full verification without a difference."""
        if "--back" not in options:
            self.verify()
        answer = call("cutover", "--yes", "-c", self.config, "--json", *options)
        assert answer.code == 0, answer.told
        return answer

    def verify(self) -> None:
        answer = call("verify", "-c", self.config, "--level", "roundtrip", "--json")
        failed = [each for each in answer.json.get("checks", ()) if not each["ok"]]
        assert not failed, [(each["check"], each["table"], each["examples"]) for each in failed]
        assert answer.code == 0, answer.told

    def assert_equals_run(self, what: object) -> None:
        """The target is what a new run on the source makes."""
        settings = {"engine": {"workers": 1}, "source": {"database": self.name}}
        config = write_config(self.config.with_name("fresh.toml"), self.url, self.fresh, settings)
        ran = call("run", "-c", config, "--json")
        assert ran.code == 0, ran.told
        given = self._given_ids()
        kept = self._unreturned(given)
        found, expected = read_found(self.target, given), read_found(self.fresh, {})
        for name, rows in expected.items():
            here = found[name]
            missing, extra = sorted(rows.keys() - here.keys()), sorted(here.keys() - rows.keys())
            assert (missing, extra) == ([], []), (what, name, missing[:5], extra[:5])
            for key, row in rows.items():
                differing = {
                    column: (here[key][column], value)
                    for column, value in row.items()
                    if here[key][column] != value and (name, key, column) not in kept
                }
                assert differing == {}, (what, name, key, differing)
        assert call("revert", "--yes", "-c", config).code == 0

    def _given_ids(self) -> dict[str, str]:
        query = "SELECT target_id, original_id FROM migrator.given_ids"
        return dict(self.connection.execute(query).fetchall())

    def _unreturned(self, given: dict[str, str]) -> set[tuple[str, str, str]]:
        tables = {name: mapping.table.name for name, mapping in self.context.definition.mappings.items()}
        query = "SELECT collection, target_id, column_name FROM migrator.unreturned"
        rows = self.connection.execute(query).fetchall()
        return {(tables[name], given.get(row_id, row_id), column) for name, row_id, column in rows}


def read_found(url: str, given: dict[str, str]) -> Found:
    """Returns all rows and records of documents, with the IDs that follow from the documents."""
    found: Found = {}

    def plain(text: str) -> str:
        for row_id, original in given.items():
            text = text.replace(row_id, original)
        return text

    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'tenants' ORDER BY 1"
        for (name,) in connection.execute(query).fetchall():
            rows = [json.loads(plain(text)) for (text,) in connection.execute(
                sql.SQL("SELECT to_jsonb(t)::text FROM {} t").format(sql.Identifier(name)))]  # fmt: skip
            for row in rows:
                if row.get(DERIVED):
                    second, _, fraction = row[DERIVED].partition(".")
                    row[DERIVED] = f"{second}.{fraction:0<3.3}"
            found[name] = {row["id"]: row for row in rows}
        for name, columns in RECORDS.items():
            # Residues depend on IDs and values that differ; the documents are compared as a whole.
            chosen = ", ".join(each for each in columns.split(", ") if each not in ("residue", "document"))
            texts = connection.execute(
                sql.SQL("SELECT t::text FROM (SELECT {} FROM {}) t").format(
                    sql.SQL(chosen), sql.Identifier("migrator", name)
                )
            )
            found[f"migrator.{name}"] = {plain(text): {} for (text,) in texts}
    return found


@contextmanager
def journey(
    url: str, name: str, target: str, fresh: str, folder: Path, documents: dict[str, list[bytes]]
) -> Iterator[Journey]:
    """Migrates documents from MongoDB to a target that follows."""
    fill(url, name, documents)
    settings = {"engine": {"workers": 1}, "cutover": HOOKS, "source": {"database": name}}
    config = write_config(folder / "journey.toml", url, target, settings)
    answer = call("run", "--follow", "--until-caught-up", "-c", config, "--json")
    assert answer.code == 0, answer.told
    commands.consoles.clear()
    session = commands.open_session(config, True, False, True)
    with session.source() as source, psycopg.connect(target, autocommit=True) as connection:
        yield Journey(url, name, target, config, connection, session.migration(source), fresh)


# --- changes ---------------------------------------------------------------------------------------------------------


def change_rows(rig: Switched, chance: random.Random, number: int) -> None:
    """Makes one change in PostgreSQL as the application could."""
    run = rig.connection.execute

    def pick(table: str) -> Any:
        query = sql.SQL("SELECT id FROM {} ORDER BY md5(id::text || %s) LIMIT 1").format(sql.Identifier(table))
        return (run(query, (str(chance.random()),)).fetchone() or (None,))[0]

    user = pick("users")
    (tenant,) = rig.read("SELECT id FROM tenants LIMIT 1")
    new = UUID(int=chance.getrandbits(128), version=4)
    match chance.randrange(14):
        case 0:
            run(
                "INSERT INTO users (id, tenant_id, email, name, role, created_at)"
                " VALUES (%s, %s, %s, 'New', 'user', now())",
                (new, tenant, f"{new.hex}@example.com"),
            )
            talk = run(NEW_CONVERSATION, (tenant, new)).fetchone()
            run(NEW_MESSAGE, (tenant, talk and talk[0], None, "First", "user"))
        case 1:
            run(
                "INSERT INTO memories (id, tenant_id, user_id, key, value) VALUES (%s, %s, %s, %s, 'tea')",
                (new, tenant, user, f"key {number}"),
            )
        case 2:
            run(
                "INSERT INTO transactions (id, tenant_id, user_id, amount, status, type)"
                " VALUES (%s, %s, %s, 100, 'completed', 'one_time')",
                (new, tenant, user),
            )
        case 3:
            run(
                "INSERT INTO modules (id, tenant_id, course_id, title)"
                " SELECT %s, %s, id, 'N' FROM courses WHERE id = %s",
                (new, tenant, pick("courses")),
            )
            run("UPDATE modules SET title = %s WHERE id = %s", (f"M{number}", pick("modules")))
        case 4:
            run(
                "INSERT INTO courses (id, tenant_id, title, instructor) VALUES (%s, %s, %s, 'Somebody')",
                (new, tenant, f"Course {number}"),
            )
        case 5:
            run("UPDATE users SET name = %s, email = %s WHERE id = %s", (f"N{number}", f"{new.hex}@e.example", user))
            run("UPDATE memories SET value = value || '!' WHERE user_id = %s", (user,))
        case 6:
            run("DELETE FROM memories WHERE id = %s", (pick("memories"),))
            run("DELETE FROM transactions WHERE id = %s", (pick("transactions"),))
        case _:
            change_randomly(rig, chance, 50)


class SourceChanges:
    """Changes of documents in MongoDB, as the application could make them, and a few that it should not."""

    def __init__(self, url: str, name: str) -> None:
        self._client = MongoClient[dict[str, Any]](url, retryWrites=False)
        self._database: Database[dict[str, Any]] = self._client[name]

    def close(self) -> None:
        self._client.close()

    def change(self, chance: random.Random, number: int) -> None:
        database = self._database
        name = chance.choice(
            [*["messages"] * 5, *["conversations"] * 3, "users", "users", "memoryentries", "transactions", "courses",
             "modules"]
        )  # fmt: skip
        chosen, kind = self._pick(name, chance), chance.random()
        if chosen is None:
            return
        if kind < 0.12:
            database[name].delete_one({"_id": chosen})
        elif kind < 0.3:
            self._copy(name, chosen, chance, number)
        else:
            database[name].update_one({"_id": chosen}, self._update(name, chance, number))

    def _pick(self, name: str, chance: random.Random) -> Any:
        found = sorted((each["_id"] for each in self._database[name].find({}, {"_id": 1})), key=repr)
        return chance.choice(found) if found else None

    def _value(self, name: str, field: str, chance: random.Random) -> Any:
        found = self._database[name].find_one({"_id": self._pick(name, chance)}, {field: 1})
        return (found or {}).get(field)

    def _copy(self, name: str, chosen: Any, chance: random.Random, number: int) -> None:
        """Inserts a document like another one. Raw, so that values are kept that the driver would convert."""
        raw = self._client.get_database(self._database.name)[name].find_one({"_id": chosen})
        assert raw is not None  # nobody else deletes documents
        new = str(UUID(int=chance.getrandbits(128), version=4))
        own: dict[str, dict[str, Any]] = {
            "users": {"email": f"{new}@example.com", "username": new},
            "conversations": {"conversationId": new, "messages": []},
            "messages": {"messageId": new, "children": []},
            "transactions": {"stripeSessionId": new},
        }
        made = ObjectId(chance.getrandbits(96).to_bytes(12, "big"))
        self._database[name].insert_one({**raw, **own.get(name, {}), "_id": made})

    def _update(self, name: str, chance: random.Random, number: int) -> dict[str, Any]:
        users = str(self._pick("users", chance))
        talk = self._value("conversations", "conversationId", chance)
        match name:
            case "users":
                choices = [{"name": f"S{number}"}, {"email": f"s{number}@example.com"}, {"email": None}]
                choices.append({"email": self._value("users", "email", chance)})
            case "conversations":
                choices = [{"title": f"S{number}"}, {"user": users}, {"user": str(ObjectId())}, {"endpoint": "google"}]
            case "messages":
                parent = self._value("messages", "messageId", chance)
                choices = [
                    {"text": f"S{number}"}, {"text": f"T{number}"}, {"conversationId": talk},
                    {"parentMessageId": parent}, {"user": users},
                ]  # fmt: skip
            case "memoryentries":
                choices = [{"value": f"S{number}"}]
            case "transactions":
                choices = [{"amount": number}, {"status": "refunded"}]
            case "modules":
                choices = [{"title": f"S{number}"}, {"courseId": self._pick("courses", chance)}]
            case _:
                choices = [{"title": f"S{number}"}]
        return {"$set": chance.choice(choices)}
