"""Whether changes of rows can be returned to the documents of the source, as a cutover needs it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrator.mapping.collection import Collection
from migrator.mapping.composite_keys import CompositeKey
from migrator.mapping.shared_tables import find_shared_tables
from migrator.postgres.table_names import name_of

_BY_HAND = "Stop the application, run `migrate follow --until-caught-up` and `migrate verify`, then switch by hand"

Obstacle = tuple[str, str]  # what cannot be returned, and what to do


def find_obstacles(mappings: Iterable[Collection]) -> Iterator[Obstacle]:
    """Yield why changes of rows cannot be returned; nothing if they can."""
    found = list(mappings)
    yield from _of_shared_tables(found)
    yield from _of_divided_collections(found)
    yield from _of_composite_keys(found)
    yield from _of_elements(found)


def _of_shared_tables(mappings: list[Collection]) -> Iterator[Obstacle]:
    """It is not certain to which mapping a new row belongs."""
    if shared := sorted(find_shared_tables(mappings)):
        yield (
            "changes of rows of tables that several collections fill cannot be returned to MongoDB yet:"
            f" {', '.join(shared)}",
            f"{_BY_HAND}.",
        )


def _of_divided_collections(mappings: list[Collection]) -> Iterator[Obstacle]:
    """It is not certain to which mapping the document of a new row belongs."""
    lost = [each for each in mappings if each.where is not None and each.where.field not in each.restored_fields]
    if lost:
        fields = sorted(f"{each.name} ({each.where.path})" for each in lost if each.where is not None)
        yield (
            f"documents of new rows would not have the field that assigns them to their mapping: {', '.join(fields)}",
            f"Add a rule that restores the field, such as imply_field. {_BY_HAND}.",
        )


def _of_composite_keys(mappings: list[Collection]) -> Iterator[Obstacle]:
    """An application can change each column of a key."""
    if found := {name_of(each.table) for each in mappings if isinstance(each.key, CompositeKey)}:
        yield (
            "changes of rows whose key has several columns cannot be returned to MongoDB yet:"
            f" {', '.join(sorted(found))}",
            f"{_BY_HAND}.",
        )


def _of_elements(mappings: list[Collection]) -> Iterator[Obstacle]:
    """Rows of elements cannot be distinguished without a key."""
    rules = [rule for each in mappings for rule in each.child_rules]
    if found := sorted(name_of(rule.table) for rule in rules if not rule.table.primary_key.columns):
        yield (
            f"changes of rows of elements cannot be returned to MongoDB without a primary key: {', '.join(found)}",
            f"{_BY_HAND}; or give these tables a primary key.",
        )
