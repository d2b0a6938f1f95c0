"""The generated code of single rules: what a rule does for the values that documents usually have.

For any other value the code leaves the document to the interpreter (`codegen.LEAVE`). Which template belongs to which
rule is decided in lowering.py.
"""

from __future__ import annotations

from collections.abc import Hashable

from migrator.ids import canonical_uuid
from migrator.mapping import codecs
from migrator.mapping.children import Children
from migrator.mapping.codecs import Codec
from migrator.mapping.json_objects import JsonObject
from migrator.mapping.references import MemberList, Reference, UncheckedReference
from migrator.mapping.rules import Compute, Field, Filter, Implied, Variants
from migrator.translation.codegen import BODY, LEAVE, CodeWriter
from migrator.translation.projection import SlotType


def write_nothing(writer: CodeWriter) -> None:
    """Write no code: another template does the work."""


# --- columns from fields ----------------------------------------------------------------------------------------------


# codec → (condition, what rules the value out) for the usual type of a field. Its value is the plain value.
_CONDITIONS: dict[Codec, tuple[str, str]] = {
    codecs.BOOLEAN: ("{value} is True or {value} is False", ""),
    codecs.INTEGER: ("{value}.__class__ is int", "not -2147483648 <= {value} <= 2147483647"),
    codecs.SMALLINT: ("{value}.__class__ is int", "not -32768 <= {value} <= 32767"),
    codecs.BIGINT: ("{value}.__class__ is int", ""),
    codecs.LONG: ("{value}.__class__ is Int64", ""),
    codecs.DOUBLE: ("{value}.__class__ is float", ""),
    codecs.DATETIME: ("{value}.__class__ is int", ""),
}
_TEXT = ("{value}.__class__ is str", "'\\0' in {value}")


