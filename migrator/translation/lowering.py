"""Rules → operations. `lower_rule` is the one place that handles each kind of rule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import assert_never

from migrator.mapping import codecs
from migrator.mapping.children import Children
from migrator.mapping.collection import Collection, Rule
from migrator.mapping.json_objects import JsonObject
from migrator.mapping.references import MemberList, Reference, UncheckedReference
from migrator.mapping.rules import Compute, CustomRule, Field, Filter, Implied, Variants
from migrator.translation import templates
from migrator.translation.operations import Convert, Emit, Expression, Lookup, Program, Read, Residue

IMMUTABLE = frozenset({str, bool, int, type(None), bytes})  # types of values that can be shared


@dataclass(frozen=True, slots=True)
class LoweredRule:
    """The operations of a rule, and what the optimizer must know of it.

    `inputs` are the columns that it uses, in either direction. `fields` are the top-level fields that determine its
    result in both directions; None: they do not alone. `low_cardinality` are those of its fields that certainly have
    few distinct values. `expression` is set if the rule restores one field that follows from the columns alone.
    """

    rule: Rule
    operation: Lookup | Convert | None = None
    residue: Residue | None = None
    inputs: tuple[str, ...] = ()
    fields: frozenset[str] | None = None
    low_cardinality: frozenset[str] = frozenset()
    expression: Expression | None = None


def lower_rule(rule: Rule) -> LoweredRule:
    """Return the operations of a rule."""
    match rule:
        case Field():
            return _lower_field(rule)
        case Implied():
            return _lower_implied(rule)
        case Variants():
            residue = Residue((rule,), partial(templates.write_variants_residue, rule))
            return LoweredRule(rule, None, residue, rule.inputs)
        case Compute():
            return _lower_compute(rule)
        case JsonObject():
            convert = Convert(rule, partial(templates.write_json_object, rule))
            residue = Residue((rule,), partial(templates.write_json_object_residue, rule))
            return LoweredRule(rule, convert, residue, rule.restore_by)
        case Filter():
            return LoweredRule(rule, Convert(rule, partial(templates.write_filter, rule) if rule.if_present else None))
        case Reference():
            residue = Residue((rule,), partial(templates.write_reference_residue, rule))
            return LoweredRule(rule, Lookup(rule), residue if rule.restored_fields else None)
        case UncheckedReference():
            # The template of the conversion compares the field, too: both need the same distinctions.
            convert = Convert(rule, partial(templates.write_unchecked_reference, rule))
            return LoweredRule(rule, convert, Residue((rule,), templates.write_nothing))
        case MemberList():
            residue = Residue((rule,), partial(templates.write_member_list_residue, rule))
            return LoweredRule(rule, None, residue)
        case Children():
            convert = Convert(rule, partial(templates.write_children, rule))
            residue = Residue((rule,), partial(templates.write_children_residue, rule))
            return LoweredRule(rule, convert, residue)
        case CustomRule():
            return LoweredRule(rule, Convert(rule), Residue((rule,)))
        case _:
            assert_never(rule)


def _lower_field(rule: Field) -> LoweredRule:
    is_top_level = not any("." in path for path in rule.paths)
    inline = is_top_level and len(rule.paths) == 1 and rule.restore_path is None
    is_small = isinstance(rule.codec, codecs.Boolean | codecs.Enum)
    return LoweredRule(
        rule,
        Convert(rule, partial(templates.write_field, rule) if inline else None),
        # The template of the conversion compares the field, too: both need the same distinctions.
        Residue((rule,), templates.write_nothing if inline else None),
        fields=_fields_of(rule) if is_top_level and rule.default_factory is None else None,
        low_cardinality=frozenset(rule.paths) if is_small else frozenset(),
    )


def _lower_implied(rule: Implied) -> LoweredRule:
    is_constant = not rule.inputs and type(rule.value) in IMMUTABLE
    return LoweredRule(
        rule,
        residue=Residue((rule,), partial(templates.write_implied_residue, rule)),
        inputs=rule.inputs,
        fields=_fields_of(rule),
        low_cardinality=_fields_of(rule) if is_constant else frozenset(),
        expression=partial(templates.restored_expression, rule),
    )


def _lower_compute(rule: Compute) -> LoweredRule:
    residue = Residue((rule,), partial(templates.write_compute_residue, rule))
    return LoweredRule(
        rule,
        Convert(rule, partial(templates.write_compute, rule)),
        residue if rule.restored_fields else None,
        inputs=rule.inputs + rule.reverse_inputs,
        fields=_fields_of(rule),
    )


def _fields_of(rule: Field | Implied | Compute) -> frozenset[str]:
    return frozenset(rule.source_paths + rule.restored_fields)


def lower_collection(collection: Collection) -> tuple[LoweredRule, ...]:
    """Return the operations of all rules of a collection, in their order."""
    return tuple(map(lower_rule, collection.rules))


def reference_program(collection: Collection) -> Program:
    """Return the program that defines the meaning of a mapping: its rules run in their order, in both directions."""
    lowered = lower_collection(collection)
    restoring = (each.rule for each in lowered if each.residue is not None)
    return (
        Read(collection.key),
        *(each.operation for each in lowered if each.operation is not None),
        Residue((collection.key, *restoring)),
        Emit(collection),
    )
