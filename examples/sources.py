"""Databases of other applications than LibreChat, out of a seed: a shop, a content system, devices with readings.

We wrote these applications ourselves; they are no published models. Each has references in several forms, as Mongoose
models of such applications have them, and some dirt. `LINKS` is what the models say: collection.path → collection.key.

    python examples/sources.py shop FOLDER    writes a dump of the database `shop` to FOLDER/shop
"""

from __future__ import annotations

import random
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
from bson import Binary, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS

Document = dict[str, Any]
Database = dict[str, list[Document]]
SEED, SIZE = 1, 400  # of the dumps that the drafts in this folder are made from
START = 1_700_000_000_000  # milliseconds

LINKS = {
    "shop": {
        "products.category": "categories._id",
        "products.relatedProducts[]": "products._id",
        "categories.parent": "categories._id",
        "orders.customer": "customers._id",
        "orders.items[].product": "products._id",
        "orders.items[].sku": "products.sku",
        "payments.orderNumber": "orders.orderNumber",
        "payments.customerId": "customers._id",
        "reviews.product": "products._id",
        "reviews.author": "customers._id",
        "carts.customer": "customers._id",
        "carts.lines[].productId": "products._id",
    },
    "content": {
        "articles.authorId": "authors._id",
        "articles.tags[]": "tags._id",
        "articles.related[]": "articles._id",
        "articles.site": "sites._id",
        "revisions.article": "articles._id",
        "revisions.editor": "authors._id",
        "comments.articleId": "articles._id",
        "comments.replyTo": "comments._id",
        "media.uploadedBy": "authors._id",
        "media.usedIn[].article": "articles._id",
    },
    "devices": {
        "devices.ownerId": "accounts._id",
        "devices.modelNumber": "models._id",
        "devices.gateway": "devices._id",
        "readings.deviceId": "devices._id",
        "alerts.device": "devices._id",
        "alerts.acknowledgedBy": "accounts._id",
        "groups.members[]": "devices._id",
        "groups.ownerId": "accounts._id",
    },
}


