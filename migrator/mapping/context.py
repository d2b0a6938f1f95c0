"""What rules work with: rows and fields, lookups, what they may ask and raise while a document is translated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from migrator.documents.codec import Document

Row = dict[str, Any]


class Absent:
    """The value of a field that is not there; null is another thing."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


class Rejected(Exception):
    """A document cannot become a row. Never leaves the translation: there it becomes a value."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Archived(Exception):
    """A document has no home in the target, by rule; `code` is the finding that says why."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail


@dataclass(frozen=True, slots=True)
class Found:
    """A row that a reference leads to: its id as a plain value, and the columns that were asked for.

    `owner` is set where the row has another id than the one asked for, because it is another owner's: as the aliases
    spell what `Collection.owner` says.
    """

    id: Any
    carried: Mapping[str, Any]
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """A question that documents of one collection ask about rows of another, put once for a whole batch.

    `keys(documents)` gives the plain values asked for; they are compared with column `by` (aliases included where it is
    the id), or with the document's own `_id` where `by` is "_id" (the key is then the ledger's source_id). `fields` are
    those that `keys` looks at, where it looks at each by itself; else it is given whole documents, which takes longer.
    """

    collection: str
    keys: Callable[[Iterable[Document]], set[Any]] = field(hash=False)
    by: str = "id"
    carry: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    @property
    def name(self) -> tuple[str, str]:
        return self.collection, self.by


class Context(Protocol):
    """What rules may ask for while one document is translated."""

    options: Any

    def note(self, code: str, detail: str) -> None: ...

    def find(self, lookup: Lookup, key: Any) -> tuple[Found, ...]: ...

    def listed(self, key: Any) -> tuple[tuple[Any, int], ...]:
        """Who lists the row `key` in a `Link` array, and at which place: (target id of the lister, position)."""
        ...


class Rule(Protocol):
    """`columns` it fills, `gives` the top-level fields it gives back, `lookups` it needs."""

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def gives(self) -> tuple[str, ...]: ...

    @property
    def lookups(self) -> tuple[Lookup, ...]: ...

    def forward(self, document: Document, row: Row, context: Context) -> None: ...

    def back(self, row: Row, document: Document) -> None: ...


def value_at(document: Any, path: str) -> Any:
    """The value at a dotted path of sub-documents, or ABSENT."""
    if "." not in path and isinstance(document, dict):  # nearly always
        return document.get(path, ABSENT)
    for name in path.split("."):
        if not isinstance(document, dict) or name not in document:
            return ABSENT
        document = document[name]
    return document


def first_at(document: Document, paths: Iterable[str]) -> tuple[Any, str]:
    """The first value that is there and not null among `paths`, and its path; (ABSENT, '') where there is none."""
    for path in paths:
        value = value_at(document, path)
        if value is not ABSENT and value is not None:
            return value, path
    return ABSENT, ""


def kind_of(value: Any) -> str:
    """The name of a BSON type, for details of findings: never the value itself, which may be personal."""
    return "missing" if value is ABSENT else "null" if value is None else type(value).__name__
