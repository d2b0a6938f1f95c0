"""The package `schema`: base.py with the metadata, one module for each table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from migrator.scaffold.draft import KEY_COLUMN, ColumnDraft, Draft, IndexDraft, Kind, RowsDraft, TableDraft
from migrator.scaffold.names import python_name
from migrator.scaffold.writing.code import INDENT, WIDTH, Imports, as_comment, call, explode, quote

_ALCHEMY, _POSTGRES = "sqlalchemy", "sqlalchemy.dialects.postgresql"
# Kind → the type of the column, and the module from which it is imported.
_TYPES: Final[dict[Kind, tuple[str, str]]] = {
    Kind.TEXT: ("Text", _ALCHEMY),
    Kind.UUID_TEXT: ("UUID", _POSTGRES),
    Kind.UUID: ("UUID", _POSTGRES),
    Kind.OBJECT_ID: ("String(24)", _ALCHEMY),
    Kind.INTEGER: ("BigInteger", _ALCHEMY),
    Kind.LONG: ("BigInteger", _ALCHEMY),
    Kind.DOUBLE: ("DOUBLE_PRECISION", _POSTGRES),
    Kind.NUMBER: ("DOUBLE_PRECISION", _POSTGRES),
    Kind.DECIMAL: ("Numeric", _ALCHEMY),
    Kind.BOOLEAN: ("Boolean", _ALCHEMY),
    Kind.DATE: ("TIMESTAMP(timezone=True)", _POSTGRES),
    Kind.BYTES: ("LargeBinary", _ALCHEMY),
    Kind.ANY: ("JSONB", _POSTGRES),
    Kind.OBJECT: ("JSONB", _POSTGRES),
    Kind.LIST: ("JSONB", _POSTGRES),
}
_BASE: Final = '''\
"""Definitions that all tables share: the metadata and the names of constraints."""

from __future__ import annotations

from sqlalchemy import MetaData

# Every constraint needs a name: `revert` and `verify` refer to it.
metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    }
)
'''


def write_schema(draft: Draft) -> dict[str, str]:
    """Return the files of the package: path → text."""
    modules = [table.module for table in draft.tables]
    files = {"schema/__init__.py": write_package(modules), "schema/base.py": _BASE}
    of_collection = {table.collection: table for table in draft.tables}
    return files | {f"schema/{table.module}.py": _write_table(table, of_collection) for table in draft.tables}


def write_package(modules: list[str]) -> str:
    """Return the text of `schema/__init__.py`."""
    imports = Imports()
    imports.add("schema", *modules)
    imports.add("schema.base", "metadata")
    names = [quote(name) for name in sorted([*modules, "metadata"])]
    exported = f"__all__ = [{', '.join(names)}]"
    if len(exported) > WIDTH:
        exported = "\n".join(["__all__ = [", *(f"{INDENT}{name}," for name in names), "]"])
    return f'"""The tables of the target: one module for each."""\n\n{imports.render()}\n\n{exported}\n'


def _write_table(table: TableDraft, tables: dict[str, TableDraft]) -> str:
    imports = Imports()
    imports.add(_ALCHEMY, "Column", "Table")
    imports.add("schema.base", "metadata")
    key_type = _import_type(table.key.kind or Kind.UUID, imports)
    # Without autoincrement=False, SQLAlchemy would make an integer key a serial.
    options = ["primary_key=True", *(["autoincrement=False"] if key_type == "BigInteger" else [])]
    arguments = [call("Column", [quote(KEY_COLUMN), key_type, *options], 1)]
    arguments += [_write_column(column, tables, imports) for column in table.columns]
    for name in table.unique:
        imports.add(_ALCHEMY, "UniqueConstraint")
        arguments.append(f"UniqueConstraint({quote(name)})")
    comments = "".join(f"# {as_comment(comment)}\n" for comment in table.comments)
    blocks = [comments + _write_rows(table, table.module, arguments, imports)]
    blocks += _write_children(table, key_type, tables, imports)
    head = f'"""Table {table.table}: the collection {as_comment(table.collection)}, {table.documents:,} documents."""'
    return f"{head}\n\n{imports.render()}\n\n" + "\n\n".join(blocks) + "\n"


def _write_rows(rows: RowsDraft, variable: str, arguments: list[str], imports: Imports) -> str:
    indexes = [_write_index(index, imports) for index in rows.indexes]
    return explode(f"{variable} = Table", [quote(rows.table), "metadata", *arguments, *indexes])


def _write_children(rows: RowsDraft, key_type: str, tables: dict[str, TableDraft], imports: Imports) -> Iterator[str]:
    """Yield the tables of elements. The parent and the position identify a row."""
    for child in rows.children:
        imports.add(_ALCHEMY, "ForeignKey", "Integer")
        primary = [] if child.has_key else ["primary_key=True"]
        required = ["nullable=False"] if child.has_key else []
        parent = f"ForeignKey({quote(f'{rows.table}.{KEY_COLUMN}')})"
        arguments = [
            call("Column", [quote(child.parent), key_type, parent, *primary, *required], 1),
            call("Column", [quote(child.position), "Integer", *primary, *required], 1),
        ]
        if child.has_key:
            imports.add(_ALCHEMY, "UniqueConstraint")
            imports.add(_POSTGRES, "UUID")
            arguments.insert(0, f"Column({quote(KEY_COLUMN)}, UUID, primary_key=True)")
            arguments.append(call("UniqueConstraint", [quote(child.parent), quote(child.position)], 1))
        arguments += [_write_column(column, tables, imports) for column in child.columns]
        yield _write_rows(child, python_name(child.table), arguments, imports)
        yield from _write_children(child, "UUID", tables, imports)


def _write_column(column: ColumnDraft, tables: dict[str, TableDraft], imports: Imports) -> str:
    arguments = [quote(column.name), _type_of(column, tables, imports)]
    if column.is_key:
        imports.add(_ALCHEMY, "ForeignKey")
        arguments.append(f"ForeignKey({quote(f'{tables[column.target].table}.{KEY_COLUMN}')})")
    if column.required:
        arguments.append("nullable=False")
    comment = f"# {as_comment(column.note)}\n    " if column.note else ""
    return comment + call("Column", arguments, 1)


def _type_of(column: ColumnDraft, tables: dict[str, TableDraft], imports: Imports) -> str:
    kind = column.item or column.kind
    if kind is Kind.ID:
        kind = tables[column.target].key.kind or Kind.UUID
    if column.kind is Kind.ARRAY:
        imports.add(_POSTGRES, "ARRAY")
        kind = Kind.TEXT if kind is Kind.OBJECT_ID else kind  # binary COPY knows no arrays of varchar
        return f"ARRAY({_import_type(kind, imports)})"
    return _import_type(kind, imports)


def _import_type(kind: Kind, imports: Imports) -> str:
    name, module = _TYPES[kind]
    imports.add(module, name.partition("(")[0])
    return name


def _write_index(index: IndexDraft, imports: Imports) -> str:
    imports.add(_ALCHEMY, "Index")
    columns = [quote(name) for name in index.columns]
    if index.descending:
        imports.add(_ALCHEMY, "text")
        columns = [
            f"text({quote(f'{name} DESC')})" if name in index.descending else quote(name) for name in index.columns
        ]
    options = ['postgresql_using="gin"'] if index.is_gin else []
    return call("Index", [quote(index.name), *columns, *options], 1)
