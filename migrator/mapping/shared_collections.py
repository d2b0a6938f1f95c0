"""Which mapping takes a document, if several mappings share a collection of the source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bson.errors import InvalidBSON

from migrator.documents.codec import decode_untrusted
from migrator.errors import UsageError
from migrator.mapping.collection import Collection
from migrator.mapping.conditions import Where, is_equal
from migrator.mapping.context import ABSENT, Context, Rejected, type_name, value_at
from migrator.mapping.rules import Filter


@dataclass(frozen=True, slots=True)
class SharedCollection:
    """A collection of the source, and what each mapping takes from it: (name of the mapping, `Where`), in their order.

    A mapping without a `Where` takes the documents that no other takes. If there is none, the first mapping gets these
    documents and rejects them.
    """

    name: str
    shares: tuple[tuple[str, Where | None], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the mappings."""
        return tuple(name for name, _ in self.shares)

    @property
    def rest(self) -> str:
        """The mapping that gets the documents that no other mapping takes."""
        return next((name for name, where in self.shares if where is None), self.shares[0][0])

    def choose(self, raw: bytes) -> str:
        """Return the name of the mapping that gets a document. One that cannot be decoded belongs to the rest."""
        try:
            document = decode_untrusted(raw)  # walking to the field in Python takes five times as long
        except InvalidBSON:
            return self.rest
        return next((name for name, where in self.shares if where is not None and where.takes(document)), self.rest)


def find_shared(mappings: Iterable[Collection]) -> dict[str, SharedCollection]:
    """Return the collections of the source whose documents are divided or have another name in the mappings."""
    found: dict[str, list[Collection]] = defaultdict(list)
    for mapping in mappings:
        found[mapping.source_name].append(mapping)
    return {
        name: SharedCollection(name, tuple((each.name, each.where) for each in some))
        for name, some in found.items()
        if len(some) > 1 or some[0].where is not None or some[0].name != name
    }


def reject_rest(collections: Iterable[Collection]) -> Iterator[Collection]:
    """Yield the mappings. One that gets the documents that no mapping takes rejects them."""
    collections = list(collections)
    rests = {each.rest for each in find_shared(collections).values()}
    for each in collections:
        if each.where is None or each.name not in rests:
            yield each
        else:
            yield replace(each, rules=(_reject_others(each.where), *each.rules))


def _reject_others(where: Where) -> Filter:

    def check(context: Context, value: Any) -> None:
        found = value_at({} if value is ABSENT else {where.field: value}, where.path)
        if not where.takes_value(found):
            raise Rejected("no_table", f"{where.path} ({type_name(found)})")

    return Filter(check, (where.field,))


def check_shared_collections(mappings: Mapping[str, Collection]) -> None:
    """Raises: `UsageError` if it is not certain which mapping takes a document of a shared collection."""
    for shared in find_shared(mappings.values()).values():
        mapped = [mappings[name] for name in shared.names]
        if any(each.section is not None for each in mapped):
            raise UsageError(
                f"collection {shared.name}: documents of a section of migrate.toml cannot be divided",
                hint="Remove `where` and `source` from its mapping, and keep one mapping.",
            )
        if shared.name in mappings:
            raise UsageError(
                f"collection {shared.name}: its documents are divided, and a mapping has its name",
                hint=f'Give each of its mappings a name of its own, and set source="{shared.name}".',
            )
        if len([each for each in mapped if each.where is None]) > 1:
            raise UsageError(
                f"collection {shared.name}: {', '.join(each.name for each in mapped if each.where is None)}"
                " take its documents without a condition",
                hint="Set `where` of all mappings of the collection but one.",
            )
        taken: list[tuple[str, Any, str]] = []
        for path, value, name in (
            (each.where.path, value, each.name)
            for each in mapped
            if each.where is not None
            for value in each.where.values
        ):
            other = next((it for there, known, it in taken if there == path and is_equal(known, value)), None)
            if other is not None:
                raise UsageError(
                    f"collection {shared.name}: {other} and {name} take the same documents",
                    hint=f"Use different values of {path} in their `where`.",
                )
            taken.append((path, value, name))
