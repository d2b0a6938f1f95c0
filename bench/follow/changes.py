"""Changes of the documents of `bench.documents`, by kind. A seed gives the same ones."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import bson
from bson import DatetimeMS, ObjectId

from bench.documents import DocumentGenerator
from bench.texts import Document
from migrator.documents import raw_bson

Change = tuple[str, bytes, bytes | None]  # collection, source_id, BSON (None: deleted)
LONG = 40  # messages of a long conversation


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation with its messages, the oldest first."""

    head: Document
    messages: list[Document]


class Application:
    """The documents of an application, and what it changes."""

    def __init__(self, messages: int, seed: int = 1) -> None:
        generator = DocumentGenerator(seed, users=max(10, messages // 250))
        self._random = random.Random(seed)
        self.users = generator.users
        self.talks = [Talk(head, members) for head, members in generator.conversations(messages)]
        self._random.shuffle(self.talks)

    def reseed(self, seed: int) -> None:
        """Make other changes from now on."""
        self._random = random.Random(seed)
        self._random.shuffle(self.talks)

    def documents(self) -> dict[str, list[bytes]]:
        """Return collection → BSON of its documents."""
        talks = sorted(self.talks, key=lambda talk: talk.head["_id"])
        return {
            "users": list(map(bson.encode, self.users)),
            "conversations": [bson.encode(talk.head) for talk in talks],
            "messages": [bson.encode(each) for talk in talks for each in talk.messages],
        }

    def new_texts(self) -> Iterator[Change]:
        """Yield messages with another text, again and again."""
        while True:
            for talk in self.talks:
                for each in list(talk.messages):
                    text = self._random.choice(self.talks).messages[0]["text"]
                    yield changed("messages", {**each, "text": f"{text} again"})

    def new_titles(self) -> Iterator[Change]:
        """Yield conversations with another title, again and again."""
        for number in count():
            yield changed("conversations", {**self.talks[number % len(self.talks)].head, "title": f"Talk {number}"})

    def new_messages(self) -> Iterator[Change]:
        """Yield new messages that answer the last one of a conversation."""
        while True:
            for talk in self.talks:
                like, last = self._random.choice(self._random.choice(self.talks).messages), talk.messages[-1]
                message = {
                    **like,
                    "_id": ObjectId(self._random.randbytes(12)),
                    "messageId": str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
                    "conversationId": last["conversationId"],
                    "user": last["user"],
                    "parentMessageId": last["messageId"],
                    "createdAt": DatetimeMS(int(last["createdAt"]) + 60_000),
                }
                talk.messages.append(message)
                yield changed("messages", message)

    def deletions(self) -> Iterator[Change]:
        """Yield the last message of each conversation as deleted."""
        for talk in self.talks:
            if len(talk.messages) > 1:
                yield gone("messages", talk.messages.pop())

    def moves(self) -> Iterator[Change]:
        """Yield messages that answer the first one of their conversation instead of a later one."""
        for talk in self.talks:
            first, last = talk.messages[0], talk.messages[-1]
            if last["parentMessageId"] != first["messageId"] and last is not first:
                last["parentMessageId"] = first["messageId"]
                yield changed("messages", last)

    def new_owners(self, least: int = 1, most: int = 1_000_000) -> Iterator[Change]:
        """Yield conversations with `least` to `most` messages that belong to another user."""
        for talk in self.talks:
            if least <= len(talk.messages) <= most:
                others = [user for user in self._random.sample(self.users, 2) if str(user["_id"]) != talk.head["user"]]
                talk.head["user"] = str(others[0]["_id"])
                yield changed("conversations", talk.head)

    def messages_of(self, changes: list[Change]) -> int:
        """Return the number of messages in changed conversations."""
        ids = {source_id for _, source_id, _ in changes}
        return sum(len(talk.messages) for talk in self.talks if key_of(talk.head) in ids)


def key_of(document: Document) -> bytes:
    """Return the `source_id` of a document."""
    return raw_bson.source_id(bson.encode(document))


def changed(name: str, document: Document) -> Change:
    """Return the change to a document."""
    raw = bson.encode(document)
    return name, raw_bson.source_id(raw), raw


def gone(name: str, document: Document) -> Change:
    """Return the deletion of a document."""
    return name, key_of(document), None
