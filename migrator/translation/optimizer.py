"""Orders and groups the operations of a mapping, so that the generated function does little for a usual document.

- References are looked up first, with the fields that follow from their columns alone.
- Rules over low-cardinality fields and columns of references become one `Memo`.
- Other rules use their templates, if no other rule restores the same field; else the rules themselves are called.

The result of the program is that of `lowering.reference_program`, except for documents with findings, rejects and
unusual values. Generated code leaves these documents to the interpreter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from migrator.mapping.collection import Collection
from migrator.translation import templates
from migrator.translation.lowering import LoweredRule, lower_collection
from migrator.translation.operations import Convert, Emit, Lookup, Memo, Program, Read, Residue


def optimized_program(collection: Collection) -> Program:
    """Return the program that the code writer prints."""
    rules = lower_collection(collection)
    shared = [name for rule in (collection.key, *collection.rules) for name in rule.restored_fields]
    alone = [each for each in rules if not any(shared.count(name) > 1 for name in each.rule.restored_fields)]
    memoized = _select_memoized(collection, alone)
    rest = [each for each in rules if not _contains(memoized, each)]
    inline = [each for each in rest if _contains(alone, each) and _has_templates(each)]
    called = [each for each in rest if not _contains(inline, each)]
    lookups = [(each, *_look_up(each.operation, inline)) for each in inline if isinstance(each.operation, Lookup)]
    early = [each for reference, _, implied in lookups for each in (reference, *implied)]
    inline = [each for each in inline if not _contains(early, each)]
    memo = _make_memo(collection, alone, memoized, [*inline, *called])
    return (
        *(lookup for _, lookup, _ in lookups),
        memo,
        Read(collection.key),
        *_conversions(rest, early, called),
        Residue((collection.key,), templates.write_nothing),  # the code of `Read` compares the field, too
        *(residue for reference, _, implied in lookups for residue in _early_residues(reference, implied)),
        *(each.residue for each in inline if each.residue is not None),
        *_called_residue(called),
        Emit(collection, memo.columns),
    )


def _contains(rules: Iterable[LoweredRule], rule: LoweredRule) -> bool:
    return any(each is rule for each in rules)  # equal rules may occur twice


def _has_templates(lowered: LoweredRule) -> bool:
    operations = (lowered.operation, lowered.residue)
    return all(isinstance(each, Lookup) or each is None or each.template is not None for each in operations)


# --- lookups ----------------------------------------------------------------------------------------------------------


def _look_up(lookup: Lookup, rules: Iterable[LoweredRule]) -> tuple[Lookup, list[LoweredRule]]:
    """Return the lookup with the fields that its columns alone imply, and the rules of these fields."""
    columns = set(lookup.rule.columns)
    implied = [
        each for each in rules if each.expression is not None and each.inputs and columns.issuperset(each.inputs)
    ]
    values = tuple((each.rule.restored_fields[0], each.expression) for each in implied if each.expression is not None)
    return replace(lookup, implied=values), implied


def _early_residues(reference: LoweredRule, implied: Iterable[LoweredRule]) -> Iterable[Residue]:
    if reference.residue is not None:
        yield reference.residue
    for each in implied:
        path = each.rule.restored_fields[0]
        yield Residue((each.rule,), partial(templates.write_looked_up_residue, path))


# --- the memo ---------------------------------------------------------------------------------------------------------


def _select_memoized(collection: Collection, rules: Sequence[LoweredRule]) -> list[LoweredRule]:
    """Return the rules that use low-cardinality fields alone, and columns of references or of other such rules."""
    low_cardinality = collection.low_cardinality.union(*(each.low_cardinality for each in rules))
    known = _reference_columns(rules)
    selected = []
    for each in sorted(rules, key=lambda each: each.operation is None):  # rules without columns use those of all others
        if each.rule.lookups or each.fields is None or not each.fields <= low_cardinality:
            continue
        if known.union(each.rule.columns).issuperset(each.inputs):
            selected.append(each)
            known.update(each.rule.columns)
    return selected


def _reference_columns(rules: Iterable[LoweredRule]) -> set[str]:
    return {column for each in rules if isinstance(each.operation, Lookup) for column in each.rule.columns}


def _make_memo(
    collection: Collection, alone: Iterable[LoweredRule], memoized: Sequence[LoweredRule], others: Iterable[LoweredRule]
) -> Memo:
    columns = tuple(name for each in memoized for name in each.rule.columns)
    inputs = {name for each in memoized for name in each.inputs} & _reference_columns(alone)
    used = {*collection.probes, *collection.unique, *collection.key.key_columns}
    for each in others:
        used.update(each.inputs if _has_templates(each) else columns)  # a rule that is called gets the whole row
    return Memo(
        rules=tuple(each.rule for each in memoized),
        fields=tuple(dict.fromkeys(name for each in memoized for name in sorted(each.fields or ()))),
        inputs=tuple(sorted(inputs)),
        columns=columns,
        used=frozenset(used.intersection(columns)),
    )


# --- the other rules --------------------------------------------------------------------------------------------------


def _conversions(
    rules: Iterable[LoweredRule], early: Sequence[LoweredRule], called: Sequence[LoweredRule]
) -> Iterable[Convert]:
    for each in rules:
        if each.operation is None or _contains(early, each):
            continue
        if _contains(called, each):
            yield Convert(each.rule)
        elif isinstance(each.operation, Convert):
            yield each.operation


def _called_residue(called: Sequence[LoweredRule]) -> Iterable[Residue]:
    """All at once: several of these rules may restore parts of the same field."""
    rules = tuple(each.rule for each in called if each.residue is not None)
    if rules:
        yield Residue(rules)
