"""The code of rules that are written in line: what documents nearly always hold. See compile.py.

Anything odd about a value leaves the document to `translate` (`slow(first + n); continue`).
"""

from __future__ import annotations

from typing import Any

from migrator.ids import canonical_uuid
from migrator.mapping import codecs
from migrator.mapping.collection import Rule
from migrator.mapping.references import MemberList, Reference, UncheckedReference
from migrator.mapping.rules import Compute, Field, Implied, Variants
from migrator.translation.codegen import CodeWriter
from migrator.translation.projection import SlotType


def has_form(rule: Rule) -> bool:
    """Whether a rule can be written in line."""
    if isinstance(rule, Field):
        simple = len(rule.paths) == 1 and "." not in rule.paths[0] and rule.restore_path is None
        return simple and _READINGS.get(type(rule.codec)) is not None
    return isinstance(rule, Implied | Variants | Compute | Reference | UncheckedReference | MemberList)


def write_forward(draft: CodeWriter, rule: Rule) -> None:
    """The way there: columns out of fields."""
    if isinstance(rule, Field):
        _forward_take(draft, rule)
    elif isinstance(rule, Compute):
        _forward_compute(draft, rule)
    elif isinstance(rule, UncheckedReference):
        _forward_name(draft, rule)


def _forward_name(draft: CodeWriter, rule: UncheckedReference) -> None:
    target, v = draft.local(rule.column), draft.value(rule.path, SlotType.UUID)
    first, *_ = ids = [canonical_uuid(text) for text in rule.null_values]
    unlike = f"    x += ({rule.path!r},)"
    draft.add(3, f"if {v}.__class__ is bytes:", f"    if {v} in {draft.bind('nobody_ids', ids)}:")
    draft.add(5, f"{target} = None", f"if {v} != {draft.bind('first', first)}:", unlike)
    draft.add(4, "else:", f"    {target} = {v}")
    draft.add(3, f"elif {v}.__class__ is str:", f"    if {v} in {draft.bind('nobody', rule.null_values)}:")
    draft.add(5, f"{target} = None", f"if {v} != {rule.null_values[0]!r}:", unlike)
    draft.add(4, "else:", f"    {target}, exact = {draft.memo_of(rule)}[{v}]", "    if not exact:", f"    {unlike}")
    draft.add(3, f"elif {v} is A:", f"    {target} = None; u += ({rule.path!r},)")
    draft.add(3, "else:", "    slow(first + n); continue")


def _forward_take(draft: CodeWriter, rule: Field) -> None:
    path, target = rule.paths[0], draft.local(rule.column)
    v = draft.value(path, SlotType.DATETIME if isinstance(rule.codec, codecs.DateTime) else SlotType.VALUE)
    draft.add(3, *_reading(rule, target, v))
    if rule.required or rule.default_factory is not None:
        draft.add(3, "else:", "    slow(first + n); continue")
        return
    default = draft.bind("default", rule.default)
    null_is_exact = rule.restore_null and rule.default is None
    unset = f"; u += ({path!r},)" if rule.default is not None or rule.restore_null else ""
    draft.add(3, f"elif {v} is A:", f"    {target} = {default}{unset}")
    draft.add(3, f"elif {v} is None:", f"    {target} = {default}" + ("" if null_is_exact else f"; x += ({path!r},)"))
    draft.add(3, "else:", "    slow(first + n); continue")


def _forward_compute(draft: CodeWriter, rule: Compute) -> None:
    arguments = ["T", *(draft.value(name) for name in rule.fields), *(draft.locals_[name] for name in rule.inputs)]
    targets = ", ".join(draft.local(column) for column in rule.columns)
    draft.add(3, f"{targets} = {draft.bind('compute', rule.function)}({', '.join(arguments)})")


def write_back(draft: CodeWriter, rule: Rule) -> None:
    """The way back: the field that the columns give, against the document's."""
    if isinstance(rule, Variants):
        _back_one_of(draft, rule)
    elif isinstance(rule, MemberList):
        v = draft.value(rule.path, SlotType.THERE)
        draft.add(3, f"if {v} is A:", f"    u += ({rule.path!r},)", "else:", f"    x += ({rule.path!r},)")
    elif isinstance(rule, Implied):
        draft.compare(rule.path, f"known({write_implied(draft, rule)})")
    elif isinstance(rule, Compute) and rule.restores is not None:
        arguments = ", ".join(draft.locals_[name] for name in rule.reverse_inputs)
        draft.compare(rule.restores, f"{draft.bind('reverse', rule.reverse)}({arguments})" if rule.reverse else "A")


def _back_one_of(draft: CodeWriter, rule: Variants) -> None:
    """The first form is nothing to tell; another one is told by its number."""
    w, columns = draft.value(rule.path), ", ".join(draft.locals_[name] for name in rule.inputs)
    draft.add(3, f"b = {draft.bind('form', rule.variants[0])}({columns})")
    draft.add(3, f"if b is not {w} and (b is A or {w} is A or not same(b, {w})):")
    draft.add(4, f"number = {draft.bind('find', rule.find_variant)}({w}, {columns})", "if number:")
    draft.add(5, f"forms += (({rule.path!r}, number),)")
    if rule.subtract is not None:
        draft.add(4, f"elif (rest := {draft.bind('cut', rule.subtract)}({w}, {columns})) is not None:")
        draft.add(5, f"cut += (({rule.path!r}, rest),)")
    draft.add(4, f"elif {w} is A:", f"    u += ({rule.path!r},)", "else:", f"    x += ({rule.path!r},)")


def write_implied(draft: CodeWriter, rule: Implied) -> str:
    """The expression for an implied value."""
    if not rule.inputs:
        return draft.bind("implied", rule.value)
    return f"{draft.bind('imply', rule.value)}({', '.join(draft.locals_[name] for name in rule.inputs)})"


_READINGS: dict[type[Any], tuple[str, str, str]] = {
    # codec → (condition, plain value, what rules it out) of the field {v} and its column {p}
    codecs.Text: ("{v}.__class__ is str", "{v}", "'\\0' in {v}"),
    codecs.Boolean: ("{v} is True or {v} is False", "{v}", ""),
    codecs.Integer: ("{v}.__class__ is int", "{v}", "not -2147483648 <= {v} <= 2147483647"),
    codecs.DateTime: ("{v}.__class__ is int", "{v}", ""),
}


def _reading(rule: Field, p: str, v: str) -> list[str]:
    """Code that reads the usual type; anything odd about the value leaves the document to `translate`."""
    condition, value, odd = (form.format(p=p, v=v) for form in _READINGS[type(rule.codec)])
    lines = [f"if {condition}:", f"    {p} = {value}"]
    checks = [odd] if odd else []
    if isinstance(rule.codec, codecs.Text) and rule.codec.most is not None:
        checks.append(f"len({v}) > {rule.codec.most // 4}")
    if checks:
        lines += [f"    if {' or '.join(checks)}:", "        slow(first + n); continue"]
    return lines
