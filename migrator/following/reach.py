"""Which collections a change of documents can reach: their rows or documents may be resolved again because of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from migrator.mapping.collection import Collection


def reach(mappings: Mapping[str, Collection], names: Iterable[str]) -> set[str]:
    """Return the collections `names` and all that depend on them, directly or through others."""
    found = set(names)
    listers = {link: name for name, mapping in mappings.items() for link in mapping.link_names}
    sources = {name: _sources(mapping, listers) for name, mapping in mappings.items()}
    while more := {name for name, others in sources.items() if name not in found and others & found}:
        found |= more
    return found


def _sources(mapping: Collection, listers: Mapping[str, str]) -> set[str]:
    """Return the collections that documents of a collection look up, or that list them. `listers`: by link."""
    listing = {name for link, name in listers.items() if link == mapping.listed_by}
    return set(mapping.needs) | listing
