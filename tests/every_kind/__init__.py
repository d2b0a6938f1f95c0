"""A migration with every kind of column and key, without tenants, and documents of the types it expects and all others.

`write_project` makes the project of a user: the two packages, a dump, and the settings.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from bson import Binary, Decimal128, Int64, ObjectId
from bson.binary import UuidRepresentation

from tests.arbitrary import Arbitrary
from tests.user_projects import Document, write_user_project

HERE = Path(__file__).parent


def write_project(folder: Path, target: str, collections: dict[str, list[Document]]) -> Path:
    """Write the project, and return the path of its settings."""
    return write_user_project(HERE, "kinds", folder, target, collections)


def make_collections(seed: int, count: int) -> dict[str, list[Document]]:
    """Return documents: a third as expected, the others with a value of another type here and there."""
    chance = random.Random(seed)
    odd = Arbitrary(seed, 10).values
    items = [_spoil(chance, odd, _make_item(chance, number)) for number in range(count)]
    oids = [each["_id"] for each in items if isinstance(each["_id"], ObjectId)]
    numbers = [chance.randrange(2**40) for _ in range(count)]
    shelves: list[Document] = [
        {"_id": Int64(number) if number >= 2**31 else number, "label": f"shelf {number}"} for number in numbers[::2]
    ]
    places = [
        _spoil(chance, odd, {
            "_id": ObjectId(chance.randbytes(12)), "shelf": Int64(chance.choice(numbers)), "item": chance.choice(oids),
            "row": chance.randrange(9),
        })
        for _ in range(count)
    ]  # fmt: skip
    return {"items": items, "shelves": shelves, "places": places}


def _make_item(chance: random.Random, number: int) -> Document:
    moment = datetime.fromtimestamp(chance.randrange(2**31), UTC)
    return {
        "_id": ObjectId(chance.randbytes(12)),
        "small": chance.randrange(-(2**15), 2**15),
        "whole": chance.randrange(-(2**31), 2**31),
        "big": chance.choice((chance.randrange(2**31), Int64(chance.randrange(2**31, 2**62)))),
        "long": Int64(chance.randrange(-(2**63), 2**63)),
        "single": chance.choice((0.5, -2.25, chance.random())),
        "double": chance.choice((chance.random(), -0.0, float("nan"), float("inf"), 1e300)),
        "number": chance.choice((chance.randrange(100), chance.random(), 12.5, 7.0)),
        "exact": Decimal128(chance.choice(("1.10", "0", "-0.00", "1E+3", "123456789.000000001", "NaN", "9E+6000"))),
        "price": Decimal128(chance.choice(("19.99", "5", "0.005", "-1.00", "99999999999.99"))),
        "cost": chance.choice((0.1, 19.99, 2.0, 1e12, 0.005)),
        "flag": chance.choice((True, False)),
        "day": datetime(moment.year, moment.month, moment.day, chance.choice((0, 0, 5)), tzinfo=UTC),
        "birthday": chance.choice((moment.date().isoformat(), "2024-02-30", "1990-1-1")),
        "opens": chance.choice(("09:30", "23:59:59", "00:00:00.25", "24:00", "9:30")),
        "at": moment,
        "seen": moment,
        "uuid": Binary.from_uuid(UUID(bytes=chance.randbytes(16)), UuidRepresentation.STANDARD),
        "uuid_text": str(UUID(bytes=chance.randbytes(16))),
        "data": chance.randbytes(chance.randrange(20)),
        "owner": ObjectId(chance.randbytes(12)),
        "code": chance.choice(("DE", "x", "toolong", "")),
        "short": chance.choice(("short", "x" * 20, "x" * 21, "é" * 20)),
        "state": chance.choice(("draft", "PAID", "Draft", "gone")),
        "tags": chance.choice(([], ["a", "b"], ["a", None], "a")),
        "sizes": chance.choice(([], [1, 2], [Int64(2**40)], [1, "2"])),
        "prices": [Decimal128("1.5"), Decimal128("2")],
        "raw": chance.choice(({"a": [1, {"b": None}]}, [1.0, 2], "text", 5)),
        "extra": {"name": "x", "count": number},
        "unknown": chance.choice((1, None, [1])),
    }


def _spoil(chance: random.Random, odd: list[Any], document: Document) -> Document:
    if chance.random() < 0.3:
        return document
    for _ in range(chance.choice((1, 1, 2, 4))):
        name = chance.choice(list(document))
        if chance.random() < 0.3 and name != "_id":
            document.pop(name, None)
        elif name != "_id" or chance.random() < 0.2:
            document[name] = chance.choice(odd) if chance.random() < 0.8 else None
    return document if document.get("_id") is not None else {**document, "_id": ObjectId(chance.randbytes(12))}
