"""Prints a program as the text of a function that translates projected documents.

How single rules are printed is decided in templates.py, and what is done with the translated values in write_output.py.
"""

from __future__ import annotations

from typing import Any, assert_never

from bson import Int64, ObjectId

from migrator.documents.codec import decode, same
from migrator.ids import collection_tag, uuid_text
from migrator.mapping.codecs import UNREADABLE, Codec
from migrator.mapping.composite_keys import AnyKey, CompositeKey
from migrator.mapping.context import ABSENT, Archived, Rejected
from migrator.mapping.references import Key, reference_ids
from migrator.translation import native
from migrator.translation.codegen import BODY, LEAVE, CodeWriter
from migrator.translation.encoder import Encoder
from migrator.translation.memo import EMPTY_ENTRY, MemoTable
from migrator.translation.operations import Convert, Emit, Lookup, Memo, Operation, Program, Read, Residue
from migrator.translation.projection import SlotType
from migrator.translation.templates import write_comparisons
from migrator.translation.write_output import Destination, memo_runs, write_output

# The types of references that the code looks up. They can be compared with each other, and are hashable.
ID_TYPES = frozenset({str, ObjectId})
CODEC_ID_TYPES = ID_TYPES | {int, Int64, bytes}


class KeyCache(dict[Any, tuple[Any, bool]]):
    """The plain IDs of the values of a key, and whether a UUID restores the value. Kept for one batch."""

    def __init__(self, key: Key) -> None:
        super().__init__()
        self._key = key

    def __missing__(self, value: Any) -> tuple[Any, bool]:
        plain = self._key.identify(value)
        self[value] = found = (plain, self._key.is_derived and uuid_text(plain) == value)
        return found


def write_program(program: Program, writer: CodeWriter, destination: Destination) -> str:
    """Return the text of the function `translate`. Its global names are in `writer.bound`."""
    writer.bound.update(
        ABSENT=ABSENT, UNREADABLE=UNREADABLE, Int64=Int64,
        Rejected=Rejected, Archived=Archived, ObjectId=ObjectId, KeyCache=KeyCache, same=same,
        decode=decode, to_uuid7=native.objectid_to_uuid, readable=_absent_if_unreadable,
        encoder=Encoder(writer.collection),
        SIMPLE=frozenset({str, bool, int, type(None)}), ID_TYPES=ID_TYPES, CODEC_ID_TYPES=CODEC_ID_TYPES,
    )  # fmt: skip
    for operation in program:
        _write_operation(operation, writer, destination)
    writer.add(1, "return left")
    body, writer.lines = writer.lines, []
    _request_lookup_fields(writer)
    _write_prologue(program, writer)
    return "\n".join([*writer.lines, *body])


def _absent_if_unreadable(value: Any) -> Any:
    return ABSENT if value is UNREADABLE else value


def _write_operation(operation: Operation, writer: CodeWriter, destination: Destination) -> None:
    match operation:
        case Convert(template=None):
            _write_call(operation, writer)
        case Residue(template=None):
            _write_called_residue(operation, writer)
        case Convert(template=template) | Residue(template=template):
            assert template is not None  # the cases above
            template(writer)
        case Lookup():
            _write_lookup(operation, writer)
        case Memo():
            _write_memo(operation, writer)
        case Read():
            _write_key(operation.key, writer)
        case Emit():
            write_output(operation, writer, destination)
        case _:
            assert_never(operation)


def _request_lookup_fields(writer: CodeWriter) -> None:
    """Project what the lookups read: they get it before the function runs."""
    lookups = writer.collection.lookups
    for name in sorted({name for lookup in lookups for name in lookup.fields}.difference(writer.elements)):
        writer.field(name)
    if writer.collection.listed_by is not None or not all(lookup.fields for lookup in lookups):
        writer.document()  # only the rule knows what its lookup reads


def _write_prologue(program: Program, writer: CodeWriter) -> None:
    """What is done once for a batch, and the start of the loop over its documents."""
    writer.add(0, "def translate(projections, context, output, first=0):")
    writer.add(1, "left = []", "leave = left.append", "notes = context.notes")
    writer.add(1, "add = row_writer.begin(projections, output, first)")
    for key, local in writer.key_caches.items():
        writer.add(1, f"{local} = KeyCache({writer.bind(f'key_{key.collection}', key)})")
    lookups = [operation for operation in program if isinstance(operation, Lookup)]
    writer.add(1, *(f"{writer.local('found', lookup.rule.column)} = {{}}" for lookup in lookups))
    writer.add(1, "for index, values in enumerate(projections.tuples):")
    writer.add(2, "if values is None:", "    continue", "if notes:", "    notes.clear()")
    writer.add(2, f"{', '.join(['objectid', 'others', 'memo_fields', *writer.fields.values()])} = values")
    writer.add(2, *(["variants = remainders = ()"] if writer.collection.variant_rules else []), "try:")


# --- operations -------------------------------------------------------------------------------------------------------


