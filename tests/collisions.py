"""Random databases whose documents share IDs: the same few values for every `_id`, ID and reference.

The values include texts that differ in case only, IDs that the migration derives from the `_id` of another document,
and `_id`s of many BSON types. Nothing here runs a command.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bson
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from migrator.documents.codec import CODEC_OPTIONS
from migrator.ids import uuid_of, uuid_text

Document = dict[str, Any]
NO_PARENT = "00000000-0000-0000-0000-000000000000"
START = 1_704_067_200_000  # ms since 1970
ABSENT = object()
ODD_IDS: tuple[Any, ...] = (
    1, Int64(1), 1.0, Decimal128("1"), -1, 2.5, "1", "", None, True, False, MinKey(), MaxKey(), DatetimeMS(START),
    Timestamp(1, 1), Binary(b"\x01"), Binary(b"\x01" * 16, 4), Regex("a", "i"), {"a": 1}, {"a": "1"}, "x",
    "64b000000000000000000001",
)  # fmt: skip


def objectid(number: int) -> ObjectId:
    """Return one of the few ObjectIds."""
    return ObjectId(f"64b0000000000000000000{number:02x}")


@dataclass(frozen=True, slots=True)
class Database:
    """Documents by collection, and settings for migrate.toml."""

    documents: dict[str, list[bytes]]
    settings: dict[str, Any]

    def shuffled(self, seed: int) -> Database:
        """Return the same documents in another order. Documents with the same `_id` may not change places."""
        dice = random.Random(seed)
        documents = {name: dice.sample(several, len(several)) for name, several in self.documents.items()}
        return Database(documents, self.settings)


class Generator:
    """Makes the documents of one database from one seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.used: dict[str, set[bytes]] = {}
        self.conversations = [self._id("c", number) for number in range(4)]
        self.messages = [self._id("a", number) for number in range(7)]
        # IDs that the migration derives from an `_id`: a document that asks for one meets a row that was renamed.
        self.conversations += [uuid_text(uuid_of("conversations", objectid(n))) for n in (3, 5)] + ["old", "OLD", ""]
        self.messages += [uuid_text(uuid_of("messages", objectid(n))) for n in (4, 9)] + ["m-1", "\0", str(objectid(1))]
        self.files = [self._id("f", number) for number in range(3)] + ["file-1", str(objectid(2)), 7]

    def _id(self, letter: str, number: int) -> str:
        text = f"{letter}0000000-0000-4000-8000-{number:012x}"
        return text.upper() if self.dice.random() < 0.2 else text

    def choose(self, *values: Any) -> Any:
        return self.dice.choice(values)

    def source_id(self, name: str) -> Any:
        """Return an `_id` that the collection does not have yet; rarely one that it has."""
        for _ in range(100):
            value = objectid(self.dice.randrange(40)) if self.dice.random() < 0.8 else self.choose(*ODD_IDS)
            data = bson.encode({"_id": value}, codec_options=CODEC_OPTIONS)
            if data not in self.used.setdefault(name, set()) or self.dice.random() < 0.005:
                break
        self.used[name].add(data)
        return value

    def make(self, name: str, **fields: Any) -> Document:
        """Return a document without the fields that are ABSENT."""
        made = {"_id": self.source_id(name), **fields}
        made |= {"createdAt": DatetimeMS(START + self.dice.randrange(6)), "updatedAt": DatetimeMS(START)}
        return {key: value for key, value in made.items() if value is not ABSENT}

    def user(self) -> Document:
        email = self.choose(*(f"u{n}@x.example" for n in range(9)), "heir@x.example", ABSENT)
        return self.make("users", email=email, _id=self.user_id(), role=self.choose("user", "ADMIN", " admin", ABSENT),
                         expiresAt=self.expiry())  # fmt: skip

    def user_id(self) -> Any:
        return objectid(self.dice.randrange(8)) if self.dice.random() < 0.8 else self.choose(*ODD_IDS)

    def expiry(self) -> Any:
        return DatetimeMS(START) if self.dice.random() < 0.1 else self.choose(ABSENT, None)

    def owner(self) -> Any:
        """Return a reference to a user, as an ObjectId, its text, or anything else."""
        if self.dice.random() < 0.1:
            return self.choose(ABSENT, *ODD_IDS)
        value = objectid(self.dice.randrange(5))
        return value if self.dice.random() < 0.3 else str(value)

    def conversation(self) -> Document:
        return self.make(
            "conversations", conversationId=self.choose(*self.conversations), user=self.owner(),
            title=self.choose("t", ABSENT), endpoint=self.choose("openAI", "agents", ABSENT),
            agent_id=self.choose("agent_1", "agent_9", ABSENT), expiredAt=self.expiry(),
            messages=[objectid(self.dice.randrange(40)) for _ in range(self.dice.randrange(3))],
        )  # fmt: skip

    def message(self) -> Document:
        children = [self.choose(*self.messages) for _ in range(self.dice.randrange(3))]
        return self.make(
            "messages", messageId=self.choose(*self.messages), conversationId=self.choose(*self.conversations[:-1]),
            user=self.owner(), text=self.choose("one", "two", ""), isCreatedByUser=self.choose(True, False),
            parentMessageId=self.choose(*self.messages, *self.messages, NO_PARENT, "", None, ABSENT, ABSENT),
            children=children or ABSENT, expiredAt=self.expiry(), endpoint="openAI",
        )  # fmt: skip

    def file(self) -> Document:
        return self.make(
            "files", file_id=self.choose(*self.files), user=self.owner(), filename="a.txt", type="text/plain",
            bytes=self.choose(1, -1, 1e19, 2**40), filepath="/a", source=self.choose("local", ABSENT),
        )  # fmt: skip

    def agent(self) -> Document:
        ids = [self.choose(*self.files, *ODD_IDS) for _ in range(3)]
        return self.make(
            "agents", id=self.choose("agent_1", "agent_2", "\0", "agent_1\0", ""), author=self.owner(),
            provider=self.choose("openAI", "OpenRouter", "anthropic"), model="gpt-4o",
            tool_resources={self.choose("execute_code", "file_search"): {"file_ids": ids}},
        )  # fmt: skip

    def transaction(self) -> Document:
        return self.make(
            "transactions", user=self.owner(), stripeSessionId=self.choose("cs_1", "cs_2", "cs_3", ABSENT), amount=5,
            status="s", type="t",
        )  # fmt: skip

    def memory(self) -> Document:
        return self.make("memoryentries", userId=self.owner(), key="k", value="v")

    def course(self) -> Document:
        return self.make("courses", title="c", modules=[self.source() for _ in range(self.dice.randrange(4))])

    def module(self) -> Document:
        return self.make("modules", title="m", courseId=self.choose(self.source(), ABSENT, None))

    def users(self) -> list[bytes]:
        """Return users with different `_id`s and many equal e-mail addresses."""
        found = {bson.encode({"_id": user["_id"]}): user for user in (self.user() for _ in range(14))}
        return [bson.encode(user, codec_options=CODEC_OPTIONS) for user in found.values()]

    def source(self) -> Any:
        return objectid(self.dice.randrange(6)) if self.dice.random() < 0.8 else self.choose(*ODD_IDS)

    def several(self, make: Callable[[], Document], most: int) -> list[bytes]:
        count = self.dice.randrange(most // 2, most + 1)
        return [bson.encode(make(), codec_options=CODEC_OPTIONS) for _ in range(count)]


def make_database(seed: int) -> Database:
    """Return the database of a seed. The same seed gives the same bytes."""
    generator = Generator(seed)
    heir = {"_id": ObjectId("64b0000000000000000000ff"), "email": "heir@x.example"}
    documents = {
        "users": [bson.encode(heir), *generator.users()],
        "conversations": generator.several(generator.conversation, 24),
        "messages": generator.several(generator.message, 70),
        "files": generator.several(generator.file, 8),
        "agents": generator.several(generator.agent, 8),
        "transactions": generator.several(generator.transaction, 8),
        "memoryentries": generator.several(generator.memory, 4),
        "courses": generator.several(generator.course, 5),
        "modules": generator.several(generator.module, 8),
    }
    settings = {
        "policies": {
            "orphan_owner": generator.choose("reject", "heir@x.example"),
            "duplicate_email": generator.choose("reject", "merge"),
            "temporary": generator.choose("load", "archive"),
        }
    }
    return Database(documents, settings)
