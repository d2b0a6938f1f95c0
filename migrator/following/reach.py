"""Which collections a change of documents can reach: their rows or documents may be resolved again because of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from migrator.mapping.collection import Collection


def reach(mappings: Mapping[str, Collection], names: Iterable[str]) -> set[str]:
    """Return the collections `names` and all that depend on them, directly or through others."""
    found = set(names)
    while more := {name for name, mapping in mappings.items() if name not in found and _sources(mapping) & found}:
        found |= more
    return found


def _sources(mapping: Collection) -> set[str]:
    """Return the collections that documents of a collection look up, or that list them."""
    listing = {mapping.listed_by.partition(".")[0]} if mapping.listed_by is not None else set()
    return set(mapping.needs) | listing
