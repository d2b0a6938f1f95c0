"""The package `mappings`: shared.py with keys and rules in common, one module for each collection."""

from __future__ import annotations

from typing import Final

from migrator.scaffold.draft import ColumnDraft, Draft, Kind, Restore, TableDraft
from migrator.scaffold.writing.code import Imports, call, explode, quote

_CODECS, _RULES, _REFERENCES = "migrator.mapping.codecs", "migrator.mapping.rules", "migrator.mapping.references"
_CODEC_OF: Final[dict[Kind, str]] = {
    Kind.TEXT: "TEXT",
    Kind.INTEGER: "INTEGER",
    Kind.NUMBER: "NUMBER",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.DATE: "DATETIME",
    Kind.ANY: "JSON",
    Kind.OBJECT: "JSON_OBJECT",
    Kind.LIST: "JSON_ARRAY",
}
_RESTORES: Final[dict[Restore, str]] = {
    Restore.OBJECT_ID: "ObjectIdText().write",
    Restore.TEXT: "ObjectIdText(as_text=True).write",
    Restore.UUID: "uuid_text",
}
_OBJECT_ID: Final = '''\
class ObjectIdCodec:
    """ObjectId ↔ its 24 hexadecimal digits."""

    def read(self, value: Any, note: Note, path: str) -> Any:
        return str(value) if isinstance(value, ObjectId) else UNREADABLE

    def write(self, plain: str) -> Any:
        return ObjectId(plain) if ObjectId.is_valid(plain) else UNREADABLE


OBJECT_ID = ObjectIdCodec()'''
_REFERENCE: Final = '''\
def reference(
    path: str,
    column: str,
    key: Key,
    restore: Restore,
    *,
    required: bool = False,
) -> Reference:
    """Return the rule of a field that names a document of another collection.

    If that document does not exist, the column is NULL, with a finding. If the column is
    required, the document is rejected instead.
    """

    def handle_missing(context: Context, document: Document) -> Match:
        if required:
            raise Rejected("orphan", path)
        if document.get(path) not in (None, ""):
            context.note("dangling_reference", path)
        return Match(None, {})

    def write(plain: Any) -> Any:
        return ABSENT if plain is None else restore(plain)

    return Reference(
        path=path,
        column=column,
        key=key,
        on_missing=handle_missing,
        write=write,
    )'''


def write_mappings(draft: Draft) -> dict[str, str]:
    """Return the files of the package: path → text."""
    of_collection = {table.collection: table for table in draft.tables}
    files = {"mappings/__init__.py": _write_package(draft), "mappings/shared.py": _write_shared(draft, of_collection)}
    return files | {f"mappings/{table.module}.py": _write_mapping(table, of_collection) for table in draft.tables}


def _write_package(draft: Draft) -> str:
    imports = Imports()
    modules = [table.module for table in draft.tables]
    imports.add("mappings", *modules)
    head = f'"""The migration of the database {draft.database}: one module for each collection."""'
    code = explode("MAPPINGS = ", [f"{module}.mapping" for module in modules])
    return f"{head}\n\n{imports.render()}\n\n# References lead from later to earlier ones.\n{code}\n"


def _write_shared(draft: Draft, tables: dict[str, TableDraft]) -> str:
    imports = Imports()
    imports.add(_REFERENCES, "Key")
    targets = [tables[name] for name in dict.fromkeys(column.target for column in _references(draft))]
    keys = "\n".join(f"{_key_name(table)} = {_key(table)}" for table in targets)
    code = [keys] if keys else []
    columns = [column for table in draft.tables for column in table.columns]
    if targets:
        code.append(_write_restores({column.restore for column in columns if column.restore is not None}, imports))
    if any(column.kind is Kind.OBJECT_ID for column in columns):
        code.append(_OBJECT_ID)
        imports.add("typing", "Any")
        imports.add("bson", "ObjectId")
        imports.add("migrator.documents.jsonb", "Note")
        imports.add(_CODECS, "UNREADABLE")
    if targets:
        code.append(_REFERENCE)
        imports.add("collections.abc", "Callable")
        imports.add("typing", "Any")
        imports.add("migrator.documents.codec", "Document")
        imports.add("migrator.mapping.context", "ABSENT", "Context", "Match", "Rejected")
        imports.add(_REFERENCES, "Reference")
    if not code:
        return '"""Definitions that several mappings share: none yet."""\n'
    return f'"""Definitions that several mappings share."""\n\n{imports.render()}\n\n' + "\n\n\n".join(code) + "\n"


def _references(draft: Draft) -> list[ColumnDraft]:
    return [column for table in draft.tables for column in table.references]


def _key_name(table: TableDraft) -> str:
    return table.module.upper()


def _key(table: TableDraft) -> str:
    text = ["text=True"] if table.key.is_text else []
    return call("Key", [f"path={quote(table.key.path)}", f"collection={quote(table.collection)}", *text], 1)


def _write_restores(used: set[Restore], imports: Imports) -> str:
    """Return the functions that restore a field from the ID of the row to which it refers."""
    lines = ["Restore = Callable[[Any], Any]"]
    if used & {Restore.OBJECT_ID, Restore.TEXT}:
        imports.add(_CODECS, "ObjectIdText")
    if Restore.UUID in used:
        imports.add("migrator.ids", "uuid_text")
    lines += [f"{each} = {_RESTORES[each]}" for each in Restore if each in used]
    return "\n".join(lines)


def _write_mapping(table: TableDraft, tables: dict[str, TableDraft]) -> str:
    imports = Imports()
    imports.add("migrator.mapping.collection", "Collection")
    imports.add(f"schema.{table.module}", table.module)
    indexed = {name for index in table.indexes for name in index.columns} | set(table.unique)
    rules = [_write_rule(column, column.name in indexed, tables, imports) for column in table.columns]
    for each in table.implied:
        imports.add(_RULES, "imply_field")
        rules.append(call("imply_field", [quote(each.path), each.value], 2))
    is_shared = any(column.target == table.collection for other in tables.values() for column in other.references)
    if is_shared:
        imports.add("mappings", "shared")
        key = f"shared.{_key_name(table)}"
    else:
        imports.add(_REFERENCES, "Key")
        key = _key(table)
    arguments = [f"name={quote(table.collection)}", f"table={table.module}", f"key={key}"]
    if table.unique:
        entries = ", ".join(f'{quote(name)}: "duplicate_key"' for name in table.unique)
        arguments.append(f"unique={{{entries}}}")
    arguments.append(f"rules={explode('', rules, 1)}" if rules else "rules=()")
    head = f'"""Collection {table.collection} → table {table.table}."""'
    return f"{head}\n\n{imports.render()}\n\n{explode('mapping = Collection', arguments)}\n"


def _write_rule(column: ColumnDraft, is_indexed: bool, tables: dict[str, TableDraft], imports: Imports) -> str:
    options = ["required=True"] if column.required else []
    if column.target:
        imports.add("mappings", "shared")
        restore = f"shared.{column.restore}"
        key = f"shared.{_key_name(tables[column.target])}"
        return call("shared.reference", [quote(column.path), quote(column.name), key, restore, *options], 2)
    if column.kind is Kind.OBJECT_ID:
        imports.add("mappings", "shared")
        codec = "shared.OBJECT_ID"
    else:
        codec = "INDEXED_TEXT" if column.kind is Kind.TEXT and is_indexed else _CODEC_OF[column.kind]
        imports.add(_CODECS, codec)
    imports.add(_RULES, "map_field")
    if column.restores_null:
        options.append("restore_null=True")
    return call("map_field", [quote(column.path), quote(column.name), codec, *options], 2)
