"""Matches collections with tables that exist, and fields with their columns: by names, types and values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from migrator.scaffold.asking import Ask, Question
from migrator.scaffold.draft import Codec, ColumnDraft, Draft, Kind, TableDraft
from migrator.scaffold.drafting import choose_foreign_keys, name_tables, order_tables
from migrator.scaffold.existing import ExistingColumn, ExistingTable
from migrator.scaffold.existing_keys import choose_existing_key, find_unfilled
from migrator.scaffold.fitting import fit
from migrator.scaffold.ids import Target, draft_id, is_complete
from migrator.scaffold.names import score_names, singular, squash
from migrator.scaffold.profiling import SourceStatistics
from migrator.scaffold.references import FoundReference, find_references
from migrator.scaffold.scope import documents_of
from migrator.scaffold.shapes import is_map, is_plain_name
from migrator.scaffold.statistics import OBJECT, CollectionStatistics, FieldStatistics, dotted
from migrator.scaffold.writing.code import quote

_FEWEST = 0.3  # of the columns of a table have a field with such a name: it can be the collection's table
_LITERAL = re.compile(r"'((?:[^'\\]|'')*)'(?:::[\w .\"()]+)?")


def make_draft_onto(source: SourceStatistics, existing: Sequence[ExistingTable], ask: Ask | None = None) -> Draft:
    """Return the draft of a migration into tables that exist. `ask` is asked about what names do not match."""
    references = find_references(source)
    used = [each for each in source.collections if each.documents]
    of_name = {each.name: each for each in used}
    tables = name_tables(used, references)
    found = match_tables(used, existing)
    reasons: dict[str, str] = {each.name: "no table fits" for each in used if each.name not in found}
    for name in list(found):
        key = choose_existing_key(of_name[name], tables[name], found[name])
        if key is None:
            reasons[name] = f"its key does not fit that of the table {found[name].name}"
            del found[name]
        else:
            tables[name].key, tables[name].table = key, found[name].name
    while True:
        kept = {name: tables[name] for name in found}
        keyed = choose_foreign_keys(of_name, kept, references)
        for table in kept.values():
            table.columns, table.unique, table.questions = [], [], []
            _Matcher(of_name, kept, found, references, keyed, ask).fill(table)
        lacking = {name: column for name, table in kept.items() if (column := find_unfilled(table)) is not None}
        if not lacking:
            break
        for name, column in lacking.items():  # without their tables, other references are possible
            reasons[name] = f"no field fits the column {column} of the key of the table {found.pop(name).name}"
    return Draft(
        database=source.database,
        documents=source.documents,
        tables=tuple(kept[name] for name in order_tables(kept, keyed)),
        references=tuple(references),
        empty=tuple(each.name for each in source.collections if not each.documents),
        archived=reasons,
        existing=found,
    )


def match_tables(
    collections: Sequence[CollectionStatistics], existing: Sequence[ExistingTable]
) -> dict[str, ExistingTable]:
    """Return the table of each collection: with the same name, or with a similar one and many columns in common."""
    scored = []
    for collection in collections:
        for table in existing:
            one, other = singular(squash(collection.name)), singular(squash(table.name))
            common = _share_columns(collection, table)
            if one == other or (min(len(one), len(other)) > 3 and (one in other or other in one) and common >= _FEWEST):
                scored.append(((one == other) + common, collection.name, table))
    found: dict[str, ExistingTable] = {}
    for _, name, table in sorted(scored, key=lambda each: -each[0]):
        if name not in found and table not in found.values():
            found[name] = table
    return found


def _share_columns(collection: CollectionStatistics, table: ExistingTable) -> float:
    names = [each.name for each in table.columns]
    matched = sum(any(score_names((field.name,), name) > 1 for field in collection.fields) for name in names)
    return matched / max(1, len(names))


class _Matcher:
    """Matches the fields of one collection with the columns of its table."""

    def __init__(
        self,
        collections: Mapping[str, CollectionStatistics],
        tables: Mapping[str, TableDraft],
        existing: Mapping[str, ExistingTable],
        references: Sequence[FoundReference],
        keyed: Sequence[FoundReference],
        ask: Ask | None,
    ) -> None:
        self._ask = ask
        self._collections, self._tables, self._existing = collections, tables, existing
        self._references, self._keyed = references, keyed
        self._collection_of = {table.name: name for name, table in existing.items()}

    def fill(self, table: TableDraft) -> None:
        """Add the columns that have a field, and questions about what is left on both sides."""
        collection, existing = self._collections[table.collection], self._existing[table.collection]
        columns = [each for each in existing.columns if each.name != table.key.column and not each.is_generated]
        own = ("_id", table.key.path) if table.key.column else ("_id",)
        fields = [each for each in _plain_fields(collection) if dotted(each.path) not in own]
        scored = [
            (score, -number, field, column)
            for number, column in enumerate(columns)
            for field in fields
            if (score := score_names(field.path, column.name))
        ]
        scored += self._score_references(collection, existing, columns, fields)
        used: set[str] = set()
        filled: dict[str, ColumnDraft] = {}

        def match(field: FieldStatistics, column: ExistingColumn, evidence: str = "") -> None:
            path = dotted(field.path)
            if column.name in filled or path in used:
                return
            if (drafted := self._draft(collection, field, column, existing)) is not None:
                filled[column.name] = replace(drafted, evidence=drafted.evidence + evidence)
                used.add(path)

        for _, _, field, column in sorted(scored, key=lambda each: (-each[0], each[1])):
            match(field, column)
        for field, column in self._ask_about(collection, existing, fields, columns, used, filled):
            match(field, column, "; matched by the language model")
        table.columns += [filled[column.name] for column in columns if column.name in filled]
        table.columns = [
            replace(each, required=True) if each.name in table.key.others else each for each in table.columns
        ]
        table.unique += [each.name for each in table.columns if each.name in existing.unique]
        table.questions += _describe_rest(columns, filled, fields, used)
        table.questions += _describe_losses(collection, table)

    def _ask_about(
        self,
        collection: CollectionStatistics,
        existing: ExistingTable,
        fields: Sequence[FieldStatistics],
        columns: Sequence[ExistingColumn],
        used: set[str],
        filled: Mapping[str, ColumnDraft],
    ) -> list[tuple[FieldStatistics, ExistingColumn]]:
        """Return the pairs that are proposed for what is left, if somebody is asked."""
        plain = [each for each in fields if all(map(is_plain_name, each.path))]
        left = {dotted(each.path): each for each in plain if dotted(each.path) not in used}
        open_columns = {each.name: each for each in columns if each.name not in filled}
        if self._ask is None or not left or not open_columns:
            return []
        question = Question(collection, existing.name, list(left.values()), list(open_columns.values()))
        pairs = self._ask(question)
        return [(left[path], open_columns[name]) for path, name in pairs if path in left and name in open_columns]

    def _score_references(
        self,
        collection: CollectionStatistics,
        existing: ExistingTable,
        columns: Sequence[ExistingColumn],
        fields: Sequence[FieldStatistics],
    ) -> Iterator[tuple[int, int, FieldStatistics, ExistingColumn]]:
        """Yield the foreign keys to tables to which just one field refers, whatever their names."""
        for number, column in enumerate(columns):
            key = existing.foreign_key(column.name)
            target = None if key is None else self._collection_of.get(key.table)
            found = [each for each in fields if any(_is_of(of, collection, each, target) for of in self._keyed)]
            if target is not None and len(found) == 1:
                yield 1, -number, found[0], column

    def _draft(
        self, collection: CollectionStatistics, field: FieldStatistics, column: ExistingColumn, table: ExistingTable
    ) -> ColumnDraft | None:
        """Return the draft of a column for a field; None if the values do not fit."""
        key = table.foreign_key(column.name)
        if key is not None:
            return self._draft_key(collection, field, column, key.table)
        found = fit(column.type, field)
        if found is None:
            return self._draft_unchecked(collection, field, column)
        absent, nulls = collection.documents - field.documents, field.occurrences - field.filled
        default = _read_default(column)
        return ColumnDraft(
            name=column.name,
            path=dotted(field.path),
            kind=Kind.ANY,
            required=not column.nullable and not default,
            evidence=f"{field.describe_types()} in {field.documents:,} of {collection.documents:,} documents",
            restores_null=nulls > absent,
            codec=Codec(found.codec, found.name, found.labels),
            default=default if not column.nullable else "",
        )

    def _draft_key(
        self, collection: CollectionStatistics, field: FieldStatistics, column: ExistingColumn, target: str
    ) -> ColumnDraft | None:
        name = self._collection_of.get(target)
        reference = next((each for each in self._keyed if _is_of(each, collection, field, name)), None)
        if name is None or reference is None or self._tables[name].key.others:
            return None
        complete = is_complete(self._collections[name])
        found = draft_id(field, documents_of(collection), Target(self._tables[name].key, reference, True, complete))
        return None if found is None else replace(found, name=column.name, required=not column.nullable)

    def _draft_unchecked(
        self, collection: CollectionStatistics, field: FieldStatistics, column: ExistingColumn
    ) -> ColumnDraft | None:
        """Return the column with the ID of a document that need not exist; None if the field is no such reference."""
        for each in self._references:
            if each.target not in self._tables or not _is_of(each, collection, field, each.target):
                continue
            key = self._tables[each.target].key
            if not key.column:
                continue
            kind = self._existing[each.target].column(key.column).kind
            if dotted(each.target_path) == key.path and kind == column.kind:
                found = draft_id(field, documents_of(collection), Target(key, each, False, False))
                return None if found is None else replace(found, name=column.name, required=not column.nullable)
        return None


def _is_of(
    reference: FoundReference, collection: CollectionStatistics, field: FieldStatistics, target: str | None
) -> bool:
    return reference.collection == collection.name and reference.path == field.path and reference.target == target


def _plain_fields(collection: CollectionStatistics) -> Iterator[FieldStatistics]:
    """Yield the fields that a rule can read, and those of embedded documents."""
    for field in collection.fields:
        if field.name and "." not in field.name and field.name != "*" and field.filled:
            yield field
            if field.count(OBJECT) == field.filled and not is_map(field):  # the keys of a map are values
                yield from (each for each in field.fields if each.name and "." not in each.name and each.filled)


def _read_default(column: ExistingColumn) -> str:
    """Return the default of a column as Python code; "" if it is none, or not a literal."""
    default = column.default or ""
    if default in ("true", "false"):
        return default.title()
    if re.fullmatch(r"-?\d+", default):
        return default
    found = _LITERAL.fullmatch(default)
    if found is None:
        return ""
    text = found[1].replace("''", "'")
    if column.kind in ("json", "jsonb"):
        return text if text in ("[]", "{}") else ""
    return quote(text) if column.kind == "text" else ""


def _describe_rest(
    columns: Sequence[ExistingColumn],
    filled: Mapping[str, ColumnDraft],
    fields: Sequence[FieldStatistics],
    used: set[str],
) -> Iterator[str]:
    """Yield what is left on both sides."""
    for column in columns:
        if column.name not in filled and column.needs_value:
            yield f"The column `{column.name}` is NOT NULL, and no field fits it: `run` needs a rule that fills it."
    left = [f"`{column.name}`" for column in columns if column.name not in filled and not column.needs_value]
    if left:
        yield f"Columns without a field: {', '.join(left)}."
    tops = {path.split(".")[0] for path in used}
    rest = [f"`{each.name}`" for each in fields if len(each.path) == 1 and each.name not in tops]
    if rest:
        yield f"Fields without a column, which stay in the residue: {', '.join(rest)}."


def _describe_losses(collection: CollectionStatistics, table: TableDraft) -> Iterator[str]:
    """Yield the columns that refuse documents without a value."""
    for column in table.columns:
        field = collection.find(*column.path.split("."))
        missing = collection.documents - (0 if field is None else field.filled)
        if column.required and missing > 0:
            yield f"{missing:,} documents have no value for `{column.name}`, which is NOT NULL: they are rejected."
