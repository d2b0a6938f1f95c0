"""A shop whose documents have embedded documents of every shape, nested two deep, and documents with dirt in them."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

from bson import Decimal128, Int64, ObjectId

from tests.arbitrary import Arbitrary
from tests.user_projects import Document, write_user_project

HERE = Path(__file__).parent


def write_project(
    folder: Path, target: str, collections: dict[str, list[Document]] | None = None, source: str = "dump:dump"
) -> Path:
    """Write the project, and return the path of its settings."""
    return write_user_project(HERE, "shop", folder, target, collections, source)


class Shop:
    """The documents of one seed. `dirt`: the share of documents with odd values."""

    def __init__(self, seed: int, count: int, dirt: float = 0.6) -> None:
        self.chance, self.dirt = random.Random(seed), dirt
        self.odd = Arbitrary(seed, 10).values
        self.tags = [ObjectId(self.chance.randbytes(12)) for _ in range(max(3, count // 10))]
        self.products = [ObjectId(self.chance.randbytes(12)) for _ in range(max(3, count // 4))]
        self.orders = [ObjectId(self.chance.randbytes(12)) for _ in range(count)]

    def collections(self) -> dict[str, list[Document]]:
        """Return all documents."""
        return {
            "tags": [self.tag(each) for each in self.tags],
            "products": [self.product(each) for each in self.products],
            "orders": [self.order(each) for each in self.orders],
        }

    def make(self, name: str, source_id: ObjectId) -> Document:
        """Return a new document of a collection."""
        return {"tags": self.tag, "products": self.product, "orders": self.order}[name](source_id)

    def tag(self, source_id: ObjectId) -> Document:
        return self._spoil({"_id": source_id, "name": self.chance.choice(("new", "sale", "gift"))})

    def product(self, source_id: ObjectId) -> Document:
        chance = self.chance
        names = chance.sample(("colour", "size", "weight", "a.b", "$set", "é"), chance.randrange(4))
        return self._spoil({
            "_id": source_id,
            "sku": f"sku-{chance.randrange(1000)}",
            "price": Decimal128(f"{chance.randrange(9999)}.90"),
            "attributes": {name: chance.choice(("red", "1", 1, True, None, ["x"], {"y": 1})) for name in names},
            "__v": chance.choice((0, 0, 1)),
        })  # fmt: skip

    def order(self, source_id: ObjectId) -> Document:
        chance = self.chance
        moment = datetime.fromtimestamp(chance.randrange(2**31), UTC)
        order: Document = {
            "_id": source_id, "number": Int64(chance.randrange(2**40)), "placedAt": moment,
            "items": [self.item() for _ in range(chance.choice((0, 1, 1, 2, 5)))],
            "payment": {"method": chance.choice(("card", "cash")), "paidAt": moment, "card": chance.choice(("1", 1))},
            "tags": [chance.choice((*self.tags, *self.tags, ObjectId(chance.randbytes(12)))) for _ in range(2)],
        }  # fmt: skip
        if chance.random() < 0.1:
            order["payment"] = {"$ref": "tags", "$id": chance.choice(self.tags)}
        return self._spoil(order)

    def item(self) -> Document:
        chance = self.chance
        product = chance.choice((*self.products, *self.products, *self.products, ObjectId(chance.randbytes(12))))
        item: Document = {
            "product": product, "quantity": chance.randrange(9), "price": chance.choice((1, 9.5, 2.0, -0.0)),
            "discounts": [
                self._spoil({"code": "summer", "percent": 5, "of": chance.choice((1, 2))})
                for _ in range(chance.randrange(3))
            ],
            "_id": ObjectId(chance.randbytes(12)),
        }  # fmt: skip
        if chance.random() < 0.2:
            item = dict(chance.sample(list(item.items()), len(item)))
        return self._spoil(item)

    def _spoil(self, document: Document) -> Document:
        chance = self.chance
        if chance.random() > self.dirt:
            return document
        names = [name for name in document if name != "_id"] or ["extra"]
        for _ in range(chance.choice((1, 1, 2))):
            kind, name = chance.random(), chance.choice(names)
            if kind < 0.2:
                document.pop(name, None)
            elif kind < 0.4:
                document[name] = None
            elif kind < 0.5:
                document["extra"] = chance.choice(self.odd)
            else:
                document[name] = chance.choice(self.odd)
        return document
