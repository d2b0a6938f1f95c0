"""Random changes of an application that moves between MongoDB and PostgreSQL, for `stations`."""

from __future__ import annotations

import random
from typing import Any
from uuid import UUID

from bson import ObjectId
from psycopg import sql
from pymongo import MongoClient
from pymongo.database import Database

from tests.application_rows import NEW_CONVERSATION, NEW_MESSAGE, change_randomly
from tests.reverse_rig import Switched


def change_rows(rig: Switched, chance: random.Random, number: int) -> None:
    """Makes one change in PostgreSQL as the application could."""
    run = rig.connection.execute

    def pick(table: str) -> Any:
        query = sql.SQL("SELECT id FROM {} ORDER BY md5(id::text || %s) LIMIT 1").format(sql.Identifier(table))
        return (run(query, (str(chance.random()),)).fetchone() or (None,))[0]

    user = pick("users")
    (tenant,) = rig.read("SELECT id FROM tenants LIMIT 1")
    new = UUID(int=chance.getrandbits(128), version=4)
    match chance.randrange(15):
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
        case 7:
            values = (chance.choice(["openai", "anthropic", "google"]), f"model {number}", pick("agents"))
            run("UPDATE agents SET provider = %s, model = %s WHERE id = %s", values)
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
        made = UUID(int=chance.getrandbits(128), version=4)
        new = str(made)
        own: dict[str, dict[str, Any]] = {
            "users": {"email": f"{made.hex}@example.com", "username": made.hex},
            "conversations": {"conversationId": new, "messages": []},
            "messages": {"messageId": new, "children": []},
            "transactions": {"stripeSessionId": new},
        }
        objectid = ObjectId(chance.getrandbits(96).to_bytes(12, "big"))
        self._database[name].insert_one({**raw, **own.get(name, {}), "_id": objectid})

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
