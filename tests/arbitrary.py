"""A database of arbitrary documents, by chance and fast: what Hypothesis thinks of in a minute comes here in a second.

Documents are plausible, then spoilt: fields gone, null, or of any BSON value; unknown fields; ids that others claim;
and bytes that no driver writes (a name twice, deprecated types, text that is no UTF-8).
"""

from __future__ import annotations

import random
import struct
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import bson
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from migrator.documents.codec import encode
from tests.strategies import DECIMALS, MILLISECONDS

Document = dict[str, Any]
NO_PARENT = "00000000-0000-0000-0000-000000000000"
TEXTS = [
    "", "\0", "a\0b", "\0\0", "é", "𝔘𝔫𝔦", "\ufeff", "\uffff", "\u202e", " ", "\r\n", "true", "1", "-0", "1.50", "1e999",
    "NaN", "ADMIN", " pro ", "ı", "2024-02-30", "2024-05-01T12:00:00.123Z", "0000-01-01", "null", "[]", "{}", "System",
    "+012345-01-01T00:00:00.000Z", "Wed May 01 2024 12:00:00 GMT+0200 (CEST)", "x" * 3000, "65f0c0de0000000000000000",
]  # fmt: skip
KEYS = ["", "$set", "a.b", "$date", "$ref", "$id", "$db", "$numberLong", "0", "é", "key", "__proto__", "text", "type"]
DOUBLES = [0.0, -0.0, 1.0, 0.1, 1e15, 1e16, 1e22, 1.5e300, 5e-324, float("nan"), float("inf"), float("-inf")]
INTEGERS = [0, 1, -1, 5, 2**31 - 1, -(2**31)]
LONGS = [0, 1, 5, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)]
# Elements as no driver writes them: type, name, value.
ODD = [
    b"\x06odd\0", b"\x0eodd\0\x02\0\0\0a\0", b"\x0codd\0\x02\0\0\0a\0" + bytes(12), b"\x08odd\0\x02",
    b"\x02odd\0\x02\0\0\0\xff\0", b"\x0bodd\0a\0zz\0", b"\x03odd\0\x14\0\0\0\x07$id\0" + bytes(12) + b"\0",
    b"\x03odd\0\x11\0\0\0\x10a\0\x01\0\0\0\x08a\0\x01\0", b"\x02text\0\x02\0\0\0z\0", b"\x10user\0\x01\0\0\0",
]  # fmt: skip


