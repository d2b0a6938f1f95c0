"""The source changed since the run: documents, fields, types, order; collections and their indexes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bson import Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from mappings import shared
from migrator.documents.codec import Document, decode, encode
from migrator.documents.raw_bson import split_documents
from migrator.ids import uuid_text
from tests.mutations.base import Bench, Kind, Planted, table_of

DOCUMENTS: dict[str, Kind] = {}
plant = table_of(DOCUMENTS)
ROWS, TRIP = "rows", "round trip"


def rewrite(
    bench: Bench, name: str, change: Callable[[Document], Any], fits: Callable[[Document], bool] = lambda _: True
) -> Document:
    """A random document of a collection is changed in place; returns it as it was."""
    path = bench.dump / f"{name}.bson"
    raws = list(split_documents(path.read_bytes()))
    places = [place for place, raw in enumerate(raws) if fits(decode(raw))]
    place = bench.chance.choice(places)
    document = decode(raws[place])
    before = decode(raws[place])
    change(document)
    raws[place] = encode(document)
    path.write_bytes(b"".join(raws))
    return before


def told(name: str, document: Document, column: str = "", *checks: str) -> Planted:
    return Planted(checks=checks or (TRIP,), row=f"{name} {document['_id']}", column=column, fault="source")


@plant("source: a text changed")
def text_changed(bench: Bench) -> Planted:
    fits = lambda document: bool(document.get("text"))  # noqa: E731
    found = rewrite(bench, "messages", lambda document: document.update(text=document["text"] + " "), fits)
    row = uuid_text(shared.MESSAGES.uuid(found["messageId"]))  # some messageIds are no UUID
    return Planted(checks=(ROWS,), row=row, column="content", fault="source")


@plant("source: a date changed by a millisecond")
def date_changed(bench: Bench) -> Planted:
    def later(document: Document) -> None:
        document["updatedAt"] = DatetimeMS(int(document["updatedAt"]) + 1)

    found = rewrite(bench, "conversations", later)
    return Planted(checks=(ROWS,), row=found["conversationId"], column="updated_at", fault="source")


@plant("source: a field added that has no column")
def field_added(bench: Bench) -> Planted:
    name = bench.chance.choice(("users", "files", "messages", "courses"))
    return told(name, rewrite(bench, name, lambda document: document.update(planted=1)), "planted")


@plant("source: a field removed")
def field_removed(bench: Bench) -> Planted:
    name = bench.chance.choice(("users", "messages", "conversations"))
    return told(name, rewrite(bench, name, lambda document: document.pop("__v"), lambda d: "__v" in d), "__v")


@plant("source: an integer became a long one")
def type_changed(bench: Bench) -> Planted:
    name = bench.chance.choice(("users", "messages", "conversations"))
    change = lambda document: document.update(__v=Int64(document["__v"]))  # noqa: E731
    return told(name, rewrite(bench, name, change, lambda d: "__v" in d), "__v")


@plant("source: the order of an embedded document's fields")
def order_changed(bench: Bench) -> Planted:
    def many(document: Document) -> bool:
        return any(isinstance(value, dict) and len(value) > 1 for value in document.values())

    def turn(document: Document) -> None:
        name = next(name for name, value in document.items() if isinstance(value, dict) and len(value) > 1)
        document[name] = dict(reversed(document[name].items()))

    name = bench.chance.choice([each for each in ("agents", "files", "users") if has(bench.dump, each, many)])
    return told(name, rewrite(bench, name, turn, many))


def has(dump: Path, name: str, fits: Callable[[Document], bool]) -> bool:
    return any(fits(decode(raw)) for raw in split_documents((dump / f"{name}.bson").read_bytes()))


@plant("source: a document removed")
def document_removed(bench: Bench) -> Planted:
    name = bench.chance.choice(("memoryentries", "transactions", "presets", "modules"))
    path = bench.dump / f"{name}.bson"
    raws = list(split_documents(path.read_bytes()))
    gone = decode(raws.pop(bench.chance.randrange(len(raws))))
    path.write_bytes(b"".join(raws))
    return told(name, gone, "", "ledger")


@plant("source: a document added")
def document_added(bench: Bench) -> Planted:
    name = bench.chance.choice(("memoryentries", "presets", "modules"))
    path = bench.dump / f"{name}.bson"
    raws = list(split_documents(path.read_bytes()))
    new = {**decode(bench.chance.choice(raws)), "_id": ObjectId(bench.chance.randbytes(12))}
    path.write_bytes(b"".join([*raws, encode(new)]))
    return told(name, new, "", "ledger")


@plant("source: an archived document changed")
def archived_changed(bench: Bench) -> Planted:
    name = bench.chance.choice(("presets", "roles", "sessions"))
    return told(name, rewrite(bench, name, lambda document: document.update(planted=None)), "document", "archive")


@plant("source: a rejected document changed")
def rejected_changed(bench: Bench) -> Planted:
    change = lambda document: document.update(planted=None)  # noqa: E731
    found = rewrite(bench, "files", change, lambda document: document["filename"] == "orphan.txt")
    return told("files", found, "document", "rejects")


@plant("source: another parent")
def parent_changed(bench: Bench) -> Planted:
    change = lambda document: document.update(parentMessageId="")  # noqa: E731
    child = lambda document: len(str(document.get("parentMessageId"))) == 36 and has_parent(document)  # noqa: E731
    found = rewrite(bench, "messages", change, child)
    return Planted(checks=(ROWS,), row=found["messageId"], column="parent_id", fault="source")


def has_parent(document: Document) -> bool:
    return str(document["parentMessageId"]) not in ("00000000-0000-0000-0000-000000000000", str(document["messageId"]))


@plant("source: a collection gone")
def collection_gone(bench: Bench) -> Planted:
    name = bench.chance.choice(("presets", "roles", "sessions", "memoryentries"))
    (bench.dump / f"{name}.bson").unlink()
    (bench.dump / f"{name}.metadata.json").unlink()
    return Planted(checks=("accounting",), row=name, fault="source")


@plant("source: a collection more")
def collection_more(bench: Bench) -> Planted:
    (bench.dump / "planted.bson").write_bytes(encode({"_id": 1}))
    return Planted(checks=("accounting",), row="planted", fault="source")


@plant("source: an index of a collection")
def index_changed(bench: Bench) -> Planted:
    name = bench.chance.choice(("users", "messages", "presets"))
    path = bench.dump / f"{name}.metadata.json"
    path.write_bytes(path.read_bytes() + b" ")
    return Planted(checks=("metadata",), row=name, column="metadata", fault="source")
