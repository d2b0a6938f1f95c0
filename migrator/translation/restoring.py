"""Compiles the reverse of a mapping: one function that restores the fields of a document from the columns of a row.

Columns are read as binary COPY sends them. `interpreter.restore_fields` defines the result; a test compares both.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, assert_never

from bson.datetime_ms import DatetimeMS

from migrator.documents.codec import Document, decode, encode
from migrator.documents.native import restore_parts
from migrator.documents.residue import RawChanges
from migrator.ids import uuid_text
from migrator.mapping import codecs
from migrator.mapping.children import Children
from migrator.mapping.codecs import UNREADABLE, Codec
from migrator.mapping.collection import Collection, Rule
from migrator.mapping.composite_keys import AnyKey, CompositeKey
from migrator.mapping.context import ABSENT, Row
from migrator.mapping.json_objects import JsonObject
from migrator.mapping.references import MemberList, Reference, UncheckedReference
from migrator.mapping.rules import Compute, CustomRule, Field, Filter, Implied, Variants, set_path
from migrator.postgres import copy_format
from migrator.translation import native
from migrator.translation.field_parts import MOST_INPUTS, FieldForm, FieldPart, FieldParts
from migrator.translation.kept_fields import call_of, group_calls, keep_fields

if TYPE_CHECKING:
    from migrator.translation.native._field_writer import FieldWriter

Fields = list[bytes | None]
# The fields of a row, and the changes in its residue → the document, and those of its fields that come last.
Restore = Callable[[Fields, RawChanges | None], tuple[Document, list[str]]]
Reader = Callable[[bytes | None], Any] | str  # a function, or the kind of a column

# Codecs whose `write` returns the plain value.
_UNCHANGED: Final = (codecs.Text, codecs.Boolean, codecs.Json, codecs.JsonNumber, codecs.Bytes)
# Kinds of columns whose values are equal only if they are the same.
_EXACT: Final = frozenset({"text", "boolean", "uuid", "smallint", "integer", "bigint"})
_INTEGERS: Final = {"smallint": ">h", "integer": ">i", "bigint": ">q"}
MOST_KEPT = 1000  # results of a function


@dataclass(frozen=True, slots=True)
class Restorer:
    """Restores the fields of the documents of a collection.

    `compute(fields, changes)` returns those of rules that are called, as a new document, which the caller may change.
    Without `makes_changes`, the caller has to make the changes (`interpreter.add_changes`). `encode` returns all fields
    as BSON.
    """

    compute: Restore
    writer: FieldWriter | None
    makes_changes: bool

    def encode(self, fields: Fields, computed: Document, moved: list[str]) -> bytes:
        """Return the document that has the `computed` fields, and those of the columns that need no rule.

        `moved`: computed fields that come last, because the residue has changed them.

        Raises: `ValueError` if a column does not have the form of its kind, and the errors of the encoder.
        """
        if self.writer is None:
            return encode(computed)
        return self.writer(fields, computed, moved)


def compile_restore(
    collection: Collection,
    readers: Mapping[str, Reader],
    read_row: Callable[[Fields], Row],
) -> Restorer:
    """Return what restores the fields of documents from the columns of their rows.

    `readers`: each key of a row, in the order of the fields, with the kind of its column or the function that reads it.
    `read_row` returns the row of `fields`, for rules that are called with it.
    """
    parts = FieldParts(collection, readers)
    has_parts = native.FieldWriter is not None and parts.are_possible
    writer = _Writer(readers, read_row, parts if has_parts else None, collection)
    writer.write_key(collection.key)
    for rule in collection.rules:
        writer.write_rule(rule)
    text = "\n    ".join(["def restore(fields, changes):", *BEGIN, *writer.lines, *END])
    namespace = dict(writer.bound)
    exec(compile(text, f"<restore {collection.name}>", "exec"), namespace)
    if not has_parts:
        return Restorer(namespace["restore"], None, False)
    kept = [keep_fields(group, readers) for group in writer.kept]
    field_writer = native.FieldWriter(writer.parts, kept, shift=copy_format.EPOCH_SHIFT, encode=encode)
    makes_changes = all(isinstance(rule, Variants) for rule in collection.variant_rules)
    return Restorer(namespace["restore"], field_writer, makes_changes)


# A residue has a variant and a remainder of different fields. Each field that is added or replaced comes last.
BEGIN: Final = (
    "document, moved, added = {}, [], []",
    "if changes is not None:",
    "    variants, remainders, counts = changes",
    "    if variants and not variants.keys().isdisjoint(remainders):",
    "        raise ValueError('a field has a variant and a remainder')",
)
END: Final = (
    "if changes is not None:",
    "    moved += added",
    "    for name, count in counts.items():",
    "        document[name] = document[name][:count]",
    "return document, moved",
)


class _Writer:
    """Writes the lines of the function. `parts` collects all parts of a document, if it is written in parts.

    `kept`: the functions whose results are kept, in groups.
    """

    def __init__(
        self,
        readers: Mapping[str, Reader],
        read_row: Callable[[Fields], Row],
        found: FieldParts | None,
        collection: Collection,
    ) -> None:
        self.lines: list[str] = []
        self.parts: list[FieldPart] = []
        self._found, self._low_cardinality = found, collection.low_cardinality
        self.bound: dict[str, Any] = {
            "ABSENT": ABSENT, "UNREADABLE": UNREADABLE, "DatetimeMS": DatetimeMS, "uuid_text": uuid_text,
            "set_path": set_path, "read_row": read_row, "decode": decode, "restore_parts": restore_parts,
            **{f"unpack_{kind}": struct.Struct(form).unpack for kind, form in _INTEGERS.items()},
        }  # fmt: skip
        self._readers, self._places = readers, {name: place for place, name in enumerate(readers)}
        self._columns: dict[str, str] = {}
        self._has_row = False
        calls = [] if found is None else [call for rule in collection.rules if (call := call_of(rule)) is not None]
        self.kept = group_calls([each for each in calls if self._is_kept(each.columns, each.path)])

    def write_key(self, key: AnyKey) -> None:
        if isinstance(key, CompositeKey):
            for part in key.parts:
                self.write_key(part)
            return
        if key.path == "_id" or self._add_parts(key):
            return
        column = self._column(key.column)
        if key.codec is not None:
            self._set_readable(key.path, f"{self._bind('write', key.codec.write)}({column})")
        else:
            self._set(key.path, column if key.text else f"uuid_text({column})")

    def _add_parts(self, rule: Rule | AnyKey) -> bool:
        """Add the parts of a rule. Return whether no line is needed for it."""
        if self._found is None:
            return False
        part = self._found.find(rule) or self._keep(rule)
        self.parts += self._found.computed(rule) if part is None else [part]
        return part is not None

    def _keep(self, rule: Rule | AnyKey) -> FieldPart | None:
        """Return the part of a rule whose function has few distinct results; None for any other rule."""
        call = call_of(rule)
        place = next((number for number, group in enumerate(self.kept) if call in group), None)
        return None if call is None or place is None else FieldPart(FieldForm.KEPT, call.path, place)

    def _is_kept(self, columns: Sequence[str], path: str) -> bool:
        """Return whether the results of a function of columns are kept, because there are few."""
        is_carried = all("." in name for name in columns)  # from a row that many rows refer to
        if len(columns) > MOST_INPUTS:
            return False
        return (is_carried or path in self._low_cardinality) and all(self._readers[name] in _EXACT for name in columns)

    def write_rule(self, rule: Rule) -> None:
        if self._add_parts(rule):
            return
        match rule:
            case Field():
                self._write_field(rule)
            case Implied(inputs=()):
                if rule.value is not ABSENT and rule.value is not UNREADABLE:
                    self._set(rule.path, self._bind("value", rule.value))
            case Implied():
                self._set_readable(rule.path, self._call(rule.value, rule.inputs, rule.path))
            case Variants():
                self.lines.append(f"value = {self._call(rule.variants[0], rule.inputs)}")
                if self._found is None:  # other rules may restore this field
                    self.lines.append(f"document.pop({rule.path!r}, None)")
                else:
                    self._write_changes(rule)
                self.lines.append("if value is not ABSENT:")
                self.lines.append(f"    document[{rule.path!r}] = value")
            case Compute(restores=None) | Compute(reverse=None) | Filter():
                pass
            case Compute(restores=path, reverse=reverse):
                assert path is not None  # the case above
                self.lines += [f"value = {self._call(reverse, rule.reverse_inputs, path)}", "if value is not ABSENT:"]
                self.lines.append(f"    document[{path!r}] = value")
            case JsonObject():
                self._write_call(rule, (rule.column, *rule.restore_by))
            case Reference():
                if rule.write is not None:
                    self._set_readable(rule.path, self._call(rule.write, (rule.column,)))
            case UncheckedReference():
                column, null = self._column(rule.column), self._bind("null", rule.null_values[0])
                self._set(rule.path, f"{null} if {column} is None else uuid_text({column})")
            case MemberList():
                self._write_call(rule, (rule.row_key,))
            case Children() | CustomRule():
                if not self._has_row:
                    self.lines.append("row = read_row(fields)")
                    self._has_row = True
                self.lines.append(f"{self._bind('rule', rule)}.to_document(row, document)")
            case _:
                assert_never(rule)

    def _write_changes(self, rule: Variants) -> None:
        """Replace the value of a field of which the residue has the variant or a remainder."""
        path, columns = repr(rule.path), "".join(f"{self._column(name)}, " for name in rule.inputs)
        self.lines += [
            "if changes is not None:",
            f"    if {path} in variants:",
            f"        value = {self._bind('variants', rule.variants)}[variants[{path}]]({columns})",
            "        if value is not ABSENT:",
            f"            moved.append({path})",
            f"    elif {path} in remainders:",
            "        if value is ABSENT:",
            f"            added.append({path})",
            "        value = None",
            *(f"        {line}" for line in self._restore_parts(rule)),
            "        if value is None:",
            f"            value = {self._bind('restore', rule.restore)}(decode(remainders[{path}]), {columns})",
        ]

    def _restore_parts(self, rule: Variants) -> list[str]:
        """Return the line that restores a list of parts as BSON; value None: another list."""
        if rule.parts is None or self._readers[rule.inputs[0]] != "text":
            return []
        field, gap = rule.parts.text_field.encode(), len(rule.parts.separator)
        text = f"fields[{self._places[rule.inputs[0]]}]"
        return [f"value = restore_parts(remainders[{rule.path!r}], {text}, {field!r}, {gap})"]

    def _write_field(self, rule: Field) -> None:
        column, path = self._column(rule.column), rule.restored_path
        self.lines.append(f"if {column} is not None:")
        value, is_readable = self._written(rule.codec, column)
        depth = 1
        if not is_readable:
            self.lines += [f"    value = {value}", "    if value is not UNREADABLE:"]
            value, depth = "value", 2
        self.lines.append("    " * depth + self._assignment(path, value))
        if rule.restore_null:
            self.lines += ["else:", f"    {self._assignment(path, 'None')}"]

    def _written(self, codec: Codec, column: str) -> tuple[str, bool]:
        """Return the expression of the value that a codec writes, and whether it is certainly readable."""
        if type(codec) in _UNCHANGED:
            return column, True
        if type(codec) is codecs.DateTime:
            return f"DatetimeMS({column} // 1000)", True
        return f"{self._bind('write', codec.write)}({column})", False

    def _assignment(self, path: str, value: str) -> str:
        return f"set_path(document, {path!r}, {value})" if "." in path else f"document[{path!r}] = {value}"

    def _set(self, path: str, value: str) -> None:
        self.lines.append(f"document[{path!r}] = {value}")

    def _set_readable(self, path: str, value: str) -> None:
        self.lines += [f"value = {value}", "if value is not ABSENT and value is not UNREADABLE:"]
        self.lines.append(f"    document[{path!r}] = value")

    def _call(self, function: Any, columns: Sequence[str], path: str = "") -> str:
        """Return the call of a function of columns. Results for a field with few distinct values are kept."""
        if self._is_kept(columns, path):
            function = lru_cache(MOST_KEPT)(function)
        return f"{self._bind('function', function)}({', '.join(map(self._column, columns))})"

    def _write_call(self, rule: JsonObject | MemberList, columns: Sequence[str]) -> None:
        """Call a rule with those columns of the row that it uses."""
        row = ", ".join(f"{name!r}: {self._column(name)}" for name in columns)
        self.lines.append(f"{self._bind('rule', rule)}.to_document({{{row}}}, document)")

    def _column(self, name: str) -> str:
        """Return the local name of a column; the first use adds the line that reads it."""
        if name not in self._columns:
            self._columns[name] = local = f"column{len(self._columns)}_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}"
            self.lines.append(f"{local} = fields[{self._places[name]}]")
            reader = self._readers[name]
            if not isinstance(reader, str):
                self.lines.append(f"{local} = {self._bind('read', reader)}({local})")
            elif reader not in ("uuid", "bytea"):  # as they are
                self.lines.append(f"if {local} is not None: {local} = {self._read(reader, local)}")
        return self._columns[name]

    def _read(self, kind: str, local: str) -> str:
        if kind == "text":
            return f"{local}.decode()"
        if kind == "boolean":
            return f"{local} == b'\\x01'"
        if kind in ("timestamp", "timestamptz"):
            return f"unpack_bigint({local})[0] + {copy_format.EPOCH_SHIFT}"
        if kind in _INTEGERS:
            return f"unpack_{kind}({local})[0]"
        return f"{self._bind('read', copy_format.reader(kind))}({local})"

    def _bind(self, name: str, value: Any) -> str:
        """Return a global name for a value."""
        wanted = f"{name}_{len(self.bound)}"
        self.bound[wanted] = value
        return wanted
