"""Mutations of the source after the run: documents, fields, types, order, collections, indexes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bson import Int64, ObjectId
from bson.datetime_ms import DatetimeMS

from mappings import shared
from migrator.documents.codec import Document, decode, encode
from migrator.documents.raw_bson import split_documents
from migrator.ids import uuid_text
from tests.mutations.base import Expectation, Mutation, MutationContext, make_decorator

DOCUMENTS: dict[str, Mutation] = {}
mutation = make_decorator(DOCUMENTS)
ROWS, TRIP = "rows", "round trip"


def rewrite(
    context: MutationContext,
    name: str,
    change: Callable[[Document], Any],
    matches: Callable[[Document], bool] = lambda _: True,
) -> Document:
    """Change a random document of a collection in place and return the original."""
    path = context.dump / f"{name}.bson"
    raws = list(split_documents(path.read_bytes()))
    positions = [position for position, raw in enumerate(raws) if matches(decode(raw))]
    position = context.random.choice(positions)
    document = decode(raws[position])
    before = decode(raws[position])
    change(document)
    raws[position] = encode(document)
    path.write_bytes(b"".join(raws))
    return before


def expect_source_change(name: str, document: Document, column: str = "", *checks: str) -> Expectation:
    return Expectation(checks=checks or (TRIP,), row=f"{name} {document['_id']}", column=column, fault="source")


@mutation("source: text changed")
def text_changed(context: MutationContext) -> Expectation:
    matches = lambda document: bool(document.get("text"))  # noqa: E731
    found = rewrite(context, "messages", lambda document: document.update(text=document["text"] + " "), matches)
    row = uuid_text(shared.MESSAGES.uuid(found["messageId"]))  # some messageIds are not UUIDs
    return Expectation(checks=(ROWS,), row=row, column="content", fault="source")


@mutation("source: date changed by 1 millisecond")
def date_changed(context: MutationContext) -> Expectation:
    def add_millisecond(document: Document) -> None:
        document["updatedAt"] = DatetimeMS(int(document["updatedAt"]) + 1)

    # Of an ID that several owners claim, one document has the row. The others have rows with other IDs.
    raws = split_documents((context.dump / "conversations.bson").read_bytes())
    claims = Counter(decode(raw)["conversationId"] for raw in raws)
    found = rewrite(context, "conversations", add_millisecond, lambda document: claims[document["conversationId"]] == 1)
    return Expectation(checks=(ROWS,), row=found["conversationId"], column="updated_at", fault="source")


@mutation("source: field without a column added")
def field_added(context: MutationContext) -> Expectation:
    name = context.random.choice(("users", "files", "messages", "courses"))
    return expect_source_change(name, rewrite(context, name, lambda document: document.update(injected=1)), "injected")


@mutation("source: field removed")
def field_removed(context: MutationContext) -> Expectation:
    name = context.random.choice(("users", "messages", "conversations"))
    return expect_source_change(
        name, rewrite(context, name, lambda document: document.pop("__v"), lambda d: "__v" in d), "__v"
    )


@mutation("source: int32 changed to int64")
def type_changed(context: MutationContext) -> Expectation:
    name = context.random.choice(("users", "messages", "conversations"))
    change = lambda document: document.update(__v=Int64(document["__v"]))  # noqa: E731
    return expect_source_change(name, rewrite(context, name, change, lambda d: "__v" in d), "__v")


@mutation("source: field order of an embedded document changed")
def order_changed(context: MutationContext) -> Expectation:
    def has_nested_document(document: Document) -> bool:
        return any(isinstance(value, dict) and len(value) > 1 for value in document.values())

    def reverse_fields(document: Document) -> None:
        name = next(name for name, value in document.items() if isinstance(value, dict) and len(value) > 1)
        document[name] = dict(reversed(document[name].items()))

    name = context.random.choice(
        [each for each in ("agents", "files", "users") if has_match(context.dump, each, has_nested_document)]
    )
    return expect_source_change(name, rewrite(context, name, reverse_fields, has_nested_document))


def has_match(dump: Path, name: str, matches: Callable[[Document], bool]) -> bool:
    return any(matches(decode(raw)) for raw in split_documents((dump / f"{name}.bson").read_bytes()))


@mutation("source: document removed")
def document_removed(context: MutationContext) -> Expectation:
    name = context.random.choice(("memoryentries", "transactions", "presets", "modules"))
    path = context.dump / f"{name}.bson"
    raws = list(split_documents(path.read_bytes()))
    removed = decode(raws.pop(context.random.randrange(len(raws))))
    path.write_bytes(b"".join(raws))
    return expect_source_change(name, removed, "", "ledger")


@mutation("source: document added")
def document_added(context: MutationContext) -> Expectation:
    name = context.random.choice(("memoryentries", "presets", "modules"))
    path = context.dump / f"{name}.bson"
    raws = list(split_documents(path.read_bytes()))
    new = {**decode(context.random.choice(raws)), "_id": ObjectId(context.random.randbytes(12))}
    path.write_bytes(b"".join([*raws, encode(new)]))
    return expect_source_change(name, new, "", "ledger")


@mutation("source: archived document changed")
def archived_changed(context: MutationContext) -> Expectation:
    name = context.random.choice(("presets", "roles", "sessions"))
    return expect_source_change(
        name, rewrite(context, name, lambda document: document.update(injected=None)), "document", "archive"
    )


@mutation("source: rejected document changed")
def rejected_changed(context: MutationContext) -> Expectation:
    change = lambda document: document.update(injected=None)  # noqa: E731
    found = rewrite(context, "files", change, lambda document: document["filename"] == "orphan.txt")
    return expect_source_change("files", found, "document", "rejects")


@mutation("source: parent changed")
def parent_changed(context: MutationContext) -> Expectation:
    change = lambda document: document.update(parentMessageId="")  # noqa: E731
    child = lambda document: len(str(document.get("parentMessageId"))) == 36 and has_parent(document)  # noqa: E731
    found = rewrite(context, "messages", change, child)
    return Expectation(checks=(ROWS,), row=found["messageId"], column="parent_id", fault="source")


def has_parent(document: Document) -> bool:
    return str(document["parentMessageId"]) not in ("00000000-0000-0000-0000-000000000000", str(document["messageId"]))


@mutation("source: collection removed")
def collection_gone(context: MutationContext) -> Expectation:
    name = context.random.choice(("presets", "roles", "sessions", "memoryentries"))
    (context.dump / f"{name}.bson").unlink()
    (context.dump / f"{name}.metadata.json").unlink()
    return Expectation(checks=("accounting",), row=name, fault="source")


@mutation("source: collection added")
def collection_more(context: MutationContext) -> Expectation:
    (context.dump / "injected.bson").write_bytes(encode({"_id": 1}))
    return Expectation(checks=("accounting",), row="injected", fault="source")


@mutation("source: index of a collection changed")
def index_changed(context: MutationContext) -> Expectation:
    name = context.random.choice(("users", "messages", "presets"))
    path = context.dump / f"{name}.metadata.json"
    path.write_bytes(path.read_bytes() + b" ")
    return Expectation(checks=("metadata",), row=name, column="metadata", fault="source")
