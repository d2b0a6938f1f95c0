"""Some thousand documents with everything that only all of them together tell: duplicates, orphans, trees, rings."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import bson
from bson import ObjectId
from bson.datetime_ms import DatetimeMS

Document = dict[str, Any]
USERS, TALKS, MESSAGES = 40, 200, 3000
NO_PARENT = "00000000-0000-0000-0000-000000000000"


def make_talks(seed: int = 0, messages: int = MESSAGES) -> dict[str, list[bytes]]:
    """Users, conversations and messages as BSON, in an order that is not that of their ids."""
    chance = random.Random(seed)
    made = {
        "users": list(_users(chance)),
        "conversations": list(_conversations(chance)),
        "messages": list(_messages(chance, messages)),
        "logs": [{"_id": number, "line": f"line {number}"} for number in range(300)],
    }
    for documents in made.values():
        chance.shuffle(documents)
    return {name: [bson.encode(document) for document in documents] for name, documents in made.items()}


def _oid(kind: int, number: int) -> ObjectId:
    return ObjectId(f"65a00000{kind:08x}{number:08x}")


def _dates(number: int) -> Document:
    moment = DatetimeMS(1_704_067_200_000 + number * 1000)
    return {"createdAt": moment, "updatedAt": moment}


def _users(chance: random.Random) -> Iterator[Document]:
    for number in range(USERS):
        email = f"u{number if chance.random() < 0.95 else 0}@example.com"
        yield {"_id": _oid(1, number), "email": email, "name": f"User {number}", **_dates(number)}


def _conversations(chance: random.Random) -> Iterator[Document]:
    for number in range(TALKS):
        claimed = number if chance.random() < 0.9 else chance.randrange(TALKS)
        owner = _oid(1, chance.randrange(USERS + 2))  # two of them are nobody
        yield {
            "_id": _oid(2, number), "conversationId": str(UUID(int=claimed + 1)), "user": str(owner), "title": "Talk",
            "endpoint": "openAI", "model": "gpt-4o", **_dates(number),
        }  # fmt: skip


def _messages(chance: random.Random, count: int) -> Iterator[Document]:
    for number in range(count):
        talk = number % TALKS
        claimed = number if chance.random() < 0.97 else chance.randrange(count)
        parent = chance.choice([number - TALKS, number + TALKS, number - 2 * TALKS, number - TALKS, number - 1])
        document = {
            "_id": _oid(3, number), "messageId": _message_id(claimed), "conversationId": str(UUID(int=talk + 1)),
            "user": str(_oid(1, chance.randrange(USERS))), "parentMessageId": _message_id(parent),
            "sender": "User", "text": f"Text {number}", "isCreatedByUser": True, "endpoint": "openAI",
            **_dates(number // 3),
        }  # fmt: skip
        if chance.random() < 0.05:
            del document["parentMessageId"]
        if chance.random() < 0.1:
            document["children"] = [_message_id(number + TALKS), _message_id(chance.randrange(count))]
        yield document


def _message_id(number: int) -> str:
    return NO_PARENT if number < 0 else str(UUID(int=0xA << 124 | number))