def condition_of(codec: Codec) -> tuple[str, str] | None:
    """Return the condition for values of the usual type, and what rules them out; None if there is no usual type."""
    if isinstance(codec, codecs.Text):
        limits = [codec.most and codec.most // 4, codec.length]
        return _TEXT[0], " or ".join([_TEXT[1], *(f"len({{value}}) > {each}" for each in limits if each is not None)])
    return _CONDITIONS.get(codec) if isinstance(codec, Hashable) else None


def write_field(rule: Field, writer: CodeWriter) -> None:
    """Write the conversion of a field that has one path, and the comparison with what its column restores."""
    path, column = rule.paths[0], writer.column(rule.column)
    value = writer.field(path, SlotType.DATETIME if isinstance(rule.codec, codecs.DateTime) else SlotType.VALUE)
    condition = condition_of(rule.codec)
    keyword = "if" if condition is None else "elif"
    if condition is not None:
        writer.add(BODY, *_read_usual(rule, column, value, condition))
    if rule.required or rule.default_factory is not None:
        writer.add(BODY, f"{keyword} {value} is ABSENT or {value} is None:", f"    {LEAVE}")
    else:
        default = writer.bind(f"default_{rule.column}", rule.default)
        unset = f"; unset += ({path!r},)" if rule.default is not None or rule.restore_null else ""
        changed = "" if rule.restore_null and rule.default is None else f"; changed += ({path!r},)"
        writer.add(BODY, f"{keyword} {value} is ABSENT:", f"    {column} = {default}{unset}")
        writer.add(BODY, f"elif {value} is None:", f"    {column} = {default}{changed}")
    writer.add(BODY, "else:")
    _read_other(rule, column, value, writer)


def _read_other(rule: Field, column: str, value: str, writer: CodeWriter) -> None:
    """Write the call of the codec. A value that it cannot read needs the rule itself."""
    if isinstance(rule.codec, codecs.DateTime):  # the projection has left out documents with values of other types
        writer.add(BODY + 1, LEAVE)
        return
    read, write = (writer.bind(f"{name}_{rule.column}", getattr(rule.codec, name)) for name in ("read", "write"))
    writer.add(BODY + 1, f"{column} = {read}({value}, context.note, {rule.paths[0]!r})")
    writer.add(BODY + 1, f"if {column} is UNREADABLE:", f"    {LEAVE}")
    writer.add(BODY + 1, f"if not same({write}({column}), {value}):", f"    changed += ({rule.paths[0]!r},)")


def _read_usual(rule: Field, column: str, value: str, condition: tuple[str, str]) -> list[str]:
    usual, unusual = (each.format(value=value) for each in condition)
    lines = [f"if {usual}:", f"    {column} = {value}"]
    if unusual:
        lines += [f"    if {unusual}:", f"        {LEAVE}"]
    return lines


def write_compute(rule: Compute, writer: CodeWriter) -> None:
    """Write the call of the function that computes columns."""
    arguments = [
        "context",
        *(_field_of(rule, name, writer) for name in rule.fields),
        *(writer.columns[n] for n in rule.inputs),
    ]
    columns = ", ".join(writer.column(column) for column in rule.columns)
    function = writer.bind(f"compute_{'_'.join(rule.columns)}", rule.function)
    writer.add(BODY, f"{columns} = {function}({', '.join(arguments)})")


def _field_of(rule: Compute, name: str, writer: CodeWriter) -> str:
    if name not in rule.parts:
        return writer.field(name)
    value, read = writer.parts(name, rule.parts[name]), writer.bind(f"read_{name}", rule.parts[name].read)
    return f"{read}({value}) if {value}.__class__ is list else {value}"


def write_filter(rule: Filter, writer: CodeWriter) -> None:
    """Write the call of the function for a document with one of the fields."""
    values = [writer.field(name) for name in rule.fields]
    function = writer.bind(f"filter_{'_'.join(rule.fields)}", rule.function)
    present = " or ".join(f"{value} is not ABSENT and {value} is not None" for value in values)
    writer.add(BODY, f"if {present}:", f"    {function}({', '.join(['context', *values])})")


def write_unchecked_reference(rule: UncheckedReference, writer: CodeWriter) -> None:
    """Write the conversion of a field with an ID, and the comparison with what its column restores."""
    column, value = writer.column(rule.column), writer.field(rule.path, SlotType.UUID)
    first_uuid, *_ = uuids = [canonical_uuid(text) for text in rule.null_values]
    changed = f"    changed += ({rule.path!r},)"
    null_uuids = writer.bind(f"null_uuids_{rule.column}", uuids)
    null_values = writer.bind(f"null_values_{rule.column}", rule.null_values)
    first_null = writer.bind(f"first_null_uuid_{rule.column}", first_uuid)
    writer.add(BODY, f"if {value}.__class__ is bytes:", f"    if {value} in {null_uuids}:")
    writer.add(BODY + 2, f"{column} = None", f"if {value} != {first_null}:", changed)
    writer.add(BODY + 1, "else:", f"    {column} = {value}")
    writer.add(BODY, f"elif {value}.__class__ is str:", f"    if {value} in {null_values}:")
    writer.add(BODY + 2, f"{column} = None", f"if {value} != {rule.null_values[0]!r}:", changed)
    writer.add(BODY + 1, "else:", f"    {column}, exact = {writer.key_cache(rule.key)}[{value}]")
    writer.add(BODY + 2, "if not exact:", changed)
    writer.add(BODY, f"elif {value} is ABSENT:", f"    {column} = None; unset += ({rule.path!r},)")
    writer.add(BODY, "else:", f"    {LEAVE}")


def write_children(rule: Children, writer: CodeWriter) -> None:
    """Write the call of the rule that makes rows of the elements of a field."""
    rows, elements = writer.column(rule.row_key), writer.elements.get(rule.path)
    if elements is None:
        value = writer.field(rule.path)
        writer.add(BODY, f"{rows} = {writer.bind(f'rows_of_{rule.path}', rule.rows_of)}({value}, context)")
        return
    cut, key = writer.bind(f"cut_{rule.path}", elements.cut), writer.columns[writer.collection.key.column]
    place, rest = writer.field(rule.path, SlotType.ELEMENTS), writer.local("rest", rule.path)
    writer.add(BODY, f"{rows} = []", f"{rest} = {cut}(projections.data, {place}, {key}, context, {rows})")


def write_json_object(rule: JsonObject, writer: CodeWriter) -> None:
    """Write the call of the rule. The whole document is decoded only if it has one of the fields, which is seldom."""
    row, column = writer.row(), writer.column(rule.column)
    fields = [writer.field(name, SlotType.PRESENT) for name in rule.fields]
    is_set, call = writer.local("is_set", rule.column), writer.bind(f"rule_{rule.column}", rule)
    writer.add(BODY, f"{is_set} = not ({' is '.join([*fields, 'ABSENT'])})")
    writer.add(BODY, f"if not {is_set}:", f"    {column} = None", "else:")
    writer.add(BODY + 1, f"whole = decode(projections.raw(index)); row = {row}", f"{call}.to_row(whole, row, context)")
    writer.add(BODY + 1, f"{column} = row[{rule.column!r}]")


# --- restored fields against those of the document --------------------------------------------------------------------


def write_json_object_residue(rule: JsonObject, writer: CodeWriter) -> None:
    """Write the comparison of the fields in a jsonb object."""
    is_set, call = writer.local("is_set", rule.column), writer.bind(f"rule_{rule.column}", rule)
    writer.add(BODY, f"if {is_set}:", f"    row = {writer.row()}; fields = {{}}; get = whole.get")
    writer.add(BODY + 1, f"{call}.to_document(row, fields)")
    write_comparisons(writer, BODY + 1, f"fields_{rule.column}", rule.restored_fields)


def write_comparisons(writer: CodeWriter, depth: int, name: str, fields: tuple[str, ...]) -> None:
    """Write the comparison of the fields that rules have put into `fields` with those of the document (by `get`)."""
    writer.add(depth, f"for name in {writer.bind(name, fields)}:")
    writer.add(depth + 1, "restored = fields.get(name, ABSENT); value = get(name, ABSENT)")
    writer.add(depth + 1, "if value is ABSENT:", "    if restored is not ABSENT:", "        unset += (name,)")
    writer.add(depth + 1, "elif restored is ABSENT or not same(restored, value):", "    changed += (name,)")


def write_variants_residue(rule: Variants, writer: CodeWriter) -> None:
    """Write the comparison with the first variant, then the search for another one or for a remainder."""
    value = writer.field(rule.path) if rule.parts is None else writer.parts(rule.path, rule.parts)
    columns = ", ".join(writer.columns[name] for name in rule.inputs)
    first = writer.bind(f"variant_{rule.path}", rule.variants[0])
    writer.add(BODY, f"restored = {first}({columns})")
    differs = f"restored is ABSENT or {value} is ABSENT or not same(restored, {value})"
    writer.add(BODY, f"if restored is not {value} and ({differs}):")
    find = writer.bind(f"find_variant_{rule.path}", rule.find_variant)
    writer.add(BODY + 1, f"number = {find}({value}, {columns})", "if number:")
    writer.add(BODY + 2, f"variants += (({rule.path!r}, number),)")
    if rule.subtract is not None:
        subtract = writer.bind(f"subtract_{rule.path}", rule.subtract)
        writer.add(BODY + 1, f"elif (remainder := {subtract}({value}, {columns})) is not None:")
        writer.add(BODY + 2, f"remainders += (({rule.path!r}, remainder),)")
    _write_unequal(rule.path, value, BODY + 1, writer)


def write_children_residue(rule: Children, writer: CodeWriter) -> None:
    """Write the comparison with the field that the rows of the elements restore, then the search for a remainder."""
    rows = writer.columns[rule.row_key]
    if rule.path in writer.elements:
        rest = writer.local("rest", rule.path)
        writer.add(BODY, f"if {rest} is None:", "    pass")
        writer.add(BODY, f"elif {rest}.__class__ is bytes:", f"    remainders += (({rule.path!r}, {rest}),)")
        _write_unequal(rule.path, writer.field(rule.path, SlotType.ELEMENTS), BODY, writer)
        return
    value = writer.field(rule.path)
    writer.add(BODY, f"restored = {writer.bind(f'restore_{rule.path}', rule.restore)}({rows})")
    writer.add(BODY, f"if restored is {value} or restored is not ABSENT and same(restored, {value}):", "    pass")
    subtract = writer.bind(f"subtract_{rule.path}", rule.subtract)
    writer.add(BODY, f"elif (remainder := {subtract}({value}, {rows})) is not None:")
    writer.add(BODY + 1, f"remainders += (({rule.path!r}, remainder),)")
    _write_unequal(rule.path, value, BODY, writer)


def _write_unequal(path: str, value: str, depth: int, writer: CodeWriter) -> None:
    writer.add(depth, f"elif {value} is ABSENT:", f"    unset += ({path!r},)", "else:", f"    changed += ({path!r},)")


def write_member_list_residue(rule: MemberList, writer: CodeWriter) -> None:
    """Write that the field differs: its members are not known yet."""
    value = writer.field(rule.path, SlotType.PRESENT)
    writer.add(BODY, f"if {value} is ABSENT:", f"    unset += ({rule.path!r},)")
    writer.add(BODY, "else:", f"    changed += ({rule.path!r},)")


def write_implied_residue(rule: Implied, writer: CodeWriter) -> None:
    """Write the comparison of an implied field."""
    writer.compare(rule.path, restored_expression(rule, writer))


def restored_expression(rule: Implied, writer: CodeWriter) -> str:
    """Return the expression of the value that an implied field has, or ABSENT."""
    value = writer.bind(f"implied_{rule.path}", rule.value)
    if rule.inputs:
        value = f"{value}({', '.join(writer.columns[name] for name in rule.inputs)})"
    return f"readable({value})"


def write_compute_residue(rule: Compute, writer: CodeWriter) -> None:
    """Write the comparison of the field that is computed from columns."""
    assert rule.restores is not None  # other rules have no residue
    if rule.reverse is None:
        writer.compare(rule.restores, "ABSENT")
        return
    arguments = ", ".join(writer.columns[name] for name in rule.reverse_inputs)
    writer.compare(rule.restores, f"{writer.bind(f'restore_{rule.restores}', rule.reverse)}({arguments})")


def write_reference_residue(rule: Reference, writer: CodeWriter) -> None:
    """Write the comparison of a reference. The lookup has computed whether the ID restores the field."""
    writer.add(BODY, f"if not {writer.local('exact', rule.column)}:", f"    changed += ({rule.path!r},)")


def write_looked_up_residue(path: str, writer: CodeWriter) -> None:
    """Write the comparison of a field whose value the lookup has computed."""
    writer.compare(path, writer.local("restored", path))
