"""Checks of mappings whose tables have a key of several columns: the key itself, and what cannot be used with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from migrator.errors import UsageError
from migrator.mapping.codec_checks import Problem
from migrator.mapping.collection import Collection
from migrator.mapping.composite_keys import CompositeKey
from migrator.mapping.key_texts import KINDS
from migrator.mapping.references import Reference
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.table_names import name_of

_SINGLE = "Use a table with a key of one column, or map it in another way."


def problems_of_composite_key(collection: Collection, key: CompositeKey) -> Iterator[Problem]:
    """Yield what is wrong with the key of a collection."""
    table, name = collection.table, name_of(collection.table)
    if key.table is not table:
        yield f"its key is that of the table {name_of(key.table)}, not of {name}", "Use the table of the mapping."
        return
    if len(key.key_columns) == 1:
        yield f"the primary key of {name} is one column", "Use a `Key`."
        return
    if not key.key_columns:
        yield f"the table {name} has no primary key", "Declare one."
        return
    for column in key.key_columns:
        if column not in collection.filled_columns:
            yield f"nothing fills the column {column} of the key", "Add a rule, or a part of the key."
        if (kind := kind_of_column(table.c[column])) not in KINDS:
            yield (
                f"the column {column} of the key has the type {kind}",
                f"Use one of {', '.join(sorted(KINDS))} in a key of several columns.",
            )
    for part in key.parts:
        if part.column not in key.key_columns:
            yield f"the column {part.column} is no column of the primary key of {name}", "Use a rule instead of a part."
    used = {
        "owner": collection.owner is not None or collection.reference_owner is not None,
        "latest_values": bool(collection.latest_values),
        "member lists": bool(collection.member_lists),
        "tree": collection.tree is not None,
        "links": bool(collection.links),
        "listed_by": collection.listed_by is not None,
        "a section": collection.section is not None,
    }
    for feature in (feature for feature, is_used in used.items() if is_used):
        yield f"the mapping uses {feature}, and its key has several columns", _SINGLE


def check_use_of_composite_keys(mappings: Mapping[str, Collection]) -> None:
    """Raises: `UsageError` if a mapping uses a table in a way that needs a key of one column."""
    composite = {name: each for name, each in mappings.items() if isinstance(each.key, CompositeKey)}
    tables = {name_of(each.table): each for each in composite.values()}
    for mapping in mappings.values() if composite else ():
        for problem in _problems_of_use(mapping, mappings, composite, tables):
            raise UsageError(f"collection {mapping.name}: {problem}", hint=_SINGLE)


def _problems_of_use(
    mapping: Collection,
    mappings: Mapping[str, Collection],
    composite: Mapping[str, Collection],
    tables: Mapping[str, Collection],
) -> Iterator[str]:
    for rule in mapping.rules:
        if isinstance(rule, Reference) and rule.key.collection in composite and rule.carry:
            yield f"`{rule.path}` carries columns of {rule.key.collection}, whose key has several columns"
    for latest in mapping.latest_values:
        if latest.table in tables:
            yield f"`latest_values` sets a column of {latest.table}, whose key has several columns"
    for expected in mapping.expected:
        if expected.collection in composite:
            yield f"`expected` names {expected.collection}, whose key has several columns"
    own = isinstance(mapping.key, CompositeKey) and mapping.key.key_columns
    for name in own or ():
        if (foreign := _with_owner(mapping, name, mappings)) is not None:
            yield f"the column {name} of the key refers to rows whose IDs depend on their owner ({foreign})"
    for constraint in mapping.table.foreign_key_constraints:
        there = tables.get(name_of(constraint.referred_table))
        named = tuple(each.column.name for each in constraint.elements)
        if there is not None and sorted(named) != sorted(there.key.key_columns):
            yield (
                f"its foreign key to {name_of(there.table)} refers to ({', '.join(named)}), not to the whole key"
                f" {there.key.column}"
            )


def _with_owner(mapping: Collection, column: str, mappings: Mapping[str, Collection]) -> str | None:
    """Return the collection to whose rows a column refers, if these can get other IDs after a conflict."""
    named = [rule.key.collection for rule in mapping.rules if isinstance(rule, Reference) and rule.column == column]
    return next((name for name in named if name in mappings and mappings[name].owner is not None), None)


def check_single_keys(mappings: Mapping[str, Collection], used: Mapping[str, str]) -> None:
    """Raises: `UsageError` if one of the collections `used` (by what uses them) has a key of several columns."""
    for what, name in used.items():
        if name in mappings and isinstance(mappings[name].key, CompositeKey):
            raise UsageError(
                f"{what} uses the collection {name}, whose key has several columns",
                hint="It needs a key of one column.",
            )
