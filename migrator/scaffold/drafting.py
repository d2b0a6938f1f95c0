"""Decides on tables: which collections get one, their keys, which references become foreign keys, and their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from graphlib import TopologicalSorter

from migrator.mapping.codecs import INDEXABLE_BYTES
from migrator.scaffold.columns import fill_columns
from migrator.scaffold.constraints import fill_indexes
from migrator.scaffold.draft import Draft, KeyDraft, TableDraft
from migrator.scaffold.names import python_name, snake_case, unique_name
from migrator.scaffold.profiling import SourceStatistics
from migrator.scaffold.references import FoundReference, find_references
from migrator.scaffold.statistics import STRING, CollectionStatistics, dotted
from migrator.sources.selection import BUCKETS

_RESERVED = {"base", "shared", "init"}  # modules of the packages


def make_draft(source: SourceStatistics) -> Draft:
    """Return the draft of a migration for the statistics of a source."""
    references = find_references(source)
    used = [each for each in source.collections if each.documents and not each.name.startswith(BUCKETS)]
    tables = _name_tables(used, references)
    keyed = choose_foreign_keys(tables, references)
    for collection in used:
        table = tables[collection.name]
        fill_columns(table, collection, {each.path[0]: each for each in keyed if each.collection == collection.name})
        fill_indexes(table, collection)
        table.questions += _describe_others(collection, references, keyed)
    return Draft(
        database=source.database,
        documents=source.documents,
        tables=tuple(tables[name] for name in _order(tables, keyed)),
        references=tuple(references),
        empty=tuple(each.name for each in source.collections if not each.documents),
        archived={
            each.name: "a time series"
            for each in source.collections
            if each.documents and each.name.startswith(BUCKETS)
        },
    )


def _name_tables(used: Sequence[CollectionStatistics], references: Sequence[FoundReference]) -> dict[str, TableDraft]:
    tables: dict[str, TableDraft] = {}
    names: set[str] = set()
    modules = set(_RESERVED)
    for collection in used:
        table = unique_name(snake_case(collection.name), names)
        module = unique_name(python_name(collection.name), modules)
        names.add(table)
        modules.add(module)
        tables[collection.name] = TableDraft(
            collection=collection.name,
            table=table,
            module=module,
            documents=collection.documents,
            key=choose_key(collection, references),
        )
    return tables


def choose_key(collection: CollectionStatistics, references: Iterable[FoundReference]) -> KeyDraft:
    """Return the key: the field that others refer to if it identifies every document, otherwise `_id`."""
    named = [each for each in references if each.target == collection.name and not each.is_list]
    paths = {dotted(each.target_path) for each in named}
    for path in sorted(paths - {"_id"}):
        field = collection.find(path)
        if field is None or "_id" in paths or not _identifies(collection, path):
            continue
        votes = sum(dotted(each.target_path) == path for each in named)
        is_uuid = field.uuid_texts == field.filled
        return KeyDraft(
            path=path, is_text=not is_uuid, evidence=f"{votes} fields refer to it; it is in every document once"
        )
    return KeyDraft(path="_id", is_text=False, evidence="the ObjectId becomes a UUID, in the same order")


def _identifies(collection: CollectionStatistics, path: str) -> bool:
    """Return whether each document has another text in a field."""
    field = collection.find(path)
    return (
        field is not None
        and field.count(STRING) == field.occurrences == field.documents == collection.documents
        and not (field.empty or field.nul or collection.damaged)
        and field.longest <= INDEXABLE_BYTES
        and (field.values.level > 0 or field.values.distinct == collection.documents)
    )


def choose_foreign_keys(tables: dict[str, TableDraft], references: Sequence[FoundReference]) -> list[FoundReference]:
    """Return the references that become foreign keys: none that closes a circle, because loading has an order."""
    found: list[FoundReference] = []
    leads: dict[str, set[str]] = {name: set() for name in tables}
    for each in sorted(references, key=lambda each: -each.share):
        if not _can_be_key(each, tables) or each.collection in _reachable(each.target, leads):
            continue
        leads[each.collection].add(each.target)
        found.append(each)
    return found


def _can_be_key(reference: FoundReference, tables: dict[str, TableDraft]) -> bool:
    if reference.collection not in tables or reference.target not in tables or len(reference.path) > 1:
        return False
    key = tables[reference.target].key
    is_own_key = tables[reference.collection].key.path == reference.path[0]
    return (
        reference.is_sure
        and reference.is_id
        and dotted(reference.target_path) == key.path
        and not key.is_text
        and not is_own_key
    )


def _reachable(start: str, leads: dict[str, set[str]]) -> set[str]:
    found, left = {start}, [start]
    while left:
        new = leads[left.pop()] - found
        found |= new
        left += new
    return found


def _describe_others(
    collection: CollectionStatistics, references: Sequence[FoundReference], keyed: Sequence[FoundReference]
) -> list[str]:
    """Return what to decide about the references that did not become foreign keys."""
    return [
        f"`{dotted(each.path)}` refers to {each.target}.{dotted(each.target_path)}"
        f" ({each.hits:,} of {each.compared:,} distinct values exist), without a foreign key."
        for each in references
        if each.collection == collection.name and each not in keyed
    ]


def _order(tables: dict[str, TableDraft], keyed: Sequence[FoundReference]) -> list[str]:
    sorter: TopologicalSorter[str] = TopologicalSorter({name: set() for name in sorted(tables)})
    for each in keyed:
        sorter.add(each.collection, each.target)
    return list(sorter.static_order())
