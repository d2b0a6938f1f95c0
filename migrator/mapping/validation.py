"""Checks that mappings and schema fit together, before anything is read or written. Every problem has a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from migrator.errors import UsageError
from migrator.mapping.codec_checks import Problem, kinds_of_key, problems_of_codec
from migrator.mapping.collection import Collection, is_generated
from migrator.mapping.composite_key_checks import check_use_of_composite_keys, problems_of_composite_key
from migrator.mapping.composite_keys import CompositeKey
from migrator.mapping.element_checks import problems_of_children, problems_of_fields
from migrator.mapping.references import Key
from migrator.mapping.rules import Compute, Field, Variants
from migrator.mapping.schema_checks import check_names, check_tenancy
from migrator.mapping.shared_collections import check_shared_collections
from migrator.mapping.shared_tables import check_shared_tables
from migrator.mapping.text_parts import TextParts
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.table_names import PUBLIC, name_of, schema_of


def validate(mappings: Mapping[str, Collection], metadata: sa.MetaData) -> None:
    """Check all mappings.

    Raises: `UsageError` that names the collection and the column of the first problem, and what to change.
    """
    check_tenancy(metadata)
    check_names(metadata)
    check_shared_collections(mappings)
    tables: dict[str, str] = {}
    for collection in mappings.values():
        for problem, remedy in _problems(collection, mappings, metadata):
            raise UsageError(f"collection {collection.name}: {problem}", hint=remedy)
        for table in collection.table_names:
            other = mappings[tables[table]] if table in tables else None
            if other is not None and not table == name_of(collection.table) == name_of(other.table):
                raise UsageError(
                    f"collection {collection.name}: the table {table} is filled by the collection {other.name}, too",
                    hint="Give each collection, and each field with rows of its own, a table of its own.",
                )
            tables[table] = collection.name
    check_shared_tables(mappings)
    check_use_of_composite_keys(mappings)


def _problems(collection: Collection, mappings: Mapping[str, Collection], metadata: sa.MetaData) -> Iterator[Problem]:
    table = collection.table
    if metadata.tables.get(table.key) is not table:
        yield f"the table {table.key} is not in the metadata of the schema", "Map a table of the schema package."
    if schema_of(name_of(table)) != PUBLIC and collection.tree is not None:
        yield f"the table {name_of(table)} has a tree", "A tree needs a table of the schema public."
    if callable(collection.constants):
        yield (
            "`constants` is a function",
            "Use a mapping from columns to plain values. The column of the tenant is filled without it.",
        )
    yield from _problems_of_parts(collection)
    yield from _problems_of_names(collection)
    yield from _problems_of_key(collection)
    if isinstance(collection.key, CompositeKey):
        for part in collection.key.parts:
            yield from _problems_of_key_column(part, table)
    yield from _problems_of_columns(collection)
    kinds = [kind_of_column(table.c[name]) for name in collection.key.key_columns]
    yield from problems_of_fields(collection.children)
    for rule in collection.children:
        yield from problems_of_children(rule, kinds, metadata)
    for lookup in collection.lookups:
        if lookup.collection not in mappings:
            yield f"a rule looks up the collection {lookup.collection}, which has no mapping", "Add it to MAPPINGS."


def _problems_of_parts(collection: Collection) -> Iterator[Problem]:
    forms: dict[str, set[TextParts]] = {}
    for rule in collection.rules:
        if isinstance(rule, Compute):
            for path in rule.parts.keys() - set(rule.fields):
                yield f"a rule has the parts of {path}, but not the field", "Add it to the `fields` of the rule."
            for path, form in rule.parts.items():
                forms.setdefault(path, set()).add(form)
        elif isinstance(rule, Variants) and rule.parts is not None:
            forms.setdefault(rule.path, set()).add(rule.parts)
            if not rule.inputs:
                yield f"{rule.path} has parts, but no column with their texts", "Name the column first in `inputs`."
    for path, found in forms.items():
        if len(found) > 1:
            yield f"two rules read {path} with different `TextParts`", "Use the same one for both."


def _problems_of_names(collection: Collection) -> Iterator[Problem]:
    ruled = [name for rule in (collection.key, *collection.rules) for name in rule.columns if "." not in name]
    named = [*ruled, *collection.constants, *collection.unique, *collection.probes, *collection.filled_later]
    for name in dict.fromkeys(named):
        if name not in collection.table.c:
            yield f"the table {name_of(collection.table)} has no column {name}", "Correct the name of the column."
        elif name in ruled and is_generated(collection.table.c[name]) and collection.table.c[name].identity is None:
            yield f"PostgreSQL generates the column {name}", "Remove the rule of this column."
        elif name in ruled and (identity := collection.table.c[name].identity) is not None and identity.always:
            yield f"PostgreSQL always numbers the column {name}", "Use Identity(), which is BY DEFAULT, or no rule."


def _problems_of_key(collection: Collection) -> Iterator[Problem]:
    key, table = collection.key, collection.table
    if isinstance(key, CompositeKey):
        yield from problems_of_composite_key(collection, key)
        return
    if key.column not in table.c:
        return  # reported before
    primary = [column.name for column in table.primary_key.columns]
    if primary != [key.column]:
        yield (
            f"the primary key of {name_of(table)} is ({', '.join(primary)}), the key of the mapping is {key.column}",
            "Use a `CompositeKey` for a primary key of several columns, or make the column of the key the primary key.",
        )
    yield from _problems_of_key_column(key, table)
    kind = kind_of_column(table.c[key.column])
    needs_uuid = {
        "tree": collection.tree is not None,
        "links": bool(collection.links),
        "listed_by": collection.listed_by is not None,
        "owner": collection.owner is not None and key.codec is not None,  # a text gets a suffix
    }
    for feature in (name for name, is_used in needs_uuid.items() if is_used):
        if kind != "uuid":
            yield f"`{feature}` requires a key of type uuid", "Use a `Key` without `text` and codec."


def _problems_of_key_column(key: Key, table: sa.Table) -> Iterator[Problem]:
    kind, wanted = kind_of_column(table.c[key.column]), kinds_of_key(key)
    if kind not in wanted:
        yield (
            f"the key {key.column} has the type {kind}, but its values are {' or '.join(sorted(wanted))}",
            "Use a column of type uuid, or a `Key` with `text` or with a codec for the type of the column.",
        )


def _problems_of_columns(collection: Collection) -> Iterator[Problem]:
    filled = collection.filled_columns
    for column in collection.columns:
        kind_of_column(column)  # raises an error with the names of the column and the type
        if column.name not in filled and not column.nullable:
            yield (
                f"the column {column.name} is NOT NULL, and no rule fills it",
                "Add a rule, or a default of the column.",
            )
    for rule in collection.rules:
        if isinstance(rule, Field) and rule.column in collection.table.c:
            yield from problems_of_codec(rule, collection.table.c[rule.column])
