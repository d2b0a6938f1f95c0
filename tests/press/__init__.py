"""A press whose tables have keys of several columns, and documents with dirt in them and with keys in common."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bson import ObjectId

from tests.arbitrary import Arbitrary
from tests.user_projects import Document, write_user_project

HERE = Path(__file__).parent
NAMES = ("articles", "legacy", "orders", "lines", "readings", "comments")
TENANTS = ("acme", 'Q"uote', "back\\slash", "été ☃", "[1, 2]", "a\tb\n\x07\x7f", "x")


def write_project(
    folder: Path, target: str, collections: dict[str, list[Document]] | None = None, source: str = "dump:dump"
) -> Path:
    """Write the project, and return the path of its settings."""
    return write_user_project(HERE, "press", folder, target, collections, source)


class Press:
    """The documents of one seed. `dirt`: the share of documents with odd values."""

    def __init__(self, seed: int, count: int, dirt: float = 0.4) -> None:
        self.chance, self.dirt = random.Random(seed), dirt
        self.odd = Arbitrary(seed, 10).values
        self.ids = {name: [ObjectId(self.chance.randbytes(12)) for _ in range(count)] for name in NAMES}
        self.slugs = [f"{self.chance.choice(('über', 'a b', '{}', 'slug'))}-{number}" for number in range(count // 4)]

    def collections(self) -> dict[str, list[Document]]:
        """Return all documents."""
        return {name: [self.make(name, each) for each in self.ids[name]] for name in NAMES}

    def make(self, name: str, source_id: ObjectId) -> Document:
        """Return a new document of a collection."""
        made: Document = getattr(self, f"_{name}")()
        return self._spoil({"_id": source_id, **made})

    def _articles(self) -> Document:
        chance = self.chance
        revisions = [
            self._spoil(
                {"text": f"revision {number}", "remarks": ["x", chance.choice(("y", 1))][: chance.randrange(3)]}
            )
            for number in range(chance.randrange(3))
        ]
        return {
            "tenant": chance.choice(TENANTS), "slug": chance.choice(self.slugs), "title": "title",
            "extra": {"n": chance.randrange(5)}, "revisions": revisions, "__v": chance.choice((0, 0, 1)),
        }  # fmt: skip

    def _legacy(self) -> Document:
        """Fills the table of articles, too."""
        return {"tenant": self.chance.choice(TENANTS), "slug": self.chance.choice(self.slugs), "title": "old"}

    def _orders(self) -> Document:
        return {"customer": self.chance.choice(("Ann", "Bob"))}

    def _lines(self) -> Document:
        orders = self.ids["orders"]
        return {
            "order": self.chance.choice((*orders, ObjectId(self.chance.randbytes(12)))),
            "number": self.chance.randrange(-1, 4), "text": "line",
        }  # fmt: skip

    def _readings(self) -> Document:
        chance = self.chance
        moment = datetime.fromtimestamp(chance.randrange(-(2**35), 2**35), UTC)
        moment += timedelta(milliseconds=chance.randrange(1000)) if chance.random() < 0.5 else timedelta()
        return {
            "takenAt": moment, "day": moment.replace(hour=0, minute=0, second=0, microsecond=0),
            "raw": chance.randbytes(chance.randrange(5)), "good": chance.choice((True, False)),
            "code": chance.choice(("a", "ab", "abc", "")), "value": chance.random(),
        }  # fmt: skip

    def _comments(self) -> Document:
        chance = self.chance
        return {
            "tenant": chance.choice(TENANTS), "slug": chance.choice(self.slugs),
            "article": chance.choice(self.ids["articles"]), "line": chance.choice((*self.ids["lines"], None)),
            "reading": chance.choice(self.ids["readings"]), "text": "comment",
        }  # fmt: skip

    def _spoil(self, document: Document) -> Document:
        chance = self.chance
        if chance.random() > self.dirt:
            return document
        name, kind = chance.choice([each for each in document if each != "_id"]), chance.random()
        if kind < 0.2:
            document.pop(name)
        elif kind < 0.4:
            document[name] = None
        elif kind < 0.6:
            document["more"] = chance.choice(self.odd)
        else:
            document[name] = chance.choice(self.odd)
        return document
