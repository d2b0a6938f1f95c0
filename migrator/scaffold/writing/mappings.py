"""The package `mappings`: shared.py with keys and rules in common, one module for each collection."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from migrator.scaffold.draft import KEY_COLUMN, ChildDraft, ColumnDraft, Draft, Kind, Restore, RowsDraft, TableDraft
from migrator.scaffold.names import python_name
from migrator.scaffold.writing.code import Imports, as_comment, as_tuple, assign, call, explode, quote

_CODECS, _RULES, _REFERENCES = "migrator.mapping.codecs", "migrator.mapping.rules", "migrator.mapping.references"
_CODEC_OF: Final[dict[Kind, str]] = {
    Kind.TEXT: "TEXT",
    Kind.UUID_TEXT: "UUID_TEXT",
    Kind.UUID: "UUID",
    Kind.OBJECT_ID: "OBJECTID_HEX",
    Kind.INTEGER: "BIGINT",
    Kind.LONG: "LONG",
    Kind.DOUBLE: "DOUBLE",
    Kind.NUMBER: "Double(whole_as_int=True)",
    Kind.DECIMAL: "NUMERIC",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.DATE: "DATETIME",
    Kind.BYTES: "BYTES",
    Kind.ANY: "JSON",
    Kind.OBJECT: "JSON_OBJECT",
    Kind.LIST: "JSON_ARRAY",
}
# How a field is restored from the key of the row to which it refers, and what that needs of the codecs.
_RESTORES: Final[dict[Restore, tuple[str, str]]] = {
    Restore.OBJECT_ID: ("ObjectIdText().write", "ObjectIdText"),
    Restore.HEX: ("ObjectIdText(as_text=True).write", "ObjectIdText"),
    Restore.OBJECT_ID_TEXT: ("OBJECTID_HEX.write", "OBJECTID_HEX"),
    Restore.UUID: ("UUID.write", "UUID"),
    Restore.UUID_TEXT: ("UUID_TEXT.write", "UUID_TEXT"),
    Restore.TEXT: ("TEXT.write", "TEXT"),
    Restore.INTEGER: ("BIGINT.write", "BIGINT"),
    Restore.LONG: ("LONG.write", "LONG"),
}


def write_mappings(draft: Draft) -> dict[str, str]:
    """Return the files of the package: path → text."""
    of_collection = {table.collection: table for table in draft.tables}
    files = {"mappings/__init__.py": _write_package(draft), "mappings/shared.py": _write_shared(draft, of_collection)}
    return files | {f"mappings/{table.module}.py": _write_mapping(table, of_collection) for table in draft.tables}


def _write_package(draft: Draft) -> str:
    imports = Imports()
    modules = [table.module for table in draft.tables]
    imports.add("mappings", *modules)
    head = f'"""The migration of the database {as_comment(draft.database)}: one module for each collection."""'
    code = explode("MAPPINGS = ", [f"{module}.mapping" for module in modules])
    return f"{head}\n\n{imports.render()}\n\n# References lead from later to earlier ones.\n{code}\n"


def _write_shared(draft: Draft, tables: dict[str, TableDraft]) -> str:
    imports = Imports()
    columns = [column for table in draft.tables for column in table.all_columns if column.target]
    if not columns:
        return '"""Definitions that several mappings share: none yet."""\n'
    imports.add(_REFERENCES, "Key")
    targets = sorted({column.target for column in columns})
    lines = [f"{_key_name(tables[name])} = {_key(tables[name], imports)}" for name in targets]
    lines.append("")
    for restore in sorted({column.restore for column in columns if column.restore is not None}):
        code, name = _RESTORES[restore]
        imports.add(_CODECS, name)
        lines.append(f"{restore} = {code}")
    code = "\n".join(lines)
    return f'"""Definitions that several mappings share."""\n\n{imports.render()}\n\n{code}\n'


def _key_name(table: TableDraft) -> str:
    return table.module.upper()


def _key(table: TableDraft, imports: Imports) -> str:
    arguments = [f"path={quote(table.key.path)}", f"collection={quote(table.collection)}"]
    if table.key.kind is Kind.TEXT:
        arguments.append("text=True")
    elif table.key.kind is not None:
        codec = table.key.codec or _CODEC_OF[table.key.kind]
        imports.add(_CODECS, codec)
        arguments.append(f"codec={codec}")
    if table.key.column != KEY_COLUMN:
        arguments.append(f"column={quote(table.key.column)}")
    return call("Key", arguments, 1)


def _write_mapping(table: TableDraft, tables: dict[str, TableDraft]) -> str:
    imports = Imports()
    imports.add("migrator.mapping.collection", "Collection")
    imports.add(f"schema.{table.module}", table.module)
    is_shared = any(column.target == table.collection for other in tables.values() for column in other.all_columns)
    if is_shared:
        imports.add("mappings", "shared")
        key = f"shared.{_key_name(table)}"
    elif table.key.column:
        imports.add(_REFERENCES, "Key")
        key = _key(table, imports)
    if table.key.others:
        imports.add("migrator.mapping.composite_keys", "CompositeKey")
        parts = [f"parts=({key},)"] if table.key.column else []
        key = call("CompositeKey", [f"table={table.module}", *parts], 1)
    arguments = [f"name={quote(table.collection)}", f"table={table.module}", f"key={key}"]
    if table.unique:
        entries = ", ".join(f'{quote(name)}: "duplicate_key"' for name in table.unique)
        arguments.append(f"unique={{{entries}}}")
    enums = [
        assign(_enum_name(column), "Enum", [quote(each) for each in column.codec.labels])
        for column in table.columns
        if column.codec is not None and column.codec.labels
    ]
    writer = _RuleWriter(table, tables, imports)
    arguments.append(writer.rules(table, 1, set(table.unique)))
    head = f'"""Collection {as_comment(table.collection)} → table {table.table}."""'
    constants = "".join(f"{each}\n" for each in enums) + ("\n" if enums else "")
    return f"{head}\n\n{imports.render()}\n\n{constants}{explode('mapping = Collection', arguments)}\n"


def _enum_name(column: ColumnDraft) -> str:
    return f"{python_name(column.name).upper()}_ENUM"


class _RuleWriter:
    """Writes the rules of one collection."""

    def __init__(self, table: TableDraft, tables: dict[str, TableDraft], imports: Imports) -> None:
        self._module, self._tables, self._imports = table.module, tables, imports

    def rules(self, rows: RowsDraft, depth: int, unique: Collection[str] = ()) -> str:
        """Return the argument with the rules of a table."""
        indexed = {name for index in rows.indexes for name in index.columns} | set(unique)
        rules = [self._rule(column, column.name in indexed, depth + 1) for column in rows.columns]
        rules += [self._children(child, depth + 1) for child in rows.children]
        for each in rows.implied:
            self._imports.add(_RULES, "imply_field")
            rules.append(call("imply_field", [quote(each.path), each.value], depth + 1))
        return as_tuple("rules=", rules, depth)

    def _children(self, child: ChildDraft, depth: int) -> str:
        variable = python_name(child.table)
        self._imports.add(f"schema.{self._module}", variable)
        named = [] if child.position == "position" else [f"position={quote(child.position)}"]
        if child.is_junction:
            self._imports.add("migrator.mapping.children", "junction")
            reference = f"reference={self._rule(child.columns[0], True, depth + 1)}"
            arguments = [quote(child.path), variable, f"parent={quote(child.parent)}", *named, reference]
            return explode("junction", arguments, depth)
        self._imports.add("migrator.mapping.children", "Children")
        arguments = [f"path={quote(child.path)}", f"table={variable}", f"parent={quote(child.parent)}", *named]
        if child.has_key:
            arguments.append(f"key={quote(KEY_COLUMN)}")
        return explode("Children", [*arguments, self.rules(child, depth + 1)], depth)

    def _rule(self, column: ColumnDraft, is_indexed: bool, depth: int) -> str:
        arguments = [quote(column.path), quote(column.name)]
        options = ["required=True"] if column.required else []
        if column.is_key:
            self._imports.add("mappings", "shared")
            self._imports.add(_REFERENCES, "reference_to")
            return call("reference_to", [*arguments, *_target(column, self._tables), *options], depth)
        self._imports.add(_RULES, "map_field")
        if column.restores_null:
            options.append("restore_null=True")
        options += [f"default={column.default}"] if column.default else []
        if column.codec is not None and column.codec.labels:
            self._imports.add(_CODECS, "Enum")
            return call("map_field", [*arguments, _enum_name(column), *options], depth)
        if column.codec is not None:
            self._imports.add(
                _CODECS, column.codec.name, *(["Array"] if column.codec.code.startswith("Array(") else [])
            )
            return call("map_field", [*arguments, column.codec.code, *options], depth)
        codec = _codec(column, column.item or column.kind, is_indexed, self._tables, self._imports)
        if column.kind is Kind.ARRAY:
            self._imports.add(_CODECS, "Array")
            codec = f"Array({codec})"
        return call("map_field", [*arguments, codec, *options], depth)


def _codec(column: ColumnDraft, kind: Kind, is_indexed: bool, tables: dict[str, TableDraft], imports: Imports) -> str:
    if kind is Kind.ID:
        imports.add("mappings", "shared")
        imports.add(_REFERENCES, "IdCodec")
        return f"IdCodec({', '.join(_target(column, tables))})"
    codec = "INDEXED_TEXT" if column.kind is Kind.TEXT and is_indexed else _CODEC_OF[kind]
    imports.add(_CODECS, codec.partition("(")[0])
    return codec


def _target(column: ColumnDraft, tables: dict[str, TableDraft]) -> list[str]:
    return [f"shared.{_key_name(tables[column.target])}", f"shared.{column.restore}"]
