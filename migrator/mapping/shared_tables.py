"""Tables that several mappings fill: the rows of each are those that the ledger has for it.

The mappings are loaded one after the other, in the order of `MAPPINGS` as far as references permit. So an ID or a
unique value that two of them give belongs to a document of the earlier one, in every run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from migrator.errors import UsageError
from migrator.mapping.collection import Collection
from migrator.postgres.table_names import name_of


def mappings_of(mappings: Mapping[str, Collection], table: str) -> list[Collection]:
    """Return the mappings whose documents become rows of a table."""
    return [each for each in mappings.values() if name_of(each.table) == table]


def is_shared(mappings: Mapping[str, Collection], collection: Collection) -> bool:
    """Return whether other mappings fill the table of a mapping, too."""
    return len(mappings_of(mappings, name_of(collection.table))) > 1


def find_shared_tables(mappings: Iterable[Collection]) -> dict[str, list[Collection]]:
    """Return the tables that several mappings fill, with these."""
    found: dict[str, list[Collection]] = defaultdict(list)
    for each in mappings:
        found[name_of(each.table)].append(each)
    return {table: some for table, some in found.items() if len(some) > 1}


def order_shared(mappings: Mapping[str, Collection]) -> dict[str, Collection]:
    """Return the mappings with the order of those that fill one table."""
    ordered = dict(mappings)
    for some in find_shared_tables(mappings.values()).values():
        left = [each.name for each in some]
        done: list[str] = []
        while left:
            free = (name for name in left if not _needed(ordered, name) & (set(left) - {name}))
            name = next(free, left[0])  # a circle: the load reports it
            left.remove(name)
            ordered[name] = replace(ordered[name], earlier=tuple(done))
            done.append(name)
    return ordered


def _needed(mappings: Mapping[str, Collection], name: str) -> set[str]:
    """Return the mappings that must be loaded before one, directly or through others."""
    found: set[str] = set()
    left = {name}
    while left:
        mapping = mappings.get(left.pop())
        more = set() if mapping is None else set(mapping.needs) - found
        found |= more
        left |= more
    return found


def check_shared_tables(mappings: Mapping[str, Collection]) -> None:
    """Raises: `UsageError` if mappings that fill one table use what belongs to one collection."""
    tables = find_shared_tables(mappings.values())
    for table, some in tables.items():
        for mapping in some:
            for problem in _problems(mapping, some, mappings):
                raise UsageError(
                    f"collection {mapping.name}: the table {table} is filled by several collections"
                    f" ({', '.join(each.name for each in some)}), and {problem}",
                    hint="Give the collection a table of its own, or map the field in another way.",
                )


def check_single_tables(mappings: Mapping[str, Collection], used: Mapping[str, str]) -> None:
    """Raises: `UsageError` if one of the collections `used` (by what uses them) has a table that others fill, too."""
    for what, name in used.items():
        if name in mappings and is_shared(mappings, mappings[name]):
            raise UsageError(
                f"{what} uses the collection {name}, but several mappings fill its table",
                hint="Give the collection a table of its own.",
            )


def _problems(mapping: Collection, some: list[Collection], mappings: Mapping[str, Collection]) -> Iterator[str]:
    used = {
        "tree": mapping.tree is not None,
        "links": bool(mapping.links),
        "listed_by": mapping.listed_by is not None,
        "latest_values": bool(mapping.latest_values),
        "expected": bool(mapping.expected),
        "owner": mapping.owner is not None or mapping.reference_owner is not None,
        "section": mapping.section is not None,
    }
    yield from (f"the mapping has `{name}`" for name, is_used in used.items() if is_used)
    names = {each.name for each in some}
    for other in mappings.values():
        if any(rule.collection == mapping.name for rule in other.member_lists):
            yield f"documents of {other.name} list its documents"
        if any(latest.table == name_of(mapping.table) for latest in other.latest_values):
            yield f"it has a column with the newest value of {other.name}"
        if any(expected.collection == mapping.name for expected in other.expected):
            yield f"{other.name} expects rows of it"
    if references := sorted({lookup.collection for lookup in mapping.lookups} & names):
        yield f"its rows refer to rows of {', '.join(references)} in the same table"
    if mapping.key.key_columns != some[0].key.key_columns or dict(mapping.unique) != dict(some[0].unique):
        yield f"its key or its `unique` columns are not those of {some[0].name}"
