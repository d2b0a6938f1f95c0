"""A mapping: how the documents of one collection become rows and come back. Data; no concrete migration is known here.

Its rules are in rules.py and references.py, what they work with in context.py.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from migrator.documents.codec import Document
from migrator.mapping.context import Lookup, Row, Rule
from migrator.mapping.references import Key, MemberList, Reference
from migrator.mapping.rules import Variants


@dataclass(frozen=True, slots=True)
class Link:
    """An array in which a document lists others; kept aside while loading, for what only all documents tell."""

    path: str
    to: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Rows that name a parent in their own table: a reconciliation after all are loaded.

    `parent` is the column; `within` a column that parent and child must share; `order` a column that tells the oldest.
    """

    parent: str
    within: str
    order: str
    field: str  # the document's field that names the parent
    link: str | None = None  # the Link path whose arrays name children


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestOf:
    """A column of another table that holds the newest value of a column here, set after the load."""

    table: str
    column: str
    of: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedRows:
    """Rows of another `collection` that say by a boolean column, `says`, that rows here name them by the column `by`.

    Where they are missing, the other document gets the finding `code`."""

    collection: str
    says: str
    by: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorColumn:
    """Rows whose text wants a vector: documents of `collection` in `table`; the rest names columns."""

    collection: str
    table: sa.Table
    text: str
    vector: str
    key: str = "id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """How documents of `name` become rows of `table` and come back.

    `owner(document, row)` tells whether two documents with the same id belong to different owners, so that the later
    one gets an id of its own; without it any later duplicate is rejected. `unique` maps columns to the reason of
    rejection where two documents have the same value. `probes` are SQL expressions over a column, `{}` being its value,
    that must not fail for long texts (an index will compute them). `low_cardinality` names fields that hold few
    distinct values: what rules without lookups make of them alone is computed once for every combination. It changes
    the speed only.
    `section` names the section of migrate.toml that brings the documents, where that is not MongoDB; `later` are
    columns that no document fills, but a later stage; `expected` says which rows elsewhere want rows here.
    """

    name: str
    table: sa.Table
    key: Key
    rules: tuple[Rule, ...]
    owner: Callable[[Document, Row], tuple[Hashable, ...]] | None = field(default=None, hash=False)
    unique: Mapping[str, str] = field(default_factory=dict, hash=False)
    constants: Callable[[Any], Row] = field(default=lambda options: {}, hash=False)
    links: tuple[Link, ...] = ()
    listed_by: str | None = None  # "collection.path" of the Link whose arrays list documents of this collection
    tree: Tree | None = None
    newest: tuple[LatestOf, ...] = ()
    probes: Mapping[str, str] = field(default_factory=dict, hash=False)
    low_cardinality: frozenset[str] = frozenset()
    after: tuple[str, ...] = ()
    section: str | None = None
    later: frozenset[str] = frozenset()
    expected: tuple[ExpectedRows, ...] = ()

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        return tuple({lookup.name: lookup for rule in self.rules for lookup in rule.lookups}.values())

    @property
    def choices(self) -> tuple[Variants, ...]:
        """The rules whose fields have several forms."""
        return tuple(rule for rule in self.rules if isinstance(rule, Variants))

    @property
    def members(self) -> tuple[MemberList, ...]:
        """The rules whose fields list rows of other collections."""
        return tuple(rule for rule in self.rules if isinstance(rule, MemberList))

    @property
    def needs(self) -> frozenset[str]:
        """Collections that must be loaded before this one."""
        return frozenset(lookup.collection for lookup in self.lookups) | frozenset(self.after)

    @property
    def gives(self) -> frozenset[str]:
        return frozenset(name for rule in (self.key, *self.rules) for name in rule.gives)

    @property
    def carried(self) -> tuple[tuple[str, str, str, str], ...]:
        """What the way back needs from other tables: (row key, column here, collection there, column there)."""
        return tuple(
            (f"{rule.column}.{name}", rule.column, rule.key.collection, name)
            for rule in self.rules
            if isinstance(rule, Reference)
            for name in rule.carry
        )
