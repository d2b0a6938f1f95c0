"""The indexes and the validator of a collection, as mongodump's metadata and live sources describe them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from migrator.sources.base import SourceCollection


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """One index. `fields`: paths with 1, -1, or the kind of a special index such as "text".

    `partial`: it covers only documents that satisfy a condition. `seconds`: of a TTL index.
    """

    name: str
    fields: tuple[tuple[str, int | str], ...]
    unique: bool = False
    sparse: bool = False
    partial: bool = False
    seconds: int | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(path for path, _ in self.fields)

    @property
    def is_ordered(self) -> bool:
        """Whether it is a B-tree: not a text, geo or hashed index."""
        return all(direction in (1, -1) for _, direction in self.fields)


@dataclass(frozen=True, slots=True)
class Validator:
    """What `$jsonSchema` says about fields of documents: which are required, and the number of enum values."""

    required: frozenset[str] = frozenset()
    enums: Mapping[str, int] = field(default_factory=dict)


def read_validator(collection: SourceCollection) -> Validator:
    """Return the validator of a collection; an empty one if it has none, or one in another form."""
    schema: Any = _read_metadata(collection)
    for name in ("options", "validator", "$jsonSchema"):
        schema = schema.get(name) if isinstance(schema, Mapping) else None
    if not isinstance(schema, Mapping):
        return Validator()
    required, properties = schema.get("required"), schema.get("properties")
    enums = properties if isinstance(properties, Mapping) else {}
    return Validator(
        frozenset(each for each in required if isinstance(each, str)) if isinstance(required, list) else frozenset(),
        {
            name: len(rule["enum"])
            for name, rule in enums.items()
            if isinstance(rule, Mapping) and isinstance(rule.get("enum"), list)
        },
    )


def _read_metadata(collection: SourceCollection) -> Any:
    return {} if collection.metadata is None else json.loads(collection.metadata)


def read_indexes(collection: SourceCollection) -> tuple[Index, ...]:
    """Return the indexes of a collection except that of `_id`. Descriptions in an unknown form are left out."""
    described = _read_metadata(collection)
    found = described.get("indexes") if isinstance(described, Mapping) else None
    entries = found if isinstance(found, list) else []
    return tuple(index for entry in entries if (index := _read_index(entry)) is not None and index.paths != ("_id",))


def _read_index(entry: Any) -> Index | None:
    key = entry.get("key") if isinstance(entry, Mapping) else None
    if not isinstance(key, Mapping) or not key:
        return None
    seconds = _read_number(entry.get("expireAfterSeconds"))
    return Index(
        name=str(entry.get("name", "")),
        fields=tuple((str(path), _read_direction(value)) for path, value in key.items()),
        unique=bool(entry.get("unique", False)),
        sparse=bool(entry.get("sparse", False)),
        partial="partialFilterExpression" in entry,
        seconds=None if seconds is None else int(seconds),
    )


def _read_direction(value: Any) -> int | str:
    number = _read_number(value)
    return str(value) if number is None else 1 if number > 0 else -1


def _read_number(value: Any) -> float | None:
    """Return a number in plain JSON, or in extended JSON, such as {"$numberInt": "1"}; None for anything else."""
    if isinstance(value, Mapping) and len(value) == 1:
        (value,) = value.values()
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
