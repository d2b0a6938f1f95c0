"""A source of all collections whose documents share IDs (`tests.collisions`), and random changes of it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import bson
from bson import Decimal128, ObjectId

from migrator.documents import raw_bson
from migrator.documents.codec import CODEC_OPTIONS
from tests.changing import Changing
from tests.collisions import ODD_IDS, Document, Generator, make_database, objectid

HEIR = ObjectId("64b0000000000000000000ff")  # owns the orphans of some databases, so it stays
UNMAPPED = ("logs", "prompts")
MANY_MESSAGES = 5  # changes of messages for one of any other collection


class HostileChanging(Changing):
    """The documents of `make_database(seed)`, and changes of documents, ids, references, and whole collections.

    `is_live`: of a server, which does not accept a text that is not UTF-8.
    """

    def __init__(self, seed: int, *, is_live: bool = False) -> None:
        made = make_database(seed)
        super().__init__({}, seed)
        self.settings = made.settings
        self._adopter, self._is_live = b"", is_live
        self._makers = make_makers(Generator(seed + 1_000_000))
        for name, documents in made.documents.items():
            self.now[name] = {}
            for raw in documents:
                self._put_raw(name, raw)
        self._adopter = _key(HEIR)  # from now on nothing changes it
        self.take()

    def change(self) -> None:
        """Makes one random change."""
        chance = self.chance
        name = chance.choice([*self._makers, *UNMAPPED, *["conversations"] * 3, *["messages"] * MANY_MESSAGES])
        kind, keys = chance.random(), sorted(self.now.get(name, {}))
        if kind < 0.01:
            for key in keys:
                self._remove(name, key)
        elif kind < 0.2 or not keys:
            self._put_raw(name, self._make(name))
        elif kind < 0.4:
            self._remove(name, chance.choice(keys))
        else:
            self._alter(name, chance.choice(keys))

    def _make(self, name: str) -> bytes:
        self._fresh += 1
        if name in UNMAPPED:
            return bson.encode({"_id": self.chance.randrange(8), "line": self._fresh})
        document = self._makers[name]()
        if self.chance.random() < 0.3:
            document["_id"] = self.chance.choice([objectid(self.chance.randrange(40)), *ODD_IDS[:3]])
        return bson.encode(document, codec_options=CODEC_OPTIONS)

    def _alter(self, name: str, key: bytes) -> None:
        """Gives a document other values of one or of all fields, or another `_id`, or makes it undecodable."""
        chance, old = self.chance, self.now[name][key]
        try:
            document: Document = bson.decode(old, codec_options=CODEC_OPTIONS)
        except bson.errors.InvalidBSON:
            self._put_raw(name, self._make(name))
            return
        new = bson.decode(self._make(name), codec_options=CODEC_OPTIONS)
        kind = chance.random()
        if kind < 0.05 and not self._is_live:
            self._put_raw(name, make_undecodable(document["_id"]))
        elif kind < 0.1:
            self._remove(name, key)
            self._put(name, {**document, "_id": new["_id"]})
        elif kind < 0.3:
            self._put(name, {**new, "_id": document["_id"]})
        else:
            field = chance.choice(sorted({*new, *document} - {"_id"}) or ["x"])
            changed = {**document, field: new[field]} if field in new else _without(document, field)
            self._put(name, changed)

    def _put(self, name: str, document: Document) -> None:
        self._put_raw(name, bson.encode(document, codec_options=CODEC_OPTIONS))

    def _put_raw(self, name: str, raw: bytes) -> None:
        """Puts a document; one whose `_id` MongoDB takes for the same goes first."""
        key = raw_bson.source_id(raw)
        if (name, key) == ("users", self._adopter):
            return
        for other in [each for each in self.now.get(name, {}) if each != key and _same(each, key)]:
            self._remove(name, other)
        self.now.setdefault(name, {})[key] = raw
        self._changed[name, key] = raw

    def _remove(self, name: str, key: bytes) -> None:
        if (name, key) != ("users", self._adopter):
            self.drop(name, key)


def make_makers(generator: Generator) -> dict[str, Callable[[], Document]]:
    """Returns what makes a document of a collection."""
    return {
        "users": generator.user,
        "conversations": generator.conversation,
        "messages": generator.message,
        "files": generator.file,
        "agents": generator.agent,
        "transactions": generator.transaction,
        "memoryentries": generator.memory,
        "courses": generator.course,
        "modules": generator.module,
    }


def make_undecodable(source_id: Any) -> bytes:
    """Returns a document with a text that is not UTF-8."""
    raw = bson.encode({"_id": source_id, "title": "????"}, codec_options=CODEC_OPTIONS)
    return raw.replace(b"????", b"\xff\xfe\xff\xfe")


def _without(document: Document, field: str) -> Document:
    return {name: value for name, value in document.items() if name != field}


def _key(value: Any) -> bytes:
    return raw_bson.source_id(bson.encode({"_id": value}, codec_options=CODEC_OPTIONS))


def _same(one: bytes, other: bytes) -> bool:
    """Whether two `_id`s are equal numbers of different types: MongoDB keeps one of them only."""
    numbers = [_number(bson.decode(each, codec_options=CODEC_OPTIONS)["_id"]) for each in (one, other)]
    return numbers[0] is not None and numbers[0] == numbers[1]


def _number(value: Any) -> Decimal | None:
    if isinstance(value, Decimal128):
        return value.to_decimal()
    return Decimal(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
