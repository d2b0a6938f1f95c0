"""Which values of other rows the outcome of a document depends on (`state.wants`), and which values a row offers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from psycopg import sql

from migrator import ids
from migrator.documents.codec import Document, decode
from migrator.mapping.collection import Collection
from migrator.mapping.context import Lookup, Row
from migrator.mapping.references import Reference, UncheckedReference
from migrator.rows.given_ids import has_derived_ids
from migrator.rows.store import RowStore
from migrator.state.row_keys import column_of, key_of
from migrator.state.wants import Wanted, anything, wanted
from migrator.translation.outcomes import Loaded, Result

LISTED = "listed"  # the column of a `Wanted` that stands for the items of a `Link`
Wanting = list[tuple[Lookup, bool, Mapping[Any, tuple[Any, ...]]]]  # a lookup, whether it is loose, its answers
Found = Mapping[tuple[str, str], Mapping[Any, tuple[Any, ...]]]  # lookup → plain key → matches


def claims_of(collection: Collection, document: Document, row: Row | None) -> Iterator[Wanted]:
    """Yield the ID and the unique values that a document would have, as far as they are known without its row.

    Rows of earlier mappings of the same table may have them, too.
    """
    for name in (collection.name, *collection.earlier):
        for row_id in requested_ids(collection, document, row):
            yield wanted(name, collection.key.column, row_id)
        for column in collection.unique if row is not None else ():
            if row is not None and row[column] is not None:
                yield wanted(name, column, row[column])


def requested_ids(collection: Collection, document: Document, row: Row | None = None) -> Iterator[Any]:
    """Yield the plain IDs that the row of a document can have: by its key field, and after an ID conflict.

    `row`: as translated; a rule can compute the ID.
    """
    if row is not None:
        yield row[collection.key.column]
    named = collection.key.identify(document.get(collection.key.path))
    if named is not None:
        yield named
    if collection.owner is not None and "_id" in document:
        yield ids.uuid_of(collection.name, document["_id"], objectid=True)


def wants_of_unloaded(collection: Collection, document: Document, result: Result, reason: str | None) -> set[Wanted]:
    """Return what a document without a row wants. `reason`: of its reject; None if it was archived."""
    row = result.row if isinstance(result, Loaded) else None
    found = {*claims_of(collection, document, row), *_listed(collection, document)}
    for lookup in collection.lookups:
        found |= {wanted(lookup.collection, lookup.by, key) for key in lookup.keys((document,))}
    if reason == "target_constraint":
        found.add(anything(collection.name))
    return found


def wants_of_loaded(collection: Collection, document: Document, wanting: Wanting) -> set[Wanted]:
    """Return what a loaded document wants: rows that no foreign key of its row names."""
    found = set(_listed(collection, document))
    for lookup, is_loose, answers in wanting:
        for key in lookup.keys((document,)):
            if is_loose or not answers.get(key):
                found.add(wanted(lookup.collection, lookup.by, key))
    return found


def wanting_lookups(collection: Collection, references: Found) -> Wanting:
    """Return the lookups by which loaded documents want rows: the loose ones, and those that did not find all.

    `references`: the answers for these documents.
    """
    loose = loose_lookups(collection)
    found = [(lookup, lookup.name in loose, references.get(lookup.name, {})) for lookup in collection.lookups]
    return [each for each in found if each[1] or not all(each[2].values())]


def wanted_parent(collection: Collection, document: Document) -> set[Wanted]:
    """Return the want of a document whose row does not have the parent that it names."""
    tree = collection.tree
    rules = (rule for rule in collection.rules if isinstance(rule, UncheckedReference))
    named = [rule.referenced_id(document) for rule in rules if tree is not None and rule.column == tree.parent]
    return {wanted(collection.name, collection.key.column, each) for each in named if each is not None}


def loose_lookups(collection: Collection) -> frozenset[tuple[str, str]]:
    """Return the names of the lookups whose result is not a foreign key of the row."""
    firm, loose = set[tuple[str, str]](), set[tuple[str, str]]()
    for rule in collection.rules:
        is_firm = isinstance(rule, Reference) and bool(collection.table.c[rule.column].foreign_keys)
        (firm if is_firm else loose).update(lookup.name for lookup in rule.lookups)
    return frozenset(loose | {each.name for each in collection.lookups if each.name not in firm})


def _listed(collection: Collection, document: Document) -> Iterator[Wanted]:
    if collection.listed_by is not None:
        named = collection.key.identify(document.get(collection.key.path))
        if named is not None:
            yield wanted(collection.listed_by, LISTED, named)


def offered_ids(collection: Collection, source_id: bytes) -> Iterator[Wanted]:
    """Yield the `_id` of a loaded document, and the ID that follows from it: that of its row may be another."""
    yield wanted(collection.name, "_id", source_id)
    if has_derived_ids(collection):
        yield wanted(collection.name, collection.key.column, collection.key.uuid(decode(source_id).get("_id")))


def looked_up_columns(mappings: Mapping[str, Collection], collection: Collection) -> list[str]:
    """Return the columns by which rows of a collection are looked up or contested, except `_id`."""
    columns = {collection.key.column, *collection.unique}
    for mapping in mappings.values():
        columns |= {lookup.by for lookup in mapping.lookups if lookup.collection == collection.name}
    return sorted(columns - {"_id"})


def offers_of(rows: RowStore, collection: Collection, ids_: Iterable[str]) -> set[Wanted]:
    """Return the values of loaded rows that documents may want. `ids_`: target IDs, as text."""
    chosen = list(ids_)
    if not chosen:
        return set()
    name, columns = collection.name, looked_up_columns(rows.mappings, collection)
    found = set(_column_values(rows, collection, columns, chosen))
    query = rows.namespace.sql("SELECT original_id FROM {aliases} WHERE collection = %s AND target = ANY(%s)")
    key = collection.key.column
    found |= {Wanted(name, key, row[0]) for row in rows.connection.execute(query, (name, chosen))}
    listings = list(collection.link_names)
    query = rows.namespace.sql("SELECT collection, listed FROM {links} WHERE collection = ANY(%s) AND lister = ANY(%s)")
    if listings:
        found |= {Wanted(row[0], LISTED, row[1]) for row in rows.connection.execute(query, (listings, chosen))}
    return found


def _column_values(rows: RowStore, collection: Collection, columns: list[str], chosen: list[str]) -> Iterator[Wanted]:
    query = rows.namespace.sql(
        "SELECT l.source_id, {columns} FROM {ledger} l JOIN {table} t ON {joined}"
        " WHERE l.collection = %s AND l.outcome = 'loaded' AND l.target_id = ANY(%s)",
        columns=sql.SQL(", ").join(column_of(collection, each).text("t") for each in columns),
        table=rows.table(collection),
        joined=key_of(collection).is_text("t", sql.SQL("l.target_id")),
    )
    for source_id, *values in rows.connection.execute(query, (collection.name, chosen), binary=True):
        yield from offered_ids(collection, bytes(source_id))
        for column, value in zip(columns, values, strict=True):
            if value is not None:
                yield wanted(collection.name, column, value)
