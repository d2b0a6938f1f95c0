"""Decides on tables: which collections get one, their keys, which references become foreign keys, and their order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter

from migrator.scaffold.columns import Filler
from migrator.scaffold.constraints import fill_indexes
from migrator.scaffold.draft import KEY_COLUMN, Draft, TableDraft
from migrator.scaffold.ids import Target, choose_key, is_complete
from migrator.scaffold.names import python_name, snake_case, unique_name
from migrator.scaffold.profiling import SourceStatistics
from migrator.scaffold.references import SURE, FoundReference, KeyField, find_keys, find_references
from migrator.scaffold.scope import can_be_foreign_key, documents_of
from migrator.scaffold.shapes import is_map
from migrator.scaffold.sketch import hash_text
from migrator.scaffold.statistics import CollectionStatistics, Path, dotted
from migrator.sources.selection import BUCKETS

# Names that the modules of the packages have or import already.
_RESERVED = frozenset({"base", "shared", "metadata", "text", "mapping", "junction", "map_field", "imply_field"})


def make_draft(source: SourceStatistics) -> Draft:
    """Return the draft of a migration for the statistics of a source."""
    references = find_references(source)
    keys = [key for collection in source.collections for key in find_keys(collection)]
    used = [each for each in source.collections if each.documents and not each.name.startswith(BUCKETS)]
    tables = name_tables(used, references)
    of_name = {each.name: each for each in used}
    keyed = choose_foreign_keys(of_name, tables, references)
    names = {*_RESERVED, *(table.table for table in tables.values())}
    complete = {each.name for each in used if is_complete(each)}
    for collection in used:
        table = tables[collection.name]
        filler = Filler(table, _find_targets(collection, tables, references, keyed, complete), names)
        filler.fill(table, collection.fields, documents_of(collection), {KEY_COLUMN})
        fill_indexes(table, collection)
        table.questions += _describe_others(collection, references, keyed)
        table.questions += _describe_enums(collection)
        table.questions += _describe_keys(collection, keys)
    return Draft(
        database=source.database,
        documents=source.documents,
        tables=tuple(tables[name] for name in order_tables(tables, keyed)),
        references=tuple(references),
        empty=tuple(each.name for each in source.collections if not each.documents),
        archived={
            each.name: "a time series"
            for each in source.collections
            if each.documents and each.name.startswith(BUCKETS)
        },
    )


def name_tables(used: Sequence[CollectionStatistics], references: Sequence[FoundReference]) -> dict[str, TableDraft]:
    """Return a table for each collection, with names and key."""
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


def _find_targets(
    collection: CollectionStatistics,
    tables: dict[str, TableDraft],
    references: Sequence[FoundReference],
    keyed: Sequence[FoundReference],
    complete: Collection[str],
) -> dict[Path, Target]:
    """Return the tables to which the fields of a collection refer by their keys, by field."""
    return {
        each.path: Target(tables[each.target].key, each, each in keyed, each.target in complete)
        for each in references
        if each.collection == collection.name and dotted(each.target_path) == tables[each.target].key.path
    }


def choose_foreign_keys(
    collections: Mapping[str, CollectionStatistics],
    tables: Mapping[str, TableDraft],
    references: Sequence[FoundReference],
) -> list[FoundReference]:
    """Return the references that become foreign keys: none that closes a circle, because loading has an order."""
    found: list[FoundReference] = []
    leads: dict[str, set[str]] = {name: set() for name in tables}
    for each in sorted(references, key=lambda each: (each.is_list, -each.share)):
        if not _can_be_key(each, collections, tables) or each.collection in _reachable(each.target, leads):
            continue
        leads[each.collection].add(each.target)
        found.append(each)
    return found


def _can_be_key(
    reference: FoundReference, collections: Mapping[str, CollectionStatistics], tables: Mapping[str, TableDraft]
) -> bool:
    if not reference.is_sure or reference.collection not in tables or reference.target not in tables:
        return False
    is_to_key = dotted(reference.target_path) == tables[reference.target].key.path
    is_own_key = tables[reference.collection].key.path == reference.path[0]
    return is_to_key and not is_own_key and can_be_foreign_key(collections[reference.collection], reference.path)


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


def _describe_enums(collection: CollectionStatistics) -> Iterator[str]:
    for name, count in collection.validator.enums.items():
        yield f"`{name}` has {count:,} values by the validator: it could become an enum or a CHECK."


def _describe_keys(collection: CollectionStatistics, keys: Sequence[KeyField]) -> Iterator[str]:
    """Yield the objects whose keys are the keys of documents."""
    for field in collection.walk():
        if not is_map(field):
            continue
        names = [hash_text(child.name) for child in field.fields]
        for key in keys:
            found = sum(name in key.field.values for name in names)
            if found >= SURE * len(names):
                target = f"{key.collection.name}.{dotted(key.field.path)}"
                yield f"`{dotted(field.path)}` is an object: its keys are in {target} ({found:,} of {len(names):,})."
                break


def order_tables(tables: Mapping[str, TableDraft], keyed: Sequence[FoundReference]) -> list[str]:
    """Return the collections in an order in which references lead to earlier ones."""
    sorter: TopologicalSorter[str] = TopologicalSorter({name: set() for name in sorted(tables)})
    for each in keyed:
        sorter.add(each.collection, each.target)
    return list(sorter.static_order())
