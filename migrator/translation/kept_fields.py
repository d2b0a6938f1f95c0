"""Fields that functions of few distinct values restore: their BSON is computed once for each combination of values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from migrator.mapping.codecs import UNREADABLE
from migrator.mapping.context import ABSENT
from migrator.mapping.rules import Compute, Implied
from migrator.postgres import copy_format
from migrator.translation.field_parts import KeptFields, encode_field


class KeptCall(NamedTuple):
    """A function of columns that returns the value of the field `path`, or one of `none` for no field."""

    path: str
    function: Callable[..., Any]
    columns: tuple[str, ...]
    none: tuple[Any, ...]


def call_of(rule: Any) -> KeptCall | None:
    """Return the function by which a rule restores its field from columns; None for a rule that has none."""
    match rule:
        case Implied(path=path, value=function, inputs=columns) if columns:
            return KeptCall(path, function, columns, (ABSENT, UNREADABLE))
        case Compute(restores=str(path), reverse=function, reverse_inputs=columns) if function is not None and columns:
            return KeptCall(path, function, columns, (ABSENT,))
    return None


def group_calls(calls: Sequence[KeptCall]) -> list[list[KeptCall]]:
    """Return the functions in groups: each with functions of the same columns, or of some of them, in their order."""
    groups: list[list[KeptCall]] = []
    for call in sorted(calls, key=lambda each: -len(each.columns)):
        group = next((each for each in groups if set(call.columns) <= set(each[0].columns)), None)
        if group is None:
            groups.append([call])
        else:
            group.append(call)
    return [sorted(group, key=calls.index) for group in groups]


def keep_fields(group: Sequence[KeptCall], readers: Mapping[str, Any]) -> KeptFields:
    """Return the fields of a group, in its order. `readers`: as for `restoring.compile_restore`."""
    places, columns = [*readers], max((call.columns for call in group), key=len)
    read = {name: (places.index(name), copy_format.reader(readers[name])) for name in columns}

    def compute(fields: list[bytes | None]) -> tuple[bytes | None, ...]:
        values = {
            name: None if (field := fields[place]) is None else reader(field) for name, (place, reader) in read.items()
        }
        return tuple(_element(call, values) for call in group)

    return KeptFields(tuple(place for place, _ in read.values()), compute)


def _element(call: KeptCall, values: Mapping[str, Any]) -> bytes | None:
    value = call.function(*(values[name] for name in call.columns))
    return b"" if any(value is each for each in call.none) else encode_field(call.path, value)
