"""Generates a function for each field whose elements become rows: it makes their tuples without calling the rules.

The function does inline what elements usually have. An element with any other value is left to the rule itself
(`_SLOW`), so that the result is that of the interpreter. Rules with parts that have no template here are not compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from bson import Int64, ObjectId

from migrator.documents.codec import Document, same
from migrator.mapping.children import Children
from migrator.mapping.codecs import UNREADABLE
from migrator.mapping.context import ABSENT, Context
from migrator.mapping.references import Reference, reference_ids
from migrator.mapping.rules import Field
from migrator.translation.encoder import ChildEncoder, child_tuples
from migrator.translation.templates import condition_of
from migrator.translation.tuple_layout import Layout, packer_of, part_of

# What a function returns: the rows restore the field, or more than it, or something else; else the remainder.
EXACT: Final = None
UNSET, CHANGED = object(), object()
Tuples = list[tuple[str, bytes]]  # table, and encoded row
Elements = Callable[[Any, Any, Context, Tuples], Any]

_BODY = 2  # indentation of the code for one element
_SLOW = "remainder = slow(remainder, place, name, element, parent, context, tuples); continue"
_LOOKED_UP = frozenset({str, ObjectId, int, Int64})


def compile_elements(rule: Children) -> Elements | None:
    """Return the function for a field; None if the rules of its elements cannot be compiled.

    It is called with the value of the field, the key of the document's row, the context, and a list that gets the
    tuples.
    """
    if not all(map(_is_compilable, rule.rules)):
        return None
    writer = _Writer(rule)
    text = writer.write()
    namespace = dict(writer.bound)
    exec(compile(text, f"<compiled {rule.path}>", "exec"), namespace)
    function: Elements = namespace["translate"]
    return function


def _is_compilable(rule: Any) -> bool:
    match rule:
        case Field():
            is_plain = rule.default is None and rule.default_factory is None and not rule.restore_null
            return is_plain and len(rule.paths) == 1 and rule.restore_path is None and "." not in rule.paths[0]
        case Reference():
            return rule.resolve is None and rule.write is not None
        case Children():
            return rule.shape == "array" and all(map(_is_compilable, rule.rules))
    return False


@dataclass
class _Writer:
    rule: Children
    lines: list[str] = field(default_factory=list)
    bound: dict[str, Any] = field(default_factory=dict)

    def add(self, depth: int, *lines: str) -> None:
        self.lines += ["    " * depth + line for line in lines]

    def write(self) -> str:
        rule = self.rule
        self.bound.update(
            ABSENT=ABSENT, UNREADABLE=UNREADABLE, Int64=Int64, same=same, LOOKED_UP=_LOOKED_UP, EXACT=EXACT,
            UNSET=UNSET, CHANGED=CHANGED, slow=_SlowElements(rule).add, shape_of=_Shapes(rule).__getitem__,
        )  # fmt: skip
        self.add(0, "def translate(value, parent, context, tuples):", "    remainder = None; first = len(tuples)")
        self._write_loop()
        self._write_element()
        # A field without rows is kept whole.
        self.add(1, "if len(tuples) == first:", "    return CHANGED")
        self.add(1, "return remainder")
        return "\n".join(self.lines)

    def _write_loop(self) -> None:
        match self.rule.shape:
            case "array":
                self.add(1, "if value is ABSENT:", "    return UNSET")
                self.add(1, "if value.__class__ is not list:", "    return CHANGED")
                self.add(1, "if not value:", "    return EXACT", "name = ''")
                self.add(1, "for place, element in enumerate(value):")
            case "document":
                self.add(1, "if value is ABSENT:", "    return EXACT")
                self.add(1, "if value.__class__ is not dict:", "    return CHANGED", "name = ''")
                self.add(1, "for place, element in ((0, value),):")
            case "map":
                self.add(1, "if value is ABSENT:", "    return EXACT")
                self.add(1, "if value.__class__ is not dict:", "    return CHANGED")
                self.add(1, "for place, (name, element) in enumerate(value.items()):")

    def _write_element(self) -> None:
        rule = self.rule
        if rule.values:
            self.add(_BODY, "if element is None:", f"    {_SLOW}")
        else:
            self.add(_BODY, "if element.__class__ is not dict:", f"    {_SLOW}", "get = element.get")
        if rule.key is not None:
            self.bound["row_id_of"] = ChildEncoder(rule).id_at
            self.add(_BODY, "row_id = row_id_of(parent, place)")
        for number, each in enumerate(rule.rules):
            match each:
                case Field():
                    self._write_field(number, each)
                case Reference():
                    self._write_reference(number, each)
                case Children():
                    self._write_nested(number, each)
        self._write_row()
        self._write_remainder()

    def _write_value(self, path: str) -> None:
        self.add(_BODY, "field = element" if self.rule.values else f"field = get({path!r}, ABSENT)")

    def _write_field(self, number: int, rule: Field) -> None:
        column = f"column_{number}"
        self._write_value(rule.paths[0])
        usual = condition_of(rule.codec)
        if usual is not None:
            condition, unusual = (each.format(value="field") for each in usual)
            checks = f"({condition}) and not ({unusual})" if unusual else condition
            self.add(_BODY, f"if {checks}:", f"    {column} = field")
            self.add(_BODY, "elif field is ABSENT:")
        else:
            self.add(_BODY, "if field is ABSENT:")
        self.add(_BODY + 1, _SLOW if rule.required else f"{column} = None")
        self.add(_BODY, "elif field is None:", f"    {_SLOW}", "else:")
        self.bound |= {f"read_{number}": rule.codec.read, f"write_{number}": rule.codec.write}
        self.add(_BODY + 1, f"{column} = read_{number}(field, context.note, {rule.paths[0]!r})")
        self.add(_BODY + 1, f"if {column} is UNREADABLE or not same(write_{number}({column}), field):", f"    {_SLOW}")

    def _write_reference(self, number: int, rule: Reference) -> None:
        column = f"column_{number}"
        self._write_value(rule.path)
        self.bound[f"look_up_{number}"] = _References(rule).look_up
        self.add(_BODY, "if field.__class__ not in LOOKED_UP:", f"    {_SLOW}")
        self.add(_BODY, f"{column} = look_up_{number}(field, context)")
        self.add(_BODY, f"if {column} is None:", f"    {_SLOW}")

    def _write_nested(self, number: int, rule: Children) -> None:
        function = compile_elements(rule)
        assert function is not None  # its rules are compilable
        self.bound[f"translate_{number}"] = function
        self._write_value(rule.path)
        self.add(_BODY, "if field.__class__ is not list:", f"    {_SLOW}", f"nested_{number} = []")
        self.add(_BODY, f"cut_{number} = translate_{number}(field, row_id, context, nested_{number})")
        self.add(_BODY, f"if cut_{number} is CHANGED:", f"    {_SLOW}")

    def _write_row(self) -> None:
        rule, encoder = self.rule, ChildEncoder(self.rule)
        values = {rule.parent: "parent", rule.key: "row_id", rule.position: "place", rule.name: "name"}
        values |= {each.columns[0]: f"column_{number}" for number, each in enumerate(rule.rules)}
        layout = Layout()
        layout.add_literal(len(encoder.kinds).to_bytes(2, "big"))
        for column in encoder.kinds:
            layout.add(*part_of(column, values[column[0]], self._bind))
        self.bound["pack"] = packer_of(layout.parts)
        if rule.name is not None:
            self.add(_BODY, "if '\\0' in name:", f"    {_SLOW}")
        self.add(_BODY, f"tuples.append(({rule.table.name!r}, pack({', '.join(layout.values)})))")
        for number, each in enumerate(rule.rules):
            if isinstance(each, Children):
                self.add(_BODY, f"tuples += nested_{number}")

    def _bind(self, name: str, value: Any) -> str:
        self.bound[name] = value
        return name

    def _write_remainder(self) -> None:
        if self.rule.values:
            return
        nested = {number: each for number, each in enumerate(self.rule.rules) if isinstance(each, Children)}
        self.add(_BODY, "extra, order = shape_of(tuple(element))")
        conditions = ["extra", "order", *(f"cut_{number} is not None" for number in nested)]
        self.add(_BODY, f"if {' or '.join(conditions)}:", "    parts = {}")
        if nested:
            cuts = ", ".join(f"{each.path!r}: cut_{number}" for number, each in nested.items())
            self.add(_BODY + 1, f"cut = {{path: found for path, found in {{{cuts}}}.items() if found is not None}}")
            self.add(_BODY + 1, "if cut:", "    parts['cut'] = cut")
        self.add(_BODY + 1, "if order:", "    parts['order'] = order")
        self.add(
            _BODY + 1, "if extra:", "    parts['set'] = [part for each in extra for part in (each, element[each])]"
        )
        self.add(_BODY + 1, "if remainder is None:", "    remainder = {}", "remainder[str(place)] = parts")


class _Shapes(dict[tuple[str, ...], tuple[list[str], list[str]]]):
    """The names of fields that elements have → those without a rule, and the names in their order if it is another."""

    def __init__(self, rule: Children) -> None:
        super().__init__()
        self._mapped = [each.restored_fields[0] for each in rule.rules]

    def __missing__(self, names: tuple[str, ...]) -> tuple[list[str], list[str]]:
        extra = [name for name in names if name not in self._mapped]
        restored = [name for name in self._mapped if name in names]
        self[names] = found = extra, [] if (*restored, *extra) == names else list(names)
        return found


class _References:
    """Looks up the rows of one reference. Values that restore the field exactly are kept for the batch."""

    def __init__(self, rule: Reference) -> None:
        self._rule, self._lookup, self._ids = rule, rule.lookup, reference_ids(rule.key)
        self._context: Context | None = None
        self._found: dict[Any, Any] = {}

    def look_up(self, value: Any, context: Context) -> Any:
        """Return the ID of the only row that a value leads to; None if there is none, or it restores another value."""
        if context is not self._context:
            self._context, self._found = context, {}
        kind = value.__class__
        name = kind, value.binary if kind is ObjectId else value
        if name not in self._found:
            self._found[name] = self._find(value, context)
        return self._found[name]

    def _find(self, value: Any, context: Context) -> Any:
        candidates = context.find(self._lookup, self._ids.of(value))
        assert self._rule.write is not None  # compilable
        if len(candidates) != 1 or not same(self._rule.write(candidates[0].id), value):
            return None
        return candidates[0].id


class _SlowElements:
    """Adds elements by the rule itself."""

    def __init__(self, rule: Children) -> None:
        self._rule = rule
        self._encoders = {each.table.name: ChildEncoder(each) for each in rule.with_nested()}

    def add(
        self,
        remainder: Document | None,
        place: int,
        name: str,
        element: Any,
        parent: Any,
        context: Context,
        tuples: Tuples,
    ) -> Document | None:
        """Add the tuples of one element, and return the remainder with its part."""
        row = self._rule.row_of(place, name, element, context)
        if row is not None:
            tuples += child_tuples(self._encoders, self._rule, [row], parent)
        parts = self._rule.part_of(name, element, row)
        if parts is None:
            return remainder
        return {**(remainder or {}), str(place): parts}
