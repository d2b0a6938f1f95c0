"""Checks that mappings and schema fit together, before anything is read or written. Every problem has a name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from migrator.errors import UsageError
from migrator.mapping import codecs
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection, is_generated, is_left_to_target
from migrator.mapping.composite_key_checks import check_use_of_composite_keys, problems_of_composite_key
from migrator.mapping.composite_keys import CompositeKey
from migrator.mapping.conditions import is_equal
from migrator.mapping.json_objects import JsonObject
from migrator.mapping.references import Key, Reference
from migrator.mapping.rules import Compute, Field, Implied
from migrator.mapping.shared_collections import find_shared
from migrator.mapping.shared_tables import check_shared_tables
from migrator.postgres.column_kinds import INTEGERS, JSON_KINDS, TIMESTAMPS, kind_of_column
from migrator.postgres.table_names import PUBLIC, name_of, schema_of
from migrator.postgres.tenancy import tenancy_of

LONGEST_NAME = 63  # bytes: PostgreSQL cuts longer names
RESERVED = frozenset({"migrator", "information_schema"})
TENANT_COLUMNS = ("id", "name", "subdomain")  # of the table of tenants: what section [tenant] sets
# codec → the kinds of columns that hold its plain values
_KINDS: dict[type[Any], frozenset[str]] = {
    codecs.Text: frozenset({"text"}),
    codecs.Char: frozenset({"text"}),
    codecs.Enum: frozenset({"text"}),
    codecs.Boolean: frozenset({"boolean"}),
    codecs.Integer: INTEGERS,
    codecs.Double: frozenset({"real", "double precision"}),
    codecs.Numeric: frozenset({"numeric"}),
    codecs.DateTime: TIMESTAMPS,
    codecs.Date: frozenset({"date"}),
    codecs.Time: frozenset({"time"}),
    codecs.Json: JSON_KINDS,
    codecs.Uuid: frozenset({"uuid"}),
    codecs.Bytes: frozenset({"bytea"}),
    codecs.ObjectIdHex: frozenset({"text"}),
    codecs.ObjectIdBytes: frozenset({"bytea"}),
}
_INTEGER_BITS = {"smallint": 16, "integer": 32, "bigint": 64}


def validate(mappings: Mapping[str, Collection], metadata: sa.MetaData) -> None:
    """Check all mappings.

    Raises: `UsageError` that names the collection and the column of the first problem, and what to change.
    """
    _check_tenancy(metadata)
    _check_names(metadata)
    _check_shared(mappings)
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


def _check_names(metadata: sa.MetaData) -> None:
    """Raises: `UsageError` if the name of a table is ambiguous, or cannot be used."""
    for table in metadata.tables.values():
        name = name_of(table)
        if "." in table.name or "." in (table.schema or ""):
            raise UsageError(f"table {name}: names of schemas and tables must not have a dot", hint="Rename it.")
        if len(name.encode()) > LONGEST_NAME:
            raise UsageError(f"table {name}: the name has more than {LONGEST_NAME} bytes", hint="Use a shorter one.")
        if table.schema == PUBLIC:
            raise UsageError(f"table {name}: public is named as its schema", hint="Leave schema out: it is public.")
        if table.schema is not None and (table.schema in RESERVED or table.schema.startswith(("pg_", "migrator_"))):
            raise UsageError(f"table {name}: the schema {table.schema} is reserved", hint="Use another schema.")


def check_embedded(table: sa.Table) -> None:
    """Raises: `UsageError` if the table with the embeddings is not in schema public."""
    if schema_of(name_of(table)) != PUBLIC:
        raise UsageError(
            f"EMBEDDED: the table {name_of(table)} is in another schema than public",
            hint="Rows with embeddings need a table of the schema public.",
        )


def _check_shared(mappings: Mapping[str, Collection]) -> None:
    """Raises: `UsageError` if it is not certain which mapping takes a document of a shared collection."""
    for shared in find_shared(mappings.values()).values():
        mapped = [mappings[name] for name in shared.names]
        if any(each.section is not None for each in mapped):
            raise UsageError(
                f"collection {shared.name}: documents of a section of migrate.toml cannot be divided",
                hint="Remove `where` and `source` from its mapping, and keep one mapping.",
            )
        if shared.name in mappings:
            raise UsageError(
                f"collection {shared.name}: its documents are divided, and a mapping has its name",
                hint=f'Give each of its mappings a name of its own, and set source="{shared.name}".',
            )
        if len([each for each in mapped if each.where is None]) > 1:
            raise UsageError(
                f"collection {shared.name}: {', '.join(each.name for each in mapped if each.where is None)}"
                " take its documents without a condition",
                hint="Set `where` of all mappings of the collection but one.",
            )
        taken: list[tuple[str, Any, str]] = []
        for path, value, name in (
            (each.where.path, value, each.name)
            for each in mapped
            if each.where is not None
            for value in each.where.values
        ):
            other = next((it for there, known, it in taken if there == path and is_equal(known, value)), None)
            if other is not None:
                raise UsageError(
                    f"collection {shared.name}: {other} and {name} take the same documents",
                    hint=f"Use different values of {path} in their `where`.",
                )
            taken.append((path, value, name))


Problem = tuple[str, str]  # what is wrong, and what to change


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
    yield from _problems_of_names(collection)
    yield from _problems_of_key(collection)
    if isinstance(collection.key, CompositeKey):
        for part in collection.key.parts:
            yield from _problems_of_key_column(part, table)
    yield from _problems_of_columns(collection)
    kinds = [kind_of_column(table.c[name]) for name in collection.key.key_columns]
    yield from _problems_of_fields(collection.children)
    for rule in collection.children:
        yield from _problems_of_children(rule, kinds, metadata)
    for lookup in collection.lookups:
        if lookup.collection not in mappings:
            yield f"a rule looks up the collection {lookup.collection}, which has no mapping", "Add it to MAPPINGS."


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
    kind, wanted = kind_of_column(table.c[key.column]), _kinds_of_key(key)
    if kind not in wanted:
        yield (
            f"the key {key.column} has the type {kind}, but its values are {' or '.join(sorted(wanted))}",
            "Use a column of type uuid, or a `Key` with `text` or with a codec for the type of the column.",
        )


def _kinds_of_key(key: Key) -> frozenset[str]:
    if key.codec is None:
        return frozenset({"text"}) if key.text else frozenset({"uuid"})
    return _KINDS.get(type(key.codec), frozenset()) - {"boolean", "real", "double precision", "numeric"}


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
            yield from _problems_of_codec(rule, collection.table.c[rule.column])


def _problems_of_fields(rules: Iterable[Children]) -> Iterator[Problem]:
    """A row has the rows of the elements of a field once."""
    paths = [rule.path for rule in rules]
    for path in dict.fromkeys(path for path in paths if paths.count(path) > 1):
        yield f"field {path}: two rules make rows of its elements", "Use one `Children` for each field."


_ELEMENT_RULES = (Field, Implied, Compute, JsonObject, Reference, Children)


def _problems_of_children(rule: Children, parent_kinds: list[str], metadata: sa.MetaData) -> Iterator[Problem]:
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
    yield from _problems_of_fields(rule.nested)
    if rule.nested and rule.key is None:
        yield f"{field}: elements with elements of their own need a key", "Set `key` to a column of type uuid."
    for each in rule.rules:
        if not isinstance(each, _ELEMENT_RULES):
            yield f"{field}: elements cannot have the rule {type(each).__name__}", "Use another rule."
        if isinstance(each, Reference) and each.carry:
            yield f"{field}: a reference of an element cannot carry columns", "Remove `carry`."
        if isinstance(each, Field) and each.column in table.c:
            yield from ((f"{field}: {text}", remedy) for text, remedy in _problems_of_codec(each, table.c[each.column]))
    for column in table.columns:
        if column.name not in wanted and not column.nullable and not is_left_to_target(column):
            yield f"{field}: the column {name_of(table)}.{column.name} is NOT NULL, and no rule fills it", "Add a rule."
    for nested in rule.nested:
        yield from _problems_of_children(nested, ["uuid"], metadata)


def _problems_of_codec(rule: Field, column: sa.Column[Any]) -> Iterator[Problem]:
    kind, codec = kind_of_column(column), rule.codec
    if isinstance(codec, codecs.Array) != kind.endswith("[]"):
        yield (
            f"the column {column.name} has the type {kind}, which the codec {type(codec).__name__} does not fill",
            "Use `Array` for columns of an array type, and for no others.",
        )
        return
    if isinstance(codec, codecs.Array):
        codec, kind = codec.item, kind.removesuffix("[]")
    wanted = _KINDS.get(type(codec))
    if wanted is not None and kind not in wanted:
        yield (
            f"the column {column.name} has the type {kind}, which the codec {type(codec).__name__} does not fill",
            f"Use a codec for {kind}, or a column of type {' or '.join(sorted(wanted))}.",
        )
    elif isinstance(codec, codecs.Integer) and codec.bits > _INTEGER_BITS[kind]:
        yield (
            f"the codec of the column {column.name} has {codec.bits} bits, the type {kind} has {_INTEGER_BITS[kind]}",
            f"Use Integer(bits={_INTEGER_BITS[kind]}).",
        )
    elif isinstance(codec, codecs.Double) and (kind == "real") != (codec.bits == 32):
        yield f"the codec of the column {column.name} has {codec.bits} bits", f"Use the codec for {kind}."
    yield from _problems_of_length(codec, column)


def _problems_of_length(codec: codecs.Codec, column: sa.Column[Any]) -> Iterator[Problem]:
    type_: Any = column.type
    if isinstance(type_, sa.ARRAY):
        type_ = type_.item_type
    if isinstance(type_, sa.CHAR) and type_.length and not isinstance(codec, codecs.ObjectIdHex):
        if not isinstance(codec, codecs.Char) or codec.length != type_.length:
            yield f"the column {column.name} is char({type_.length})", f"Use the codec Char({type_.length})."
    elif isinstance(type_, sa.String) and not isinstance(type_, sa.Enum) and type_.length:
        if isinstance(codec, codecs.Text) and (codec.length is None or codec.length > type_.length):
            yield f"the column {column.name} is varchar({type_.length})", f"Use the codec Text(length={type_.length})."
    elif isinstance(type_, sa.Numeric) and not isinstance(type_, sa.Float) and isinstance(codec, codecs.Numeric):
        precision, scale = type_.precision, type_.scale or 0
        if (codec.precision, codec.scale) != (precision, scale if precision is not None else 0):
            name = "numeric" if precision is None else f"numeric({precision}, {scale})"
            codec_name = "NUMERIC" if precision is None else f"Numeric({precision}, {scale})"
            yield f"the column {column.name} is {name}", f"Use the codec {codec_name}."


def _check_tenancy(metadata: sa.MetaData) -> None:
    tenancy = tenancy_of(metadata)
    if tenancy is None:
        return
    table = metadata.tables.get(tenancy.table)
    missing = [name for name in TENANT_COLUMNS if table is None or name not in table.c]
    if missing:
        lacks = f"the table {tenancy.table} of tenants"
        raise UsageError(
            f"{lacks} is not in the schema" if table is None else f"{lacks} has no column {', '.join(missing)}",
            hint="Correct `tenancy` in the `info` of the metadata, or remove it if rows belong to no tenant.",
        )
    for each in metadata.tables.values():
        if tenancy.column in each.c and kind_of_column(each.c[tenancy.column]) != "uuid":
            raise UsageError(
                f"column {each.name}.{tenancy.column}: the column of the tenant must have the type uuid",
                hint="Change the type, or remove `tenancy` from the `info` of the metadata.",
            )