class Arbitrary:
    """One database out of a seed. `count` documents in all, most of them messages."""

    def __init__(self, seed: int, count: int) -> None:
        self.chance = random.Random(seed)
        self.values = [self._value(3) for _ in range(3000)]
        shares = {"users": 1, "courses": 1, "agents": 1, "files": 5, "conversations": 12, "messages": 65, "modules": 3,
                  "memoryentries": 5, "transactions": 5, "notes": 2}  # fmt: skip
        self.counts = {name: max(3, count * share // 100) for name, share in shares.items()}
        self.oids = {name: [self._oid() for _ in range(number)] for name, number in self.counts.items()}
        self.uuids = {
            name: [self._uuid() for _ in range(self.counts[name])] for name in ("conversations", "messages", "files")
        }
        # Whose each conversation is: LibreChat's ids are unique with their user only.
        self.owners = [self._pick(self.oids["users"]) for _ in self.uuids["conversations"]]

    def collections(self) -> dict[str, Iterator[bytes]]:
        """Raw BSON by collection."""
        return {name: self._collection(name) for name in self.counts}

    def _collection(self, name: str) -> Iterator[bytes]:
        make: Callable[[int], Document] = getattr(self, f"_{name}")
        for number in range(self.counts[name]):
            document = {"_id": self.oids[name][number], **make(number), **self._dates()}
            yield self._raw(self._spoil(document))

    # --- spoiling ----------------------------------------------------------------------------------------------------

    def _spoil(self, document: Document) -> Document:
        roll = self.chance.random()
        if roll < 0.4:
            return document
        names = list(document)
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            name = self._pick(names)
            kind = self.chance.random()
            if kind < 0.25:
                document.pop(name, None)
            elif kind < 0.35:
                document[name] = None
            elif name != "_id" or kind < 0.5:
                document[name] = self._pick(self.values)
        if roll > 0.8:
            document[self._pick(KEYS)] = self._pick(self.values)
        if roll > 0.97:
            document = dict(sorted(document.items(), key=lambda item: item[0], reverse=True))
        if roll > 0.995:
            document["nest"] = self._nest()
        return document

    def _raw(self, document: Document) -> bytes:
        raw = encode(document)
        if self.chance.random() < 0.01:
            raw = raw[4:-1] + self._pick(ODD) + b"\0"
            raw = struct.pack("<i", len(raw) + 4) + raw
        return raw

    def _nest(self) -> Any:
        value = self._pick(self.values)
        for number in range(self.chance.randrange(20, 120)):
            value = {"n": value} if number % 2 else [value]
        return value

    # --- values ------------------------------------------------------------------------------------------------------

    def _pick(self, choices: list[Any]) -> Any:
        return choices[int(self.chance.random() * len(choices))]

    def _oid(self) -> ObjectId:
        return ObjectId(
            struct.pack(">I", self.chance.randrange(1_500_000_000, 1_750_000_000)) + self.chance.randbytes(8)
        )

    def _uuid(self) -> str:
        if self.chance.random() < 0.05:
            return f"msg_{self.chance.getrandbits(64):x}"
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def _text(self) -> str:
        return self._pick(TEXTS) if self.chance.random() < 0.1 else f"text {self.chance.random()}"

    def _moment(self) -> DatetimeMS:
        return DatetimeMS(self.chance.randrange(1_600_000_000_000, 1_750_000_000_000))

    def _dates(self) -> Document:
        return {"createdAt": self._moment(), "updatedAt": self._moment(), "__v": 0}

    def _value(self, depth: int) -> Any:
        if depth and self.chance.random() < 0.25:
            inner = {self._pick(KEYS): self._value(depth - 1) for _ in range(self.chance.randrange(4))}
            return self._pick([inner, list(inner.values()), Code("f()", inner), DBRef("a", 1, None), {"k": inner}])
        chance = self.chance
        makers: list[Callable[[], Any]] = [
            lambda: None,
            lambda: chance.random() < 0.5,
            lambda: self._pick(INTEGERS),
            lambda: Int64(self._pick(LONGS)),
            lambda: self._pick(DOUBLES),
            lambda: Decimal128(self._pick(DECIMALS)),
            lambda: Decimal128.from_bid(chance.randbytes(16)),
            lambda: self._pick(TEXTS),
            lambda: DatetimeMS(self._pick(MILLISECONDS)),
            lambda: DatetimeMS(chance.randrange(-(2**63), 2**63)),
            lambda: ObjectId(chance.randbytes(12)),
            lambda: Regex(self._pick(["", "^a", "é"]), self._pick(["", "i", "msx"])),
            lambda: Binary(chance.randbytes(chance.randrange(20)), self._pick([0, 2, 3, 4, 128])),
            lambda: Timestamp(chance.getrandbits(32), chance.getrandbits(32)),
            lambda: Code(self._pick(TEXTS)),
            lambda: self._pick([MinKey(), MaxKey()]),
        ]
        return self._pick(makers)()

    # --- documents ---------------------------------------------------------------------------------------------------

    def _rarely(self, other: Any, usual: Any, share: float = 0.01) -> Any:
        return other if self.chance.random() < share else usual

    def _user(self) -> ObjectId:
        found: ObjectId = self._rarely(self._oid(), self._pick(self.oids["users"]))
        return found

    def _users(self, number: int) -> Document:
        email = f"user{self._rarely(0, number)}@example.org"
        return {"email": email, "name": self._text(), "username": self._text(), "role": self._pick(["USER", "ADMIN"]),
                "provider": self._pick(["local", "google"]), "googleId": self._text(), "tier": "free"}  # fmt: skip

    def _courses(self, number: int) -> Document:
        listed = [self._pick(self.oids["modules"]) for _ in range(3)]
        return {"title": self._text(), "description": self._text(), "order": number, "modules": listed}

    def _modules(self, number: int) -> Document:
        return {"courseId": self._rarely(self._oid(), self._pick(self.oids["courses"])), "title": self._text(),
                "videoUrl": self._text(), "streamRecordingId": self._text(), "duration": number,
                "videoMetadata": {"isEvergreen": True, "recordingDate": self._moment()}}  # fmt: skip

    def _agents(self, number: int) -> Document:
        files = [self._pick(self.uuids["files"]) for _ in range(2)]
        return {"id": f"agent_{self._rarely(0, number)}", "author": self._user(), "name": self._text(),
                "provider": "openai", "model": "gpt-4o", "tools": [self._text()],
                "tool_resources": {"file_search": {"file_ids": files}},
                "model_parameters": {"temperature": 0.5, "top_p": 1}, "versions": [{}]}  # fmt: skip

    def _files(self, number: int) -> Document:
        return {"file_id": self._rarely(self.uuids["files"][0], self.uuids["files"][number]), "user": self._user(),
                "filename": self._text(), "filepath": self._text(), "type": "image/png", "bytes": number,
                "source": "s3", "embedded": False, "object": "file", "usage": 1, "width": 10, "height": 20}  # fmt: skip

    def _conversations(self, number: int) -> Document:
        claimed = self._rarely(self.chance.randrange(self.counts["conversations"]), number)
        listed = [self._pick(self.oids["messages"]) for _ in range(2)]
        return {"conversationId": self.uuids["conversations"][claimed], "user": str(self.owners[number]),
                "title": self._text(), "endpoint": self._pick(["openAI", "agents", "OpenRouter", None]),
                "model": self._pick(["gpt-4o", "mystery"]), "agent_id": f"agent_{self.chance.randrange(50)}",
                "messages": listed, "top_p": 1, "tags": [], "files": [], "isArchived": False}  # fmt: skip

    def _messages(self, number: int) -> Document:
        talk = number * self.counts["conversations"] // self.counts["messages"]
        near = max(0, number - 5)
        parent = self.uuids["messages"][self._rarely(number, self.chance.randrange(near, number + 1), 0.3)]
        claimed = self._rarely(self.chance.randrange(self.counts["messages"]), number, 0.005)
        text = self._text()
        said = {"type": "text", "text": text}
        more = [{"type": "tool_call", "tool_call": {}}, {"type": "text", "text": "2"}]
        parts = self._pick([[said], [{"type": "think", "think": "Hm"}, said], [said, *more], "x", []])
        return {"messageId": self.uuids["messages"][claimed], "conversationId": self.uuids["conversations"][talk],
                "user": str(self._rarely(self._user(), self.owners[talk])), "text": self._pick(["", text]),
                "content": parts, "sender": self._pick(["User", "GPT-4o", "System"]), "model": "gpt-4o",
                "isCreatedByUser": self.chance.random() < 0.5, "endpoint": "openAI", "tokenCount": number,
                "parentMessageId": self._pick([parent, parent, NO_PARENT]), "_meiliIndex": True, "unfinished": False,
                "children": self._rarely([self._pick(self.uuids["messages"])], [], 0.1)}  # fmt: skip

    def _memoryentries(self, number: int) -> Document:
        return {"userId": self._user(), "key": self._text(), "value": self._text(), "updated_at": self._moment()}

    def _transactions(self, number: int) -> Document:
        return {"user": self._user(), "amount": self._pick([999, 19.99, "1999", number]), "currency": "usd",
                "status": "paid", "type": "once", "stripeSessionId": f"cs_{self._rarely(0, number)}"}  # fmt: skip

    def _notes(self, number: int) -> Document:
        return {"any": self._pick(self.values), "other": self._pick(self.values)}


def large_documents() -> Iterator[bytes]:
    """Notes and messages near MongoDB's 16 MB."""
    size = (16 << 20) - 200
    yield bson.encode({"_id": "large note", "text": "é" * (size // 2)})
    yield bson.encode({"_id": "many small", "list": [{"a": n} for n in range(700_000)]})
