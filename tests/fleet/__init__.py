"""A fleet whose collections and tables do not correspond: one collection in several tables, two in one table."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bson import Decimal128, Int64, ObjectId

from tests.arbitrary import Arbitrary
from tests.user_projects import Document, write_user_project

HERE = Path(__file__).parent
NAMES = ("customers", "drivers", "vehicles", "events", "remarks")


def write_project(
    folder: Path, target: str, collections: dict[str, list[Document]] | None = None, source: str = "dump:dump"
) -> Path:
    """Write the project, and return the path of its settings."""
    return write_user_project(HERE, "fleet", folder, target, collections, source)


class Fleet:
    """The documents of one seed. Some customers and drivers have the same `_id` or email."""

    def __init__(self, seed: int, count: int, dirt: float = 0.3) -> None:
        self.chance, self.dirt = random.Random(seed), dirt
        self.odd = Arbitrary(seed, 10).values
        self.people = [f"p{number}" for number in range(max(6, count // 3))]
        self.ids: dict[str, list[Any]] = {
            "customers": self.chance.sample(self.people, len(self.people) * 2 // 3),
            "drivers": self.chance.sample(self.people, len(self.people) * 2 // 3),
            "vehicles": [ObjectId(self.chance.randbytes(12)) for _ in range(count)],
            "events": [ObjectId(self.chance.randbytes(12)) for _ in range(count)],
            "remarks": [ObjectId(self.chance.randbytes(12)) for _ in range(count // 2)],
        }

    def collections(self) -> dict[str, list[Document]]:
        """Return all documents."""
        return {name: [self.make(name, each) for each in ids] for name, ids in self.ids.items()}

    def make(self, name: str, source_id: Any) -> Document:
        """Return a new document of a collection."""
        makers = {
            "customers": self._customer,
            "drivers": self._driver,
            "vehicles": self._vehicle,
            "events": self._event,
            "remarks": self._remark,
        }
        return self._spoil({"_id": source_id, **makers[name]()})

    def _email(self) -> str:
        return f"{self.chance.randrange(3 * len(self.people))}@example.com"

    def _customer(self) -> Document:
        return {"email": self._email(), "address": {"city": self.chance.choice(("Bern", "Rome")), "zip": "1"}}

    def _driver(self) -> Document:
        places = [self.chance.choice(("Ulm", "Bonn", 7)) for _ in range(self.chance.randrange(3))]
        return {"contact": {"email": self._email()}, "home": "Ulm", "visits": places}

    def _vehicle(self) -> Document:
        chance = self.chance
        odd = (7, 7.0, Int64(7), Decimal128("7"), True, None, "bike")
        kind = chance.choice((*("car",) * 6, *("truck",) * 4, "van", *odd))
        found: Document = {"kind": kind, "plate": f"P {chance.randrange(999)}", "mood": chance.choice(("good", "bad"))}
        if chance.random() < 0.9:
            found |= {"owner": chance.choice(self.people), "doors": chance.randrange(6)}
            found |= {"driver": chance.choice(self.people), "load": chance.choice((1, 2.5, -0.0))}
        return dict(chance.sample(list(found.items()), len(found)))

    def _event(self) -> Document:
        chance = self.chance
        kind = chance.choice(("trip", "trip", 1, 1.0, "note", None))
        at = datetime.fromtimestamp(chance.randrange(2**31), UTC)
        return {"meta": {"type": kind}, "truck": chance.choice(self.ids["vehicles"]), "at": at, "text": "stop"}

    def _remark(self) -> Document:
        return {"note": self.chance.choice(self.ids["events"]), "mood": self.chance.choice(("good", "bad", "unknown"))}

    def _spoil(self, document: Document) -> Document:
        chance = self.chance
        if chance.random() > self.dirt:
            return document
        name = chance.choice([each for each in document if each != "_id"] or ["extra"])
        if chance.random() < 0.3:
            document.pop(name, None)
        else:
            document[name] = chance.choice((None, chance.choice(self.odd)))
        return document
