"""Generator of messages as a current LibreChat stores them, with users and conversations. A seed gives the same ones.

Shares follow the documents of the newer generation in the real data (those with `isTemporary`, 2,086 documents),
without the errors planted there. Values that depend on the installation are its defaults.

- Half are questions (`model` null, plain `text`), half answers. A conversation has about 9 messages. 6 % of the
  questions have another answer and 2 % were edited, so trees have branches.
- 82 % of the answers have `content` parts and an empty `text` (as version 0.0.71 writes them), the others plain text.
- 19 % of the answers have `attachments`, 6 % of the questions `files`, 15 % of the answers `finish_reason`, 5 % each
  `contextMeta` and `metadata`, 3 % `feedback`. 1 % are errors without content, 1 % are unfinished.
- 13 % have no `tokenCount`. 6 % have IDs that are not UUIDs (librechat-fields.md). None has a string `tenantId`,
  because a server with one tenant writes none (26 % of the real sample comes from one server with several tenants).
- `_meiliIndex` is true, false or missing in 60, 25 and 15 %. `expiredAt` is set and `isTemporary` true in 5 %
  (temporary chats expire after 30 days).
- Lengths are log-normal, so that a message has about 1.2 KB of BSON. The median of the real sample is 0.7 KB, but its
  texts are synthetic.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import bson
from bson import DatetimeMS, ObjectId

from bench.texts import Document, Texts

NO_PARENT = "00000000-0000-0000-0000-000000000000"
START = 1_735_689_600_000  # 2025-01-01, in milliseconds

# Endpoint, model and sender of answers, with their weights.
ASSISTANTS = (
    ("openAI", "gpt-4o", "GPT-4o", 26),
    ("openAI", "o1-mini", "GPT-4o", 6),
    ("anthropic", "claude-sonnet-4-20250514", "Claude", 20),
    ("azureOpenAI", "gpt-4.1", "Azure OpenAI", 8),
    ("google", "gemini-2.0-flash-001", "Gemini", 5),
    ("OpenRouter", "mistralai/mixtral-8x7b-instruct:free", "OpenRouter", 6),
    ("agents", "agent_UGz03xvBDoOVU3Is1tEkK", "Harbour master", 15),
    ("agents", "agent_JiPWZOyW7JTS2j-Wkbc60", "Agent", 14),
)


class DocumentGenerator:
    """Generates the documents of one database from a seed."""

    def __init__(self, seed: int = 1, users: int = 200) -> None:
        self._random = random.Random(seed)
        self._texts = Texts(self._random)
        self._machine = self._random.randbytes(5)
        self._count = 0
        self._now = START
        self.users = [self._user(number) for number in range(users)]

    def conversations(self, messages: int) -> Iterator[tuple[Document, list[Document]]]:
        """Yield conversations with their messages, until there are `messages` messages."""
        while messages > 0:
            conversation, members = self._conversation(messages)
            messages -= len(members)
            yield conversation, members

    def _draw(self, percent: float) -> bool:
        return self._random.random() * 100 < percent

    def _object_id(self) -> ObjectId:
        self._count += 1
        seconds = self._now // 1000 % (1 << 32)  # ten million messages take until the year 2120
        return ObjectId(seconds.to_bytes(4) + self._machine + self._count.to_bytes(3))

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _wait(self, seconds: int) -> DatetimeMS:
        self._now += self._random.randrange(1, seconds * 1000)
        return DatetimeMS(self._now)

    def _dates(self) -> Document:
        return {"createdAt": DatetimeMS(self._now), "updatedAt": self._wait(5), "__v": 0}

    def _user(self, number: int) -> Document:
        name = {"name": f"User {number}", "username": f"user{number}", "email": f"user{number}@example.com"}
        settings = {"emailVerified": True, "provider": "local", "role": "USER", "plugins": [], "termsAccepted": False}
        return {"_id": self._object_id(), **name, **settings, **self._dates()}

    def _conversation(self, limit: int) -> tuple[Document, list[Document]]:
        owner = str(self._random.choice(self.users)["_id"])
        endpoint, model, sender, _ = self._random.choices(ASSISTANTS, [weight for *_, weight in ASSISTANTS])[0]
        head: Document = {"_id": self._object_id(), "conversationId": self._uuid(), "user": owner}
        temporary = self._draw(5)
        members = list(self._turns(head, endpoint, model, sender, temporary))[:limit]
        named = {"agent_id": model} if endpoint == "agents" else {"model": model}
        rest = {"title": "A talk", "endpoint": endpoint, **named, "isArchived": False, "isTemporary": temporary}
        new: Document = {
            "files": [],
            "chatProjectId": None,
        }  # as in every conversation of the newer generation
        return {
            **head,
            **rest,
            "messages": [each["_id"] for each in members],
            "tags": [],
            **new,
            **self._dates(),
        }, members

    def _turns(self, head: Document, endpoint: str, model: str, sender: str, temporary: bool) -> Iterator[Document]:
        parent = NO_PARENT
        expiry = {"expiredAt": DatetimeMS(self._now + 30 * 86_400_000)} if temporary else {}
        common = {"endpoint": endpoint, "isTemporary": temporary}
        for _ in range(min(60, 1 + int(self._random.expovariate(1 / 3.8)))):
            for _ in range(2 if self._draw(2) else 1):
                question = self._question(head, parent, common, expiry)
                yield question
            for _ in range(2 if self._draw(6) else 1):
                answer = self._answer(head, question["messageId"], {**common, "model": model, "sender": sender}, expiry)
                yield answer
            parent = answer["messageId"]

    def _message(self, head: Document, parent: str, fields: Document) -> Document:
        """Return the fields that every message has, as Mongoose orders them."""
        self._wait(600)
        own = {"_id": self._object_id(), "messageId": f"msg_{self._uuid()}" if self._draw(6) else self._uuid()}
        conversation = {"conversationId": head["conversationId"], "user": head["user"]}
        message = {
            **own,
            **conversation,
            "model": fields["model"],
            "endpoint": fields["endpoint"],
            "parentMessageId": parent,
        }
        if self._draw(87):
            message["tokenCount"] = max(1, len(fields["text"]) // 4) if fields["text"] else self._random.randrange(900)
        message |= {name: fields[name] for name in ("sender", "text", "isCreatedByUser", "isTemporary")}
        message |= {"unfinished": fields.get("unfinished", False), "error": fields.get("error", False)}
        indexed = self._random.choices((True, False, None), (60, 25, 15))[0]
        return message if indexed is None else {**message, "_meiliIndex": indexed}

    def _question(self, head: Document, parent: str, common: Document, expiry: Document) -> Document:
        fields = {"model": None, "sender": "User", "text": self._texts.cut(160, 1.0), "isCreatedByUser": True}
        message = self._message(head, parent, fields | common)
        if self._draw(6):
            message["files"] = [self._texts.file(self._uuid(), head["user"])]
        return message | expiry | self._dates()

    def _answer(self, head: Document, parent: str, common: Document, expiry: Document) -> Document:
        fields = {
            **common,
            "isCreatedByUser": False,
            "text": "",
            "error": self._draw(1),
            "unfinished": self._draw(1),
        }
        parts = not fields["error"] and self._draw(82 / 0.99)
        if not parts:
            fields["text"] = self._texts.failure() if fields["error"] else self._texts.cut(600, 0.9)
        message = self._message(head, parent, fields)
        if self._draw(15):
            message["finish_reason"] = self._random.choice(("stop", "length", "tool_calls", "end_turn"))
        if parts:
            message["content"] = self._texts.parts()
        return message | self._extras(message) | expiry | self._dates()

    def _extras(self, message: Document) -> Document:
        """Return the additional fields that some answers have."""
        extras: Document = {}
        if self._draw(19):
            extras["attachments"] = [self._texts.attachment(message)]
        if self._draw(5):
            extras["contextMeta"] = {"calibrationRatio": self._random.uniform(1, 1.3), "encoding": "o200k_base"}
        if self._draw(5):
            extras["metadata"] = {"usage": {"input_tokens": self._random.randrange(30_000), "output_tokens": 12}}
        if self._draw(3):
            extras["feedback"] = {"rating": "thumbsUp", "tag": "accurate_reliable", "_id": self._object_id()}
        return extras


def write_dump(folder: Path, messages: int, seed: int = 1) -> None:
    """Write a mongodump folder with users, conversations and messages."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = DocumentGenerator(seed, users=max(10, messages // 250))
    (folder / "users.bson").write_bytes(b"".join(map(bson.encode, generator.users)))
    with (folder / "conversations.bson").open("wb") as conversations, (folder / "messages.bson").open("wb") as members:
        for conversation, documents in generator.conversations(messages):
            conversations.write(bson.encode(conversation))
            members.write(b"".join(map(bson.encode, documents)))
