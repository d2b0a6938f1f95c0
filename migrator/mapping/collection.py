"""The mapping of one collection: how its documents become rows, and how rows become documents again.

Only data types are here. The rules of a mapping are in rules.py and references.py, the types they use in context.py.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from migrator.documents.codec import Document
from migrator.mapping.children import Children
from migrator.mapping.composite_keys import AnyKey
from migrator.mapping.conditions import Where
from migrator.mapping.context import Lookup, Row, join_lookups
from migrator.mapping.json_objects import JsonObject
from migrator.mapping.references import Key, MemberList, Reference, UncheckedReference
from migrator.mapping.rules import Compute, CustomRule, Field, Filter, Implied, Return, Variants
from migrator.postgres.column_kinds import find_kind, kind_of_column
from migrator.postgres.table_names import name_of
from migrator.postgres.tenancy import tenant_column

# All kinds of rules. `translation.lowering` is the one place that handles each kind.
Rule = (
    Field
    | Implied
    | Variants
    | Compute
    | JsonObject
    | Filter
    | Reference
    | UncheckedReference
    | MemberList
    | Children
    | CustomRule
)


def no_reasons(config: Any) -> frozenset[str]:
    """Return no reject reasons: documents with a duplicate value are rejected."""
    return frozenset()


@dataclass(frozen=True, slots=True)
class Link:
    """An array field in which documents list other documents by `key`. The load stores it for later stages."""

    path: str
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Rows that refer to a parent row in the same table. The reconcile stage checks them after the load.

    `parent` is the column with the parent's ID, `within` a column in which parent and child must be equal, and `order`
    the column that tells which row is the oldest. `link` is the path of the `Link` whose arrays list children, and
    `disagreement` the code of the finding for a row that such a list and its own field assign to different parents.
    """

    parent: str
    within: str
    order: str
    field: str  # the field of the document that names the parent
    link: str | None = None
    disagreement: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestOf:
    """A column of another table that gets the largest value of `value_column` here. It is set after the load."""

    table: str
    column: str
    value_column: str
    reference_column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedRows:
    """Rows of another collection whose boolean column `flag` says that rows here refer to them.

    If no row here refers to such a row by `reference_column`, its document gets the finding `code`.
    """

    collection: str
    flag: str
    reference_column: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorColumn:
    """A table whose rows get an embedding of their text: its collection, and the names of its columns."""

    collection: str
    table: sa.Table
    text: str
    vector: str
    key: str = "id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """The mapping of the documents of `name` to rows of `table`.

    `source`: the collection of the source, if that has another name. Several mappings can share one: each takes the
    documents that its `where` describes.
    `owner(document, row)` tells whether two documents with the same ID belong to different owners. The later one then
    gets a new ID. Without `owner`, every later duplicate is rejected.
    `reference_owner(document)` is set if the owner follows from the document alone. References from the owner of a
    document that was not loaded then find no row of another owner with the same ID.
    `unique` maps columns to the reject reason of documents with a duplicate value. `merged(config)` returns the reasons
    for which the later document is not rejected, but merged into the row of the earlier one.
    `constants` are plain values of columns that are the same in every row. The column of the tenant is not among them.
    `probes` are SQL expressions over a column (`{}` is its value) that fail for long texts, because an index computes
    them.
    `low_cardinality` names fields with few distinct values. The translator caches what rules without lookups compute
    from such fields. This changes the speed only.
    `section` names the section of migrate.toml that provides the documents, if their source is not MongoDB.
    `filled_later` are columns that a later stage fills where documents have no value. Only `Variants` with a `restore`
    may restore fields from them.
    `expected` lists rows of other collections that need rows here.
    `earlier` is set by the engine: the mappings that fill the same table and are loaded before this one.
    `returns` complete the return of changed rows to the source.
    """

    name: str
    table: sa.Table
    key: AnyKey
    rules: tuple[Rule, ...]
    source: str = ""
    where: Where | None = None
    owner: Callable[[Document, Row], tuple[Hashable, ...]] | None = field(default=None, hash=False)
    reference_owner: Callable[[Document], tuple[Hashable, ...]] | None = field(default=None, hash=False)
    unique: Mapping[str, str] = field(default_factory=dict, hash=False)
    merged: Callable[[Any], frozenset[str]] = field(default=no_reasons, hash=False)
    constants: Mapping[str, Any] = field(default_factory=dict, hash=False)
    links: tuple[Link, ...] = ()
    listed_by: str | None = None  # "collection.path" of the `Link` whose arrays list documents of this collection
    tree: Tree | None = None
    latest_values: tuple[LatestOf, ...] = ()
    probes: Mapping[str, str] = field(default_factory=dict, hash=False)
    low_cardinality: frozenset[str] = frozenset()
    after: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    section: str | None = None
    filled_later: frozenset[str] = frozenset()
    expected: tuple[ExpectedRows, ...] = ()
    returns: tuple[Return, ...] = ()

    @property
    def source_name(self) -> str:
        """The collection of the source that holds the documents."""
        return self.source or self.name

    @property
    def filled_columns(self) -> frozenset[str]:
        """The names of the columns that get their values from rules, constants or the tenant."""
        ruled = (name for rule in (self.key, *self.rules) for name in rule.columns)
        tenant = tenant_column(self.table)
        return frozenset([*ruled, *self.constants, *self.filled_later, *([] if tenant is None else [tenant])])

    @property
    def columns(self) -> tuple[sa.Column[Any], ...]:
        """The columns that the migration writes and reads.

        Without a rule, a column that the target fills itself is left to it: a generated or identity column, and one
        with a default. All others without a value are NULL.
        """
        filled = self.filled_columns
        return tuple(each for each in self.table.columns if each.name in filled or not is_left_to_target(each))

    @property
    def kinds(self) -> tuple[tuple[str, str], ...]:
        """The name and the kind of each of `columns`."""
        return tuple((column.name, kind_of_column(column)) for column in self.columns)

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        """The lookups of the rules, one for each name."""
        found: dict[tuple[str, str], Lookup] = {}
        for lookup in (lookup for rule in self.rules for lookup in rule.lookups):
            other = found.get(lookup.name, lookup)
            found[lookup.name] = lookup if other is lookup else join_lookups(other, lookup)
        return tuple(found.values())

    @property
    def variant_rules(self) -> tuple[Variants | Children, ...]:
        """The rules of fields that have several variants, or of which residues keep a remainder."""
        return tuple(rule for rule in self.rules if isinstance(rule, Variants | Children))

    @property
    def children(self) -> tuple[Children, ...]:
        """The rules of fields whose elements become rows of other tables."""
        return tuple(rule for rule in self.rules if isinstance(rule, Children))

    @property
    def child_rules(self) -> tuple[Children, ...]:
        """All rules whose rows belong to the rows of this collection, nested ones too: parents come first."""
        return tuple(each for rule in self.children for each in rule.with_nested())

    @property
    def link_names(self) -> tuple[str, ...]:
        """The names of the links, with the collection, as they are stored."""
        return tuple(f"{self.name}.{link.path}" for link in self.links)

    @property
    def member_lists(self) -> tuple[MemberList, ...]:
        """The rules of fields that list rows of other collections."""
        return tuple(rule for rule in self.rules if isinstance(rule, MemberList))

    @property
    def table_names(self) -> tuple[str, ...]:
        """The tables that documents fill: that of their rows, then those of the rows that belong to these."""
        return (name_of(self.table), *(name_of(rule.table) for rule in self.child_rules))

    @property
    def needs(self) -> frozenset[str]:
        """The collections that must be loaded before this one."""
        return frozenset(lookup.collection for lookup in self.lookups) | {*self.after, *self.earlier}

    @property
    def restored_fields(self) -> frozenset[str]:
        """The top-level fields that rows restore, except `_id`."""
        return frozenset(name for rule in (self.key, *self.rules) for name in rule.restored_fields)

    @property
    def carried_columns(self) -> tuple[tuple[str, str, str, str], ...]:
        """The columns of other tables that are needed to rebuild documents.

        Each as (key in the row, referencing column here, referenced collection, column there).
        """
        return tuple(
            (f"{rule.column}.{name}", rule.column, rule.key.collection, name)
            for rule in self.rules
            if isinstance(rule, Reference)
            for name in rule.carry
        )


def is_left_to_target(column: sa.Column[Any]) -> bool:
    """Return whether a column without a rule gets its values from the target, or cannot be loaded."""
    is_numbered = column.table.autoincrement_column is column  # serial
    return is_generated(column) or column.server_default is not None or is_numbered or find_kind(column.type) is None


def is_generated(column: sa.Column[Any]) -> bool:
    """Return whether PostgreSQL computes a column, or numbers its rows itself."""
    return column.computed is not None or column.identity is not None
