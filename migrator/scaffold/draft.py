"""The draft of a migration as plain values: tables, columns, keys, references, each with its evidence.

Not here: the decisions (drafting.py), and the text of the packages (writing).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from migrator.scaffold.existing import ExistingTable
from migrator.scaffold.references import FoundReference

KEY_COLUMN = "id"


class Kind(StrEnum):
    """The kind of a column or of the items of an array, and with it the conversion of its values."""

    TEXT = "text"
    UUID_TEXT = "UUID in a text"
    UUID = "UUID"
    OBJECT_ID = "ObjectId"
    INTEGER = "int"
    LONG = "long"
    DOUBLE = "double"
    NUMBER = "int or double"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATE = "date"
    BYTES = "binary data"
    ANY = "any"
    OBJECT = "object"
    LIST = "array"
    ARRAY = "array of one kind"
    ID = "ID"

    @property
    def is_json(self) -> bool:
        return self in (Kind.ANY, Kind.OBJECT, Kind.LIST)


class Restore(StrEnum):
    """The form in which documents hold the key of another document."""

    OBJECT_ID = "AS_OBJECTID"
    HEX = "AS_HEX"
    OBJECT_ID_TEXT = "AS_OBJECTID_OF_TEXT"
    UUID = "AS_UUID"
    UUID_TEXT = "AS_UUID_TEXT"
    TEXT = "AS_TEXT"
    INTEGER = "AS_INT"
    LONG = "AS_LONG"


@dataclass(frozen=True, slots=True)
class Codec:
    """The codec of a column that exists: its code, and the name that it needs, or the labels of an enum."""

    code: str
    name: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDraft:
    """The key of a table: the field, and the kind of its values that the column holds; None: a UUID made of them.

    `codec`: that of a column that exists, if it is not the usual one. `others`: the other columns of a key of several
    columns, which fields fill as they fill any column. `column` is "" then if the key field fills none.
    """

    path: str
    kind: Kind | None
    evidence: str
    column: str = KEY_COLUMN
    codec: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDraft:
    """A column and the field that fills it. `required`: NOT NULL. `note`: a comment in the code.

    `longest`: bytes of the longest text. `target` is the collection to which an ID refers, `restore` the form of its
    value, and `is_key` whether it is a foreign key. `item` is the kind of the items of an array. `restores_null`: NULL
    means null, not an absent field. `codec` and `default` (as code) are those of a column that exists.
    """

    name: str
    path: str
    kind: Kind
    required: bool
    evidence: str
    note: str = ""
    indexable: bool = True
    longest: int = 0
    restores_null: bool = False
    item: Kind | None = None
    target: str = ""
    restore: Restore | None = None
    is_key: bool = False
    codec: Codec | None = None
    default: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpliedDraft:
    """A field that gets no column, because it always has the same value. `value`: as Python code."""

    path: str
    value: str
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexDraft:
    """An index of the table. `descending`: the columns in descending order. `is_gin`: for elements of an array."""

    name: str
    columns: tuple[str, ...]
    descending: frozenset[str] = frozenset()
    unique: bool = False
    is_gin: bool = False


@dataclass(slots=True, kw_only=True)
class RowsDraft:
    """A table. `children`: the tables with the elements of its fields."""

    table: str
    columns: list[ColumnDraft] = field(default_factory=list)
    implied: list[ImpliedDraft] = field(default_factory=list)
    indexes: list[IndexDraft] = field(default_factory=list)
    children: list[ChildDraft] = field(default_factory=list)

    @property
    def references(self) -> Iterator[ColumnDraft]:
        """The columns that are foreign keys to tables of other collections."""
        return (column for column in self.columns if column.is_key)

    @property
    def descendants(self) -> Iterator[ChildDraft]:
        """The tables of elements, those of their elements included."""
        for child in self.children:
            yield child
            yield from child.descendants


@dataclass(slots=True, kw_only=True)
class ChildDraft(RowsDraft):
    """The table of the elements of an array. `parent`: the column with the key of the row they belong to.

    `is_junction`: the elements are IDs, not documents; their only column refers to another table.
    """

    path: str
    parent: str
    position: str
    is_junction: bool
    elements: int

    @property
    def has_key(self) -> bool:
        """Whether the rows have a key, to which rows of nested elements refer."""
        return bool(self.children)


@dataclass(slots=True, kw_only=True)
class TableDraft(RowsDraft):
    """A collection and its table. `module`: the name of its modules. `questions`: what a person should decide."""

    collection: str
    module: str
    documents: int
    key: KeyDraft
    unique: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    @property
    def all_columns(self) -> Iterator[ColumnDraft]:
        """The columns, with those of the tables of elements."""
        yield from self.columns
        for child in self.descendants:
            yield from child.columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The draft of a migration. `empty`: collections without documents, `archived`: collections that get no table.

    `tables` are in an order in which references lead to earlier ones. `existing`: the tables of the target, by
    collection; empty: the draft makes the tables.
    """

    database: str
    documents: int
    tables: tuple[TableDraft, ...]
    references: tuple[FoundReference, ...]
    empty: tuple[str, ...]
    archived: dict[str, str]
    existing: dict[str, ExistingTable] = field(default_factory=dict)
