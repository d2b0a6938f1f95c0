"""Checks of the rules whose elements become rows of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from migrator.mapping.children import Children
from migrator.mapping.codec_checks import Problem, problems_of_codec
from migrator.mapping.collection import is_left_to_target
from migrator.mapping.json_objects import JsonObject
from migrator.mapping.references import Reference
from migrator.mapping.rules import Compute, Field, Implied
from migrator.postgres.column_kinds import INTEGERS, kind_of_column
from migrator.postgres.table_names import name_of

_ELEMENT_RULES = (Field, Implied, Compute, JsonObject, Reference, Children)


def problems_of_fields(rules: Iterable[Children]) -> Iterator[Problem]:
    """A row has the rows of the elements of a field once."""
    paths = [rule.path for rule in rules]
    for path in dict.fromkeys(path for path in paths if paths.count(path) > 1):
        yield f"field {path}: two rules make rows of its elements", "Use one `Children` for each field."


def problems_of_children(rule: Children, parent_kinds: list[str], metadata: sa.MetaData) -> Iterator[Problem]:
    """Yield what is wrong with a rule. `parent_kinds`: the kinds of the columns of its parent's key."""
    field, table = f"field {rule.path}", rule.table
    if metadata.tables.get(table.key) is not table:
        yield f"{field}: the table {table.key} is not in the metadata of the schema", "Map a table of the schema."
    if "." in rule.path:
        yield f"{field}: the path names a field inside another one", "Use the name of a field of the document."
    if (rule.name is None) != (rule.shape != "map"):
        yield f"{field}: a map, and nothing else, needs a column for its keys", "Correct `shape` or `name`."
    if rule.position is None and rule.shape != "document":
        yield f"{field}: elements need a column with their place", "Set `position`."
    wanted = [*rule.parent_columns, *rule.element_columns, *([] if rule.key is None else [rule.key])]
    for name in wanted:
        if name not in table.c:
            yield f"{field}: the table {name_of(table)} has no column {name}", "Correct the name of the column."
    if len(rule.parent_columns) != len(parent_kinds):
        yield f"{field}: `parent` has not as many columns as the key of its parent", "Name all, in their order."
        return
    own: dict[Any, Any] = {rule.position: INTEGERS, rule.name: {"text"}, rule.key: {"uuid"}}
    own |= {name: {kind} for name, kind in zip(rule.parent_columns, parent_kinds, strict=True)}
    for own_name, kinds in own.items():
        if own_name is not None and own_name in table.c and (kind := kind_of_column(table.c[own_name])) not in kinds:
            yield (
                f"{field}: the column {name_of(table)}.{own_name} has the type {kind}",
                f"Use a column of type {' or '.join(sorted(kinds))}.",
            )
    ruled = {name for each in rule.rules for name in each.columns}
    for name in sorted(ruled & {*rule.parent_columns, rule.position, rule.name, rule.key} - {None}):
        yield f"{field}: a rule fills the column {name_of(table)}.{name}, too", "Use columns of their own."
    yield from problems_of_fields(rule.nested)
    if rule.nested and rule.key is None:
        yield f"{field}: elements with elements of their own need a key", "Set `key` to a column of type uuid."
    for each in rule.rules:
        if not isinstance(each, _ELEMENT_RULES):
            yield f"{field}: elements cannot have the rule {type(each).__name__}", "Use another rule."
        if isinstance(each, Reference) and each.carry:
            yield f"{field}: a reference of an element cannot carry columns", "Remove `carry`."
        if isinstance(each, Field) and each.column in table.c:
            yield from ((f"{field}: {text}", remedy) for text, remedy in problems_of_codec(each, table.c[each.column]))
    for column in table.columns:
        if column.name not in wanted and not column.nullable and not is_left_to_target(column):
            yield f"{field}: the column {name_of(table)}.{column.name} is NOT NULL, and no rule fills it", "Add a rule."
    for nested in rule.nested:
        yield from problems_of_children(nested, ["uuid"], metadata)