class Maker:
    """Chance, and values that have no order."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def oid(self) -> ObjectId:
        return ObjectId((START // 1000 + self.chance.randrange(10**7)).to_bytes(4, "big") + self.chance.randbytes(8))

    def guid(self) -> uuid.UUID:
        return uuid.UUID(bytes=self.chance.randbytes(16), version=4)

    def date(self) -> DatetimeMS:
        return DatetimeMS(START + self.chance.randrange(10**10))

    def words(self, most: int) -> str:
        return " ".join(self.chance.choices(("red", "long", "table", "Ünder", "of", "plan", "water"), k=most))

    def often(self, percent: float) -> bool:
        return self.chance.random() * 100 < percent

    def some(self, values: list[Any], most: int) -> list[Any]:
        return self.chance.sample(values, self.chance.randrange(min(most, len(values)) + 1))


def make_shop(seed: int, size: int) -> Database:
    """Orders with items and addresses, products with a text as second key, payments by the number of the order."""
    make = Maker(seed)
    pick = make.chance.choice
    categories = [{"_id": make.oid(), "name": make.words(1), "slug": f"c-{n}", "__v": 0} for n in range(12)]
    for number, each in enumerate(categories[3:]):
        each["parent"] = categories[number % 3]["_id"]
    products: list[Document] = [
        {
            "_id": make.oid(),
            "sku": f"SKU-{number:06d}-{make.chance.randrange(100):02d}",
            "title": make.words(3),
            "category": pick(categories)["_id"],
            "price": Decimal128(f"{make.chance.randrange(100_000)}.{make.chance.randrange(100):02d}"),
            "stock": make.chance.randrange(500),
            "weight": make.chance.choice([1, 2.5, 0.75]),
            "dimensions": {"width": 10, "height": 20.5, "depth": 3},
            "attributes": {pick(["colour", "size", "material"]): make.words(1)},
            "images": [f"https://cdn.example.com/{number}.jpg"],
            "createdAt": make.date(),
            "__v": 0,
        }
        for number in range(size // 5)
    ]
    for each in products:
        each["relatedProducts"] = make.some([other["_id"] for other in products], 4)
    customers = [
        {
            "_id": make.oid(),
            "email": f"customer{number}@example.com",
            "name": {"first": make.words(1), "last": make.words(1)},
            "addresses": [{"_id": make.oid(), "street": make.words(2), "zip": "12345"}],
            "loyaltyPoints": Int64(make.chance.randrange(10**6)),
            **({"phone": "+49 30 1234"} if make.often(60) else {}),
        }
        for number in range(size // 4)
    ]
    orders = [_order(make, number, products, customers) for number in range(size)]
    payments = [
        {
            "_id": str(make.guid()),
            "orderNumber": each["orderNumber"],
            "customerId": str(each["customer"]),
            "amount": each["total"],
            "method": pick(["card", "transfer"]),
            "paidAt": make.date(),
        }
        for each in orders
        if make.often(90)
    ]
    reviews = [
        {
            "_id": make.oid(),
            "product": pick(products)["_id"],
            "author": pick(customers)["_id"],
            "stars": pick([1, 4, 5]),
        }
        for _ in range(size // 2)
    ]
    reviews[0]["author"] = make.oid()  # the customer was deleted
    carts = [
        {
            "_id": each["_id"],  # the same as the customer's
            "customer": each["_id"],
            "lines": [{"productId": pick(products)["_id"], "quantity": 1}],
            "expiresAt": make.date(),
        }
        for each in customers[::2]
    ]
    return {
        "categories": categories, "products": products, "customers": customers, "orders": orders,
        "payments": payments, "reviews": reviews, "carts": carts,
    }  # fmt: skip


def _order(make: Maker, number: int, products: list[Document], customers: list[Document]) -> Document:
    items = [
        {
            "product": product["_id"],
            "sku": product["sku"],
            "quantity": make.chance.randrange(1, 5),
            "price": product["price"],
        }
        for product in make.chance.sample(products, make.chance.randrange(1, 6))
    ]
    return {
        "_id": make.oid(),
        "orderNumber": 100_000 + number,
        "customer": make.chance.choice(customers)["_id"],
        "items": items,
        "shippingAddress": {"street": make.words(2), "city": make.words(1), "zip": "12345", "country": "DE"},
        "total": items[0]["price"],
        "status": make.chance.choice(["new", "paid", "shipped"]),
        "coupon": None if make.often(80) else "WELCOME",
        "placedAt": make.date(),
        "__v": 0,
    }


def make_content(seed: int, size: int) -> Database:
    """Articles with a slug as `_id`, revisions, tags by their names, replies, media with UUIDs."""
    make = Maker(seed)
    pick = make.chance.choice
    sites = [
        {"_id": name, "domain": f"{name}.example.com"} for name in ("magazine-2019", "company-blog-1", "docs-site-02")
    ]
    authors = [{"_id": make.oid(), "handle": f"a{n}", "bio": make.words(9)} for n in range(size // 10)]
    tags = [{"_id": f"topic-{n}-{make.chance.randrange(10**6):06d}", "label": make.words(1)} for n in range(25)]
    articles: list[Document] = [
        {
            "_id": f"{make.words(2).replace(' ', '-').lower()}-{number:05d}",
            "title": make.words(5),
            "body": make.words(200),
            "authorId": str(pick(authors)["_id"]),
            "site": pick(sites)["_id"],
            "tags": [tag["_id"] for tag in make.some(tags, 5)],
            "seo": {"title": make.words(3), "noIndex": False},
            "status": pick(["draft", "published"]),
            "publishedAt": make.date() if make.often(70) else None,
            "views": Int64(make.chance.randrange(10**6)),
        }
        for number in range(size)
    ]
    for each in articles:
        each["related"] = make.some([other["_id"] for other in articles], 3)
    revisions = [
        {
            "_id": make.oid(),
            "article": each["_id"],
            "number": number,
            "editor": pick(authors)["_id"],
            "changes": [{"op": "replace", "path": "/title", "value": pick([make.words(2), 1, None])}],
            "at": make.date(),
        }
        for each in articles
        for number in range(make.chance.randrange(4))
    ]
    comments: list[Document] = [
        {"_id": make.oid(), "articleId": pick(articles)["_id"], "text": make.words(12), "likes": 0, "spam": False}
        for _ in range(size)
    ]
    for number, each in enumerate(comments[10:]):
        if make.often(40):
            each["replyTo"] = comments[make.chance.randrange(number + 10)]["_id"]
    media = [
        {
            "_id": Binary.from_uuid(make.guid()),
            "file": f"{number}.png",
            "bytes": make.chance.randrange(10**7),
            "thumbnail": make.chance.randbytes(30),
            "uploadedBy": pick(authors)["_id"],
            "usedIn": [{"article": pick(articles)["_id"], "position": 1}],
        }
        for number in range(size // 3)
    ]
    return {
        "sites": sites, "authors": authors, "tags": tags, "articles": articles,
        "revisions": revisions, "comments": comments, "media": media,
    }  # fmt: skip


def make_devices(seed: int, size: int) -> Database:
    """Devices with UUIDs, readings with maps of sensors, accounts with numbers."""
    make = Maker(seed)
    pick = make.chance.choice
    models = [{"_id": f"MX-{n:04d}-{make.chance.randrange(1000):03d}", "name": make.words(2)} for n in range(8)]
    accounts = [
        {"_id": Int64(7_000_000 + n), "name": make.words(2), "limits": {"devices": 5, "users": 2}} for n in range(40)
    ]
    devices: list[Document] = [
        {
            "_id": Binary.from_uuid(make.guid()),
            "serial": f"{number:08x}",
            "modelNumber": pick(models)["_id"],
            "ownerId": pick(accounts)["_id"],
            "location": {"type": "Point", "coordinates": [make.chance.random() * 90, make.chance.random() * 90]},
            "settings": {make.words(1): pick([1, "a", True]) for _ in range(2)},
            "online": make.often(50),
        }
        for number in range(size // 4)
    ]
    for each in devices[5:]:
        each["gateway"] = pick(devices[:5])["_id"]
    readings = [
        {
            "_id": make.oid(),
            "deviceId": pick(devices)["_id"],
            "at": make.date(),
            "values": {f"sensor-{make.chance.randrange(500):04d}": make.chance.random() * 100 for _ in range(6)},
            "battery": pick([100, 99.5, float("nan")]),
        }
        for _ in range(size)
    ]
    alerts = [
        {
            "_id": make.oid(),
            "device": pick(devices)["_id"],
            "level": pick(["low", "high"]),
            "raised": make.date() if make.often(99) else "2024-01-01T00:00:00Z",
            "acknowledgedBy": pick(accounts)["_id"],
        }
        for _ in range(size // 3)
    ]
    groups = [
        {
            "_id": make.oid(),
            "name": make.words(1),
            "ownerId": pick(accounts)["_id"],
            "members": [each["_id"] for each in make.some(devices, 6)],
        }
        for _ in range(30)
    ]
    return {
        "models": models, "accounts": accounts, "devices": devices,
        "readings": readings, "alerts": alerts, "groups": groups,
    }  # fmt: skip


MAKERS: dict[str, Callable[[int, int], Database]] = {
    "shop": make_shop,
    "content": make_content,
    "devices": make_devices,
}


def write_dump(database: Database, folder: Path) -> None:
    """Write the collections as mongodump does, without metadata."""
    folder.mkdir(parents=True)
    for name, documents in database.items():
        (folder / f"{name}.bson").write_bytes(b"".join(map(bson.encode, documents)))


def main(arguments: list[str]) -> int:
    """Write the dump of one application, and return the exit code."""
    if len(arguments) != 2 or arguments[0] not in MAKERS:
        print(f"Usage: python examples/sources.py {'|'.join(MAKERS)} FOLDER", file=sys.stderr)
        return 2
    name, folder = arguments
    database = MAKERS[name](SEED, SIZE)
    write_dump(database, Path(folder) / name)
    documents = sum(map(len, database.values()))
    print(f"{documents:,} documents of {len(database)} collections written to {Path(folder) / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