def _write_key(key: AnyKey, writer: CodeWriter) -> None:
    if isinstance(key, CompositeKey):
        for part in key.parts:
            _write_key(part, writer)
        return
    column = writer.column(key.column)
    if key.codec is not None:
        _write_codec_key(key, key.codec, column, writer)
        return
    if key.path == "_id" and not key.text:
        writer.add(BODY, f"{column} = to_uuid7(objectid, {collection_tag(key.collection)})")
        return
    if key.text:
        value = writer.field(key.path)
        usual = f"{value}.__class__ is not str or not {value} or len({value}) > {key.most // 4} or '\\0' in {value}"
        writer.add(BODY, f"if {usual}:", f"    {LEAVE}", f"{column} = {value}")
        return
    value = writer.field(key.path, SlotType.UUID)
    writer.add(BODY, f"if {value}.__class__ is bytes:", f"    {column} = {value}")
    writer.add(BODY, f"elif {value}.__class__ is str and {value}:")
    writer.add(BODY + 1, f"{column}, exact = {writer.key_cache(key)}[{value}]")
    writer.add(BODY + 1, "if not exact:", f"    changed += ({key.path!r},)")
    writer.add(BODY, "else:", f"    {LEAVE}")


def _write_codec_key(key: Key, codec: Codec, column: str, writer: CodeWriter) -> None:
    value = "ObjectId(objectid)" if key.path == "_id" else writer.field(key.path)
    read, write = writer.bind(f"read_{key.column}", codec.read), writer.bind(f"write_{key.column}", codec.write)
    if key.path != "_id":
        writer.add(BODY, f"if {value} is ABSENT or {value} is None or {value} == '':", f"    {LEAVE}")
    writer.add(BODY, f"{column} = {read}({value}, context.note, {key.path!r})")
    writer.add(BODY, f"if {column} is UNREADABLE:", f"    {LEAVE}")
    if key.path != "_id":
        writer.add(BODY, f"if not same({write}({column}), {value}):", f"    changed += ({key.path!r},)")


def _write_lookup(operation: Lookup, writer: CodeWriter) -> None:
    """Each value of the field is looked up once for a batch. Several rows, or none, are left to the interpreter."""
    rule = operation.rule
    columns = [writer.column(name) for name in rule.columns]
    value, found = writer.field(rule.path), writer.local("found", rule.column)
    lookup = writer.bind(f"lookup_{rule.column}", rule.lookup)
    usual = "ID_TYPES" if rule.key.codec is None else "CODEC_ID_TYPES"
    writer.add(BODY, f"if {value}.__class__ not in {usual} or {value} == '':", f"    {LEAVE}")
    writer.add(BODY, f"looked_up = {found}.get({value})", "if looked_up is None:")
    identify = writer.bind(f"id_of_{rule.column}", reference_ids(rule.key).of)
    writer.add(BODY + 1, f"candidates = context.find({lookup}, {identify}({value}))")
    writer.add(BODY + 1, "if len(candidates) != 1:", f"    {LEAVE}", "candidate = candidates[0]")
    carried = ["candidate.id", *(f"candidate.carried[{name!r}]" for name in rule.carry)]
    writer.add(BODY + 1, *(f"{column} = {each}" for column, each in zip(columns, carried, strict=True)))
    exact = "True"
    if rule.write:
        exact = f"same({writer.bind(f'restore_{rule.path}', rule.write)}({columns[0]}), {value})"
    implied = [expression(writer) for _, expression in operation.implied]
    writer.add(BODY + 1, f"looked_up = {found}[{value}] = ({', '.join([*columns, exact, *implied])},)")
    restored = [writer.local("restored", path) for path, _ in operation.implied]
    writer.add(BODY, f"{', '.join([*columns, writer.local('exact', rule.column), *restored])}, = looked_up")


def _write_memo(memo: Memo, writer: CodeWriter) -> None:
    """The memo learns a combination from the rules when it occurs first."""
    if not memo.rules:
        writer.add(BODY, f"entry = {writer.bind('empty_entry', EMPTY_ENTRY)}", "changed, unset, _ = entry")
        return
    used = [name for name in memo.columns if name in memo.used]
    runs = memo_runs(writer, memo.columns)
    table = MemoTable(memo, used, [run.columns for _, run in runs])
    writer.bound.update(learn=table.learn, recall=table.entries.get)
    writer.add(BODY, f"memo_key = ({', '.join(['memo_fields', *(writer.columns[name] for name in memo.inputs)])},)")
    writer.add(BODY, "entry = recall(memo_key)", "if entry is None:")
    writer.add(BODY + 1, "entry = learn(memo_key, decode(projections.raw(index)), context)")
    writer.add(BODY + 1, "if entry is None:", f"    {LEAVE}")
    values = [*(writer.column(name) for name in used), *(local for local, _ in runs)]
    writer.add(BODY, f"{', '.join(['changed, unset, _', *values])} = entry")


def _write_call(operation: Convert, writer: CodeWriter) -> None:
    """The rule itself fills its columns, from the whole document."""
    rule = operation.rule
    call = writer.bind(f"rule_{'_'.join(rule.columns or rule.source_paths)}", rule)
    writer.add(BODY, f"row = {writer.row()}", f"{call}.to_row({writer.document()}, row, context)")
    for column in rule.columns:
        writer.add(BODY, f"{writer.column(column)} = row[{column!r}]")


def _write_called_residue(operation: Residue, writer: CodeWriter) -> None:
    """The rules themselves restore their fields."""
    names = sorted({name for rule in operation.rules for name in rule.restored_fields})
    writer.add(BODY, f"row = {writer.row()}", "fields = {}", f"get = {writer.document()}.get")
    for rule in operation.rules:
        call = writer.bind(f"rule_{'_'.join(rule.columns or rule.source_paths)}", rule)
        writer.add(BODY, f"{call}.to_document(row, fields)")
    write_comparisons(writer, BODY, "restored_fields", tuple(names))
