"""Which collections a change of documents can reach: their rows or documents may be resolved again because of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from migrator.mapping.collection import Collection


def reach(mappings: Mapping[str, Collection], names: Iterable[str]) -> set[str]:
    """Return the collections `names` and all that depend on them, directly or through others."""
    found = set(names)
    listing = {link: name for name, mapping in mappings.items() for link in mapping.link_names}
    sources = {name: {*mapping.needs, listing.get(mapping.listed_by or "")} for name, mapping in mappings.items()}
    while more := {name for name, others in sources.items() if name not in found and others & found}:
        found |= more
    return found
