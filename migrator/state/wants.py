"""What documents wait for: values of rows that, when such a row arrives or goes, change the outcome of the document.

A document without a row wants the ID and the unique values that it would have, and every row that it refers to. A
loaded document wants the rows that it refers to without a foreign key, and those that it did not find.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from migrator.postgres.copy import copy
from migrator.postgres.native import write_row
from migrator.state.records import Connection, Namespace
from migrator.translation.encoder import format_target_id

MAX_VALUE = 200  # characters; longer values are replaced by their hash
ANY = "*"  # a want of any change in a collection
_KINDS = ("text", "bytea", "text", "text")


@dataclass(frozen=True, slots=True, order=True)
class Wanted:
    """A value of a column of a collection; the column `_id` has the `source_id` of documents."""

    collection: str
    column: str
    value: str

    @property
    def name(self) -> str:
        return f"{self.collection}.{self.column}"


def wanted(collection: str, column: str, plain: object) -> Wanted:
    """Return the want of a plain value."""
    text = plain.hex() if column == "_id" and isinstance(plain, bytes) else format_target_id(plain)
    return Wanted(collection, column, text if len(text) <= MAX_VALUE else sha256(text.encode()).hexdigest())


def anything(collection: str) -> Wanted:
    """Return the want of any change in a collection."""
    return Wanted(collection, ANY, "")


def wanted_as_whole(connection: Connection, namespace: Namespace, collections: Iterable[str]) -> set[str]:
    """Return those of the collections of which a document wants any change."""
    names = {anything(name).name: name for name in collections}
    query = namespace.sql("SELECT DISTINCT wanted FROM {wants} WHERE wanted = ANY(%s)")
    return {names[wanted] for (wanted,) in connection.execute(query, (list(names),))}


def add(connection: Connection, namespace: Namespace, wants: Iterable[tuple[str, bytes, Wanted]]) -> None:
    """Record wants: (collection, source_id, what it wants)."""
    rows = [write_row((name, source_id, each.name, each.value), _KINDS) for name, source_id, each in wants]
    copy(connection, namespace.sql("{wants}"), rows)


def find(connection: Connection, namespace: Namespace, values: Iterable[Wanted]) -> set[tuple[str, bytes]]:
    """Return the documents that want any of these values: (collection, source_id)."""
    values = list(values)
    if not values:
        return set()
    query = namespace.sql(
        "SELECT DISTINCT w.collection, w.source_id FROM unnest(%s::text[], %s::text[]) AS v (name, value)"
        " JOIN {wants} w ON w.wanted = v.name AND w.value = v.value"
    )
    found = connection.execute(query, ([each.name for each in values], [each.value for each in values]), binary=True)
    return {(name, bytes(source_id)) for name, source_id in found}
