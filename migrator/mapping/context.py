"""Values and protocols that rules use while one document is translated: rows, absent fields, lookups, outcomes.

The rules are in rules.py and references.py. The implementation of `Context` is in migrator/translation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from migrator.documents.codec import Document

Row = dict[str, Any]


class Absent:
    """The value of a field that the document does not have. BSON null is a different value."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


class Rejected(Exception):
    """Rejects the document: it cannot become a row. The translator catches it and returns a `Reject`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Archived(Exception):
    """Archives the document: a rule found that it has no row in the target. `code` is the finding to record."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail


@dataclass(frozen=True, slots=True)
class Match:
    """A row that a lookup found: its ID as a plain value, and the values of the carried columns.

    `owner` is set if the row has a different ID than the one looked up, because an ID conflict gave it a new one. It
    is the owner as the ID aliases store it (`Collection.owner`).
    `id` is None if the owner's document with the ID was not loaded. Such a match follows the row of another owner.
    """

    id: Any
    carried: Mapping[str, Any]
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """A query of documents of one collection for rows of another. It runs once per batch.

    `keys(documents)` returns the plain values to look up. They are compared with the column `by` (and with ID aliases
    if this is the ID column), or with the `_id` of the documents if `by` is "_id"; a key is then the `source_id` of the
    ledger. `fields` are the fields that `keys` reads, if it reads each field independently. Without `fields`, `keys`
    gets whole documents, which is slower.
    """

    collection: str
    keys: Callable[[Iterable[Document]], set[Any]] = field(hash=False)
    by: str = "id"
    carry: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    @property
    def name(self) -> tuple[str, str]:
        """The collection and column of the lookup. Lookups of one mapping with the same name share their results."""
        return self.collection, self.by


def join_lookups(one: Lookup, other: Lookup) -> Lookup:
    """Return one lookup for the keys and columns of two with the same name."""

    def keys(documents: Iterable[Document]) -> set[Any]:
        found = list(documents)
        return one.keys(found) | other.keys(found)

    fields = (*one.fields, *other.fields) if one.fields and other.fields else ()
    return Lookup(
        one.collection,
        keys,
        by=one.by,
        carry=tuple(dict.fromkeys([*one.carry, *other.carry])),
        fields=tuple(dict.fromkeys(fields)),
    )


class Context(Protocol):
    """What rules may use while one document is translated."""

    options: Any

    def note(self, code: str, detail: str) -> None:
        """Record a finding about the document."""
        ...

    def find(self, lookup: Lookup, key: Any) -> tuple[Match, ...]:
        """Return the rows that a lookup found for a key."""
        ...

    def listed(self, key: Any) -> tuple[tuple[Any, int], ...]:
        """Return which rows list the row `key` in a `Link` array: (target ID of the listing row, array index)."""
        ...


def value_at(document: Any, path: str) -> Any:
    """Return the value at a dotted path of embedded documents, or ABSENT."""
    if "." not in path and isinstance(document, dict):  # the usual case
        return document.get(path, ABSENT)
    for name in path.split("."):
        if not isinstance(document, dict) or name not in document:
            return ABSENT
        document = document[name]
    return document


def first_at(document: Document, paths: Iterable[str]) -> tuple[Any, str]:
    """Return the first value among `paths` that is present and not null, and its path; else (ABSENT, '')."""
    for path in paths:
        value = value_at(document, path)
        if value is not ABSENT and value is not None:
            return value, path
    return ABSENT, ""


def type_name(value: Any) -> str:
    """Return the name of a value's type for the detail of a finding. Values are never shown: they may be personal."""
    return "missing" if value is ABSENT else "null" if value is None else type(value).__name__
