"""Fields whose elements become rows, cut from BSON without decoding them: `native.ElementCutter`, set up for a rule.

It converts what elements usually have. An element with a value that its row would not restore is left to the rule
itself (`_Field.add_by_rule`), so that the result is that of the interpreter. Rules with parts that have no native
version are not compiled.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any, Final

from migrator.documents.codec import Document, decode_value, encode
from migrator.mapping import codecs, dates
from migrator.mapping.children import VALUE, Children
from migrator.mapping.codecs import Codec
from migrator.mapping.context import ABSENT, Context
from migrator.mapping.references import Reference
from migrator.mapping.rules import Field
from migrator.postgres import copy_format
from migrator.postgres.column_kinds import kind_of_column
from migrator.postgres.table_names import name_of
from migrator.translation import native
from migrator.translation.encoder import ChildEncoder, child_tuples
from migrator.translation.interpreter import References
from migrator.translation.known_values import UNFIT, KnownReferences, KnownValues
from migrator.translation.projection import Projections

# What `cut` returns: the rows restore the field, or more than it, or something else; else the BSON of the remainder.
EXACT: Final = None
UNSET, CHANGED = object(), object()
Tuples = list[tuple[str, bytes]]  # table, and encoded rows

_MOST_TEXT = 2**31 - 1


class RuleType(IntEnum):
    """How the value of a field becomes that of a column. LOOKED_UP: by `KnownValues`. NUMBER: whole ones are int32."""

    LOOKED_UP = 0
    REFERENCE = 1
    NESTED = 2
    TEXT = 3
    INTEGER = 4
    SMALLINT = 5
    BIGINT = 6
    LONG = 7
    ANY_DOUBLE = 8
    NUMBER = 9
    TRUTH = 10
    MOMENT = 11
    HEX = 12


_PARENT, _KEY, _POSITION, _NAME, _RULED = range(5)  # the cells of a row that the cutter fills
_RULE_TYPES: dict[tuple[Codec, str], RuleType] = {
    (codecs.INTEGER, "integer"): RuleType.INTEGER,
    (codecs.SMALLINT, "smallint"): RuleType.SMALLINT,
    (codecs.BIGINT, "bigint"): RuleType.BIGINT,
    (codecs.LONG, "bigint"): RuleType.LONG,
    (codecs.DOUBLE, "double precision"): RuleType.ANY_DOUBLE,
    (codecs.Double(whole_as_int=True), "double precision"): RuleType.NUMBER,
    (codecs.BOOLEAN, "boolean"): RuleType.TRUTH,
    (codecs.DATETIME, "timestamp"): RuleType.MOMENT,
    (codecs.DATETIME, "timestamptz"): RuleType.MOMENT,
    (codecs.OBJECTID_HEX, "text"): RuleType.HEX,
}
_POSITION_SIZES = {"smallint": 2, "integer": 4, "bigint": 8}


class Elements:
    """The compiled version of one rule."""

    def __init__(self, rule: Children) -> None:
        self.rule = rule
        self._field = _Field(rule)
        self.cut = self._field.cutter.cut
        self._references = any(isinstance(each, Reference) for one in rule.with_nested() for each in one.rules)

    def lookup_documents(self, projections: Projections, places: list[Any], known_by: object) -> list[Document]:
        """Return documents with the same references as those whose fields are at `places`, each once.

        Without those whose rows are known. `known_by`: see `Compiled.lookup_documents`.
        """
        if not self._references:
            return []
        self._field.prepare(known_by)
        self._field.cutter.gather(projections.data, places)
        return self._field.documents()

    def is_answered(self, references: References) -> bool:
        """Return whether the answers to `lookup_documents` have those to earlier ones, which were not asked again."""
        return self._field.is_answered(references)

    def value(self, projections: Projections, place: int) -> Any:
        """Return the value of the field at a place."""
        return decode_value(place & 255, projections.data[place >> 8 :])


def compile_elements(rule: Children) -> Elements | None:
    """Return the compiled version of a rule; None if it has none."""
    return Elements(rule) if native.ElementCutter is not None and _is_compilable(rule) else None


def _is_compilable(rule: Children) -> bool:
    names = [path for each in rule.rules for path in each.restored_fields]
    if len(set(names)) < len(names) or (rule.values and (names != [VALUE] or rule.nested)):
        return False
    position = None if rule.position is None else kind_of_column(rule.table.c[rule.position])
    parent = kind_of_column(rule.table.c[rule.parent_columns[0]])
    fits = position in {None, *_POSITION_SIZES} and all(_is_bytes(each) for each in rule.nested)
    return fits and parent != "vector" and all(map(_is_rule_compilable, rule.rules))


def _is_bytes(nested: Children) -> bool:
    return kind_of_column(nested.table.c[nested.parent_columns[0]]) in ("uuid", "bytea")


def _is_rule_compilable(rule: Any) -> bool:
    match rule:
        case Field():
            is_plain = rule.default is None and rule.default_factory is None and not rule.restore_null
            return is_plain and len(rule.paths) == 1 and rule.restore_path is None and "." not in rule.paths[0]
        case Reference():
            return rule.resolve is None and rule.write is not None and not rule.carry and "." not in rule.path
        case Children():
            return rule.shape == "array" and _is_compilable(rule)
    return False


class _Field:
    """The cutter of one field, with what it calls."""

    def __init__(self, rule: Children) -> None:
        self._rule = rule
        self._encoders = {name_of(each.table): ChildEncoder(each) for each in rule.with_nested()}
        self._nested = {each.path: _Field(each) for each in rule.nested}
        kinds = self._encoders[name_of(rule.table)].kinds
        cells = {rule.parent_columns[0]: _PARENT, rule.key: _KEY, rule.position: _POSITION, rule.name: _NAME}
        cells |= {each.columns[0]: _RULED + number for number, each in enumerate(rule.rules)}
        self._known = [_known_of(rule, each) for each in rule.rules]
        self.cutter = native.ElementCutter(
            table=name_of(rule.table), shape=rule.shape, path=rule.path, values=rule.values, keyed=rule.key is not None,
            position_size=0 if rule.position is None else _POSITION_SIZES[dict(kinds)[rule.position]],
            columns=[cells[name] for name, _ in kinds],
            rules=[self._rule_of(each, known) for each, known in zip(rule.rules, self._known, strict=True)],
            by_rule=self.add_by_rule, encode_parent=copy_format.writer(dict(kinds)[rule.parent_columns[0]]),
            absent=ABSENT, unfit=UNFIT, unset=UNSET, changed=CHANGED,
            earliest=-(-dates.EARLIEST // 1000), latest=dates.LATEST // 1000, shift=copy_format.EPOCH_SHIFT,
        )  # fmt: skip

    def _rule_of(self, rule: Any, known: Any) -> tuple[int, str, bool, int, Any, Any]:
        match rule:
            case Children():
                return RuleType.NESTED, rule.path, False, 0, None, self._nested[rule.path].cutter
            case Reference():
                return RuleType.REFERENCE, rule.path, True, 0, known, None
        rule_type, most = _type_of(rule.codec, kind_of_column(self._rule.table.c[rule.column]))
        return rule_type, rule.paths[0], rule.required, most, known, None

    def add_by_rule(
        self, place: int, name: str, bson_type: int, raw: bytes, parent: Any, context: Context
    ) -> tuple[Tuples, bytes | None]:
        """Return the tuples of one element, and what they leave of it, by the rule itself."""
        element = decode_value(bson_type, raw)
        row = self._rule.row_of(place, name, element, context)
        tuples = [] if row is None else list(child_tuples(self._encoders, self._rule, [row], parent))
        parts = self._rule.part_of(name, element, row)
        return tuples, None if parts is None else encode(parts)

    def prepare(self, known_by: object) -> None:
        """Forget the rows that other lookups than `known_by` have found."""
        for known in self._known:
            if isinstance(known, KnownReferences):
                known.prepare(known_by)
        for nested in self._nested.values():
            nested.prepare(known_by)

    def is_answered(self, references: References) -> bool:
        known = (each for each in self._known if isinstance(each, KnownReferences))
        fields = self._nested.values()
        return all(each.is_in(references) for each in known) and all(each.is_answered(references) for each in fields)

    def documents(self) -> list[Document]:
        """Return documents with the references that the cutter has gathered, and forget these."""
        elements = list(self._gathered())
        match self._rule.shape:
            case "array":
                return [{self._rule.path: elements}] if elements else []
            case "map":
                return [{self._rule.path: {str(number): each for number, each in enumerate(elements)}}]
        return [{self._rule.path: each} for each in elements]

    def _gathered(self) -> Iterator[Any]:
        for rule, known, wanted in zip(self._rule.rules, self._known, self.cutter.wanted, strict=True):
            if isinstance(rule, Children):
                yield from self._nested[rule.path].documents()
            if isinstance(known, KnownReferences):
                yield from known.elements(wanted)
            wanted.clear()


def _type_of(codec: Codec, kind: str) -> tuple[RuleType, int]:
    """Return how values of a codec become those of a kind of column, and the most bytes of a text."""
    if isinstance(codec, codecs.Text) and kind == "text":
        return RuleType.TEXT, min(each for each in (codec.most, codec.length, _MOST_TEXT) if each is not None)
    try:
        return _RULE_TYPES.get((codec, kind), RuleType.LOOKED_UP), 0
    except TypeError:  # a codec that is not hashable
        return RuleType.LOOKED_UP, 0


def _known_of(children: Children, rule: Any) -> KnownValues | KnownReferences | None:
    match rule:
        case Children():
            return None
        case Reference():
            kind = kind_of_column(children.table.c[rule.column])
            return KnownReferences(rule, kind, in_documents=not children.values)
    return KnownValues(rule, kind_of_column(children.table.c[rule.column]))
