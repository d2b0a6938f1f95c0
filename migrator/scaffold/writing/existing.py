"""The package `schema` for tables that exist: what the mappings fill, exactly as the target has it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa

from migrator.scaffold.draft import Draft, TableDraft
from migrator.scaffold.existing import ExistingColumn, ExistingTable
from migrator.scaffold.names import python_name
from migrator.scaffold.writing.code import Imports, as_comment, call, explode, quote
from migrator.scaffold.writing.schema import write_package

_ALCHEMY, _POSTGRES = "sqlalchemy", "sqlalchemy.dialects.postgresql"
_TYPES: Final[dict[str, tuple[str, str]]] = {
    "text": ("Text", _ALCHEMY),
    "uuid": ("UUID", _POSTGRES),
    "jsonb": ("JSONB", _POSTGRES),
    "json": ("JSON", _POSTGRES),
    "boolean": ("Boolean", _ALCHEMY),
    "smallint": ("SmallInteger", _ALCHEMY),
    "integer": ("Integer", _ALCHEMY),
    "bigint": ("BigInteger", _ALCHEMY),
    "real": ("REAL", _POSTGRES),
    "double precision": ("DOUBLE_PRECISION", _POSTGRES),
    "numeric": ("Numeric", _ALCHEMY),
    "date": ("Date", _ALCHEMY),
    "time": ("Time", _ALCHEMY),
    "bytea": ("LargeBinary", _ALCHEMY),
}
_BASE: Final = '''\
"""Definitions that all tables share. The tables exist: what is not declared here stays as it is."""

from __future__ import annotations

{imports}

metadata = MetaData()
'''


def write_existing_schema(draft: Draft) -> dict[str, str]:
    """Return the files of the package: path → text."""
    files = {
        "schema/__init__.py": write_package([table.module for table in draft.tables]),
        "schema/base.py": _write_base(_enums(draft)),
    }
    # A foreign key to rows with a key of several columns needs a rule that no draft writes: it stays the owner's.
    names = {draft.existing[table.collection].name for table in draft.tables if not table.key.others}
    for table in draft.tables:
        files[f"schema/{table.module}.py"] = _write_table(table, draft.existing[table.collection], names)
    return files


def _enums(draft: Draft) -> dict[str, Any]:
    """Return the enums of the columns that are declared, by name."""
    found: dict[str, Any] = {}
    for table in draft.tables:
        names = {column.name for column in table.columns}
        for column in draft.existing[table.collection].columns:
            if column.name in names and isinstance(column.type, sa.Enum):
                found[str(column.type.name)] = column.type
    return found


def _write_base(enums: dict[str, Any]) -> str:
    imports = Imports()
    imports.add(_ALCHEMY, "MetaData")
    if enums:
        imports.add(_POSTGRES, "ENUM")
    code = _BASE.format(imports=imports.render().split("\n\n", 1)[1])
    for name, type_ in sorted(enums.items()):
        labels = [quote(each) for each in type_.enums]
        code += f"\n{call(f'{_enum_name(name)} = ENUM', [*labels, f'name={quote(name)}', 'metadata=metadata'])}\n"
    return code


def _enum_name(name: str) -> str:
    return f"{python_name(name)}_enum"


def _write_table(table: TableDraft, existing: ExistingTable, names: Iterable[str]) -> str:
    imports = Imports()
    imports.add(_ALCHEMY, "Column", "PrimaryKeyConstraint", "Table")
    imports.add("schema.base", "metadata")
    declared = {table.key.column, *(column.name for column in table.columns)}
    columns = [column for column in existing.columns if column.name in declared]
    primary = [*map(quote, existing.primary_key), f"name={quote(existing.primary_key_name or '')}"]
    arguments = [
        quote(existing.name),
        "metadata",
        *(_write_column(column, imports) for column in columns),
        call("PrimaryKeyConstraint", primary, 1),
    ]
    for key in existing.foreign_keys:
        if key.column in declared and key.table in names:
            imports.add(_ALCHEMY, "ForeignKeyConstraint")
            options = [f"{name}={quote(str(value))}" for name, value in key.options.items() if name.startswith("on")]
            options += [f"{name}={value!r}" for name, value in key.options.items() if not name.startswith("on")]
            target = quote(f"{key.table}.{key.referred}")
            parts = [f"[{quote(key.column)}]", f"[{target}]", f"name={quote(key.name)}", *options]
            arguments.append(call("ForeignKeyConstraint", parts, 1))
    head = f'"""Table {as_comment(existing.name)}: the collection {as_comment(table.collection)}."""'
    return f"{head}\n\n{imports.render()}\n\n{explode(f'{table.module} = Table', arguments)}\n"


def _write_column(column: ExistingColumn, imports: Imports) -> str:
    arguments = [quote(column.name), _type_code(column.type, column.kind or "", imports)]
    if not column.nullable:
        arguments.append("nullable=False")
    if column.default is not None:
        imports.add(_ALCHEMY, "text")
        arguments.append(f"server_default=text({quote(column.default)})")
    return call("Column", arguments, 1)


def _type_code(type_: Any, kind: str, imports: Imports) -> str:
    if isinstance(type_, sa.Enum):
        imports.add("schema.base", name := _enum_name(str(type_.name)))
        return name
    if isinstance(type_, sa.ARRAY):
        imports.add(_POSTGRES, "ARRAY")
        return f"ARRAY({_type_code(type_.item_type, kind.removesuffix('[]'), imports)})"
    if kind in ("timestamp", "timestamptz"):
        imports.add(_POSTGRES, "TIMESTAMP")
        options = ["timezone=True"] if kind == "timestamptz" else []
        options += [f"precision={type_.precision}"] if getattr(type_, "precision", None) is not None else []
        return f"TIMESTAMP({', '.join(options)})" if options else "TIMESTAMP"
    length = getattr(type_, "length", None)
    if kind == "text" and (length is not None or isinstance(type_, sa.CHAR | sa.VARCHAR)):
        name = "CHAR" if isinstance(type_, sa.CHAR) else "String"
        imports.add(_ALCHEMY, name)
        return f"{name}({length})" if length is not None else name
    name, module = _TYPES[kind]
    imports.add(module, name)
    if kind == "numeric" and type_.precision is not None:
        return f"Numeric({type_.precision}, {type_.scale or 0})"
    return name
