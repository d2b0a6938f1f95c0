"""The compiled way back restores what the interpreter restores, and puts documents together as it does, to the byte."""

from __future__ import annotations

import random
import uuid
from contextlib import suppress
from itertools import product
from typing import Any

import bson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.documents import DocumentGenerator
from mappings import MAPPINGS
from migrator.documents import native, raw_bson
from migrator.documents.codec import Document, decode, encode
from migrator.documents.residue import add_residue, changes_of, close_residue, raw_residue
from migrator.mapping.collection import Collection
from migrator.mapping.text_parts import TextParts
from migrator.postgres import native as postgres_native
from migrator.postgres.copy_format import EPOCH_SHIFT, split_row, write_row
from migrator.rows.loaded_rows import layout_of
from migrator.rows.store import RowStore
from migrator.state.records import Namespace
from migrator.state.tenant import Options
from migrator.translation import native as translation_native
from migrator.translation.field_parts import FieldForm, FieldPart, KeptFields, encode_field
from migrator.translation.interpreter import Translation, rebuild_bson
from migrator.translation.kept_fields import KeptCall, group_calls, keep_fields
from migrator.translation.outcomes import Loaded
from migrator.verification.record_diff import sort_fields
from tests import strategies
from tests.unit.test_compiler import BY_NAME, find_references

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
STORE = RowStore(None, Namespace(), BY_NAME)  # type: ignore[arg-type]  # nothing is asked
needs_native = pytest.mark.skipif(native.FieldCounter is None, reason="built without a C compiler")
keys = st.one_of(st.sampled_from(["_id", "a", "b", "c"]), strategies.keys)
documents = st.dictionaries(keys, strategies.values, max_size=6).map(strategies.build)


def check_way_back(collection: Collection, found: list[Document], options: Options) -> tuple[int, int]:
    """Translate documents, and compare both ways back. Return how many were loaded, and rebuilt by the compiled way."""
    layout, loaded, rebuilt = layout_of(STORE, collection), 0, 0
    translation = Translation(collection, options, find_references(collection, found))
    for document in found:
        outcome, _ = translation.translate(document)
        if not isinstance(outcome, Loaded):
            continue
        fields = split_row(write_row([outcome.row.get(name) for name in layout.kinds], list(layout.kinds.values())))
        fields += [None] * (len(collection.member_lists) + len(collection.children))
        source_id = raw_bson.source_id(encode(document))
        wanted = rebuild_bson(collection, source_id, layout.read_row(fields), outcome.residue)
        compiled = layout.rebuild(source_id, fields, outcome.residue)
        assert compiled is None or compiled == wanted, document
        loaded, rebuilt = loaded + 1, rebuilt + (compiled is not None)
    return loaded, rebuilt


@pytest.mark.parametrize("collection", MAPPINGS, ids=lambda each: each.name)
@settings(FEW, max_examples=5)
@given(data=st.data())
def test_both_ways_agree_on_arbitrary_documents(collection: Collection, options: Options, data: st.DataObject) -> None:
    check_way_back(collection, data.draw(st.lists(strategies.documents(collection.name), max_size=4)), options)


@pytest.mark.long
@pytest.mark.parametrize("collection", MAPPINGS, ids=lambda each: each.name)
@settings(FEW, max_examples=1000)
@given(data=st.data())
def test_both_ways_agree_on_many_documents(collection: Collection, options: Options, data: st.DataObject) -> None:
    check_way_back(collection, data.draw(st.lists(strategies.documents(collection.name), max_size=4)), options)


@needs_native
def test_usual_documents_take_the_compiled_way(options: Options) -> None:
    found = list(DocumentGenerator(7).conversations(300))
    for name, some in (
        ("conversations", [each for each, _ in found]),
        ("messages", [m for _, said in found for m in said]),
    ):
        loaded, rebuilt = check_way_back(BY_NAME[name], some, options)
        assert loaded == rebuilt > 20, name


@needs_native
def test_changed_fields_take_the_compiled_way(options: Options) -> None:
    """Variants and remainders of fields that the row restores, and of such that it does not: these come last."""
    first = next(said[0] for _, said in DocumentGenerator(8).conversations(10))
    parts: list[Document] = [
        {"type": "text", "text": "ab"},
        {"type": "think", "think": "…"},
        {"type": "text", "text": "c"},
    ]
    found: list[Document] = []
    for is_question, text, content in product(
        (True, False), (None, "", "ab\n\nc", "other"), (None, parts, parts[::2], [{"type": "text", "text": "ab\n\nc"}])
    ):
        changed = {**first, "isCreatedByUser": is_question, "text": text, "content": content}
        found.append({name: value for name, value in changed.items() if value is not None})
    loaded, rebuilt = check_way_back(BY_NAME["messages"], found, options)
    assert loaded == rebuilt == len(found)


@needs_native
@FEW
@given(documents, documents, documents, st.lists(keys, max_size=3, unique=True))
def test_a_document_is_put_together_as_the_interpreter_does(
    own_id: Document, restored: Document, changed: Document, unset: list[str]
) -> None:
    """Of the residue: fields to set, in their place or at the end, and names to unset."""
    check_put_together(own_id, restored, changed, unset)


def check_put_together(own_id: Document, restored: Document, changed: Document, unset: list[str]) -> None:
    source_id = encode({"_id": own_id["_id"]}) if "_id" in own_id else encode({})
    residue = close_residue({"set": changed, "unset": sorted(unset)})
    found = native.assemble(source_id, encode(restored), residue)
    if "_id" in restored or "_id" in changed:
        assert found is None
        return
    if found is not None:
        assert found == encode({**decode(source_id), **add_residue(dict(restored), residue)})
        check_comparison(found, source_id, encode(restored), residue)


def check_comparison(document: bytes, source_id: bytes, restored: bytes, residue: bytes | None) -> None:
    """`restores` finds the document that is put together, in any order, and no other one."""
    assert native.restores(document, source_id, restored, residue)
    fields = decode(document)
    for name in fields:
        assert not native.restores(encode({**fields, name: [fields[name]]}), source_id, restored, residue)
        assert not native.restores(encode({k: v for k, v in fields.items() if k != name}), source_id, restored, residue)
    assert native.restores(encode(dict(reversed(fields.items()))), source_id, restored, residue)
    assert not native.restores(encode({**fields, "more": 1}), source_id, restored, residue)
    assert not native.restores(document[:-1], source_id, restored, residue)


@needs_native
@pytest.mark.long
@settings(FEW, max_examples=5000)
@given(documents, documents, documents, st.lists(keys, max_size=3, unique=True))
def test_many_are_put_together(own_id: Document, restored: Document, changed: Document, unset: list[str]) -> None:
    check_put_together(own_id, restored, changed, unset)


@needs_native
def test_damaged_residues_are_left_to_the_interpreter() -> None:
    """Every byte of a residue changed once: nothing is put together from what cannot be decoded."""
    source_id, restored = encode({"_id": 1}), encode({"a": 1, "b": "text"})
    residue = close_residue({"set": {"a": {"x": ["é", 1.5]}, "z": None}, "unset": ["b"]})
    assert residue is not None
    assert native.assemble(source_id, restored, residue) == encode({"_id": 1, "a": {"x": ["é", 1.5]}, "z": None})
    assert native.assemble(source_id, restored, raw_residue(encode({"_id": 1}))) is None
    assert native.assemble(source_id[:-1], restored, residue) is None
    for place in range(len(residue)):
        for value in (0, 3, 5, 0x80, 0xFF):
            broken = residue[:place] + bytes([value]) + residue[place + 1 :]
            found = native.assemble(source_id, restored, broken)
            assert native.restores(found or encode({"_id": 1}), source_id, restored, broken) == (found is not None)
            if found is not None:
                assert sort_fields(found) == sort_fields(encode({"_id": 1, **add_residue(decode(restored), broken)}))


@needs_native
@FEW
@given(documents, documents, st.randoms(use_true_random=False))
def test_the_same_fields_in_any_order(one: Document, other: Document, chance: random.Random) -> None:
    raw, items = encode(one), list(one.items())
    chance.shuffle(items)
    assert native.same_fields(raw, encode(dict(items)))
    assert native.same_fields(raw, encode(other)) == (sort_fields(raw) == sort_fields(encode(other)))
    if items:
        name = items[0][0]
        assert not native.same_fields(raw, encode({**one, name: [one[name]]}))
        assert not native.same_fields(raw, raw[:-1] + b"\x01")


@needs_native
@FEW
@given(documents, st.randoms(use_true_random=False))
def test_both_versions_find_the_id(document: Document, chance: random.Random) -> None:
    raw: Any = bytearray(encode(document))
    assert raw_bson.source_id(bytes(raw)) == raw_bson._find_source_id(bytes(raw))
    for _ in range(chance.randrange(4)):
        raw[chance.randrange(len(raw))] = chance.choice([0, 1, 2, 3, 5, 15, 127, 128, 255])
    assert raw_bson.source_id(bytes(raw)) == raw_bson._find_source_id(bytes(raw))


@needs_native
@FEW
@given(
    changed=st.one_of(st.none(), documents),
    unset=st.lists(keys, unique=True),
    form=st.dictionaries(keys, st.integers(1, 3)),
    cut=st.dictionaries(keys, documents),
    first=st.dictionaries(keys, st.integers(0, 9)),
)
def test_variants_of_a_residue_are_found_in_its_bytes(
    changed: Document | None, unset: list[str], form: Document, cut: Document, first: Document
) -> None:
    residue = close_residue({"set": changed, "unset": unset, "form": form, "cut": cut, "first": first})
    assert [encode(each) for each in changes_of(residue)] == [encode(each) for each in (form, cut, first)]
    if residue is not None:
        kept = {name: encode({"": remainder})[6:-1] for name, remainder in cut.items()}
        assert native.split_changes(residue) == (form, kept, first)
        assert (native.variant_parts(residue) is None) == (not form and not cut and not first)
        assert native.variant_parts(residue[:-2]) == residue[:-2]  # a damaged one is left to the driver


@needs_native
@FEW
@given(
    found=st.lists(st.one_of(st.none(), strategies.texts), max_size=5),
    other=st.dictionaries(st.sampled_from(["a", "kind"]), strategies.values.map(strategies.build)),
    separator=st.sampled_from(["", "\n\n", "é"]),
    damage=st.sampled_from(["", "in", "at", "text"]),
    chance=st.randoms(use_true_random=False),
)
def test_both_versions_restore_parts(
    found: list[str | None], other: Document, separator: str, damage: str, chance: random.Random
) -> None:
    """Parts with and without texts. What `subtract` does not return is left to Python, or has the same result."""
    rule = TextParts("is", "text", "said", separator)
    parts: list[Document] = [
        {**other, "is": "other"} if each is None else {"is": "text", "said": each.replace("\0", ""), **other}
        for each in found
    ]
    text = separator.join(part["said"] for part in parts if part.get("said"))
    remainder = rule.subtract(parts, text)
    if remainder is None:
        return
    if damage in ("in", "at"):
        chance.shuffle(remainder[damage])
    elif damage:
        text = text[: chance.randrange(len(text) + 1)]
    compiled = native.restore_parts(encode(remainder), text.encode(), b"said", len(separator))
    assert damage or compiled is not None
    if compiled is not None:
        assert compiled.raw == encode({"": rule.restore(remainder, text)})[6:-1]
    assert native.restore_parts(encode(remainder)[:-1], text.encode(), b"said", len(separator)) is None
    assert native.restore_parts(encode(remainder), None, b"said", len(separator)) is None


@needs_native
@FEW
@given(st.lists(documents, max_size=4))
def test_documents_of_a_batch_have_their_ids(found: list[Document]) -> None:
    raws = [encode(each) for each in found]
    assert raw_bson.documents_by_id(b"".join(raws)) == [(raw_bson._find_source_id(raw), raw) for raw in raws]
    if raws:
        with pytest.raises(ValueError, match="length"):
            raw_bson.documents_by_id(b"".join(raws)[:-1])


# --- fields that are written without Python ---------------------------------------------------------------------------


def write_parts(
    *parts: FieldPart, columns: list[bytes | None], computed: Document, last: list[str] | None = None
) -> Document:
    writer = translation_native.FieldWriter(parts, shift=EPOCH_SHIFT, encode=encode)
    return decode(writer(columns, computed, last or []))


@needs_native
@FEW
@given(text=strategies.texts, moment=st.integers(-(2**63), 2**63 - 1 - EPOCH_SHIFT), flag=st.booleans())
def test_columns_become_fields(text: str, moment: int, flag: bool) -> None:
    """Each form of a column, between the fields that rules compute; NULL becomes the literal of the part."""
    parts = [
        FieldPart(FieldForm.COMPUTED, "first"),
        FieldPart(FieldForm.TEXT, "text", 0, b""),
        FieldPart(FieldForm.TIMESTAMP, "moment", 1, b""),
        FieldPart(FieldForm.COMPUTED, "absent"),
        FieldPart(FieldForm.COMPUTED, "last"),
        FieldPart(FieldForm.BOOLEAN, "flag", 2, b""),
        FieldPart(FieldForm.UUID_TEXT, "uuid", 3, None),
        FieldPart(FieldForm.TEXT, "null", 4, encode({"null": None})[4:-1]),
        FieldPart(FieldForm.TEXT, "no field", 4, b""),
        FieldPart(FieldForm.CONSTANT, "constant", 0, encode({"constant": 1.5})[4:-1]),
    ]
    key = uuid.UUID(int=moment % 2**128)
    plain = text.replace("\0", "")
    columns = [plain.encode(), moment.to_bytes(8, signed=True), b"\1" if flag else b"\0", key.bytes, None]
    found = write_parts(*parts, columns=columns, computed={"last": "é", "first": [1]}, last=["last"])
    expected = {
        "first": [1], "text": plain, "moment": bson.DatetimeMS((moment + EPOCH_SHIFT) // 1000), "flag": flag,
        "uuid": str(key), "null": None, "constant": 1.5, "last": "é",
    }  # fmt: skip
    assert list(found.items()) == list(expected.items())


@needs_native
@pytest.mark.parametrize(
    ("form", "column"),
    [
        (FieldForm.UUID_TEXT, None),
        (FieldForm.UUID_TEXT, bytes(15)),
        (FieldForm.BOOLEAN, b""),
        (FieldForm.TIMESTAMP, bytes(9)),
        (FieldForm.TIMESTAMP, (2**63 - 1).to_bytes(8)),
        (FieldForm.TEXT, b"a\0b"),
    ],
)
def test_columns_of_another_form_are_errors(form: FieldForm, column: bytes | None) -> None:
    """The caller then asks the interpreter."""
    with pytest.raises(ValueError, match=r"column|PostgreSQL"):
        write_parts(FieldPart(form, "a", 0, None), columns=[column], computed={})


@needs_native
@FEW
@given(st.dictionaries(st.sampled_from(["a", "b", "é"]), strategies.values.map(strategies.build)), st.booleans())
def test_computed_fields_are_encoded_as_the_driver_does(computed: Document, is_moved: bool) -> None:
    """Values of all types; a field that no part names is an error."""
    parts = [FieldPart(FieldForm.COMPUTED, name) for name in ("a", "b", "é")]
    writer = translation_native.FieldWriter(parts, shift=EPOCH_SHIFT, encode=encode)
    last = ["a"] if is_moved and "a" in computed else []
    ordered: Document = {name: computed[name] for name in ("a", "b", "é") if name in computed and name not in last}
    assert writer([], computed, last) == encode(ordered | {name: computed[name] for name in last})
    with pytest.raises(ValueError, match="no part"):
        writer([], {**computed, "other": 1}, last)


@needs_native
def test_results_for_few_distinct_values_are_kept() -> None:
    """Functions are called once for each combination of values, and again when very many results were kept."""
    calls: list[list[bytes | None]] = []

    def compute(fields: list[bytes | None]) -> tuple[bytes | None, ...]:
        calls.append(fields)
        value = fields[1]
        two = encode_field("two", 2) if value == b"x" else b"" if value is None else None
        return encode_field("one", str(fields)), two

    parts = [FieldPart(FieldForm.KEPT, "one", 0), FieldPart(FieldForm.CONSTANT, "c", 0, encode({"c": 0})[4:-1])]
    parts.append(FieldPart(FieldForm.KEPT, "two", 0))
    writer = translation_native.FieldWriter(parts, [KeptFields((1, 0), compute)], shift=EPOCH_SHIFT, encode=encode)
    for first in (b"a", None, b"a", b"b"):
        for second in (b"x", None, b"x"):
            found = decode(writer([first, second], {}))
            assert found == {"one": str([first, second]), "c": 0} | ({} if second is None else {"two": 2})
    assert len(calls) == 6
    with pytest.raises(ValueError, match="BSON"):
        writer([b"a", b"bad"], {})
    for number in range(2000):
        assert decode(writer([b"%d" % number, b"x"], {}))["one"] == str([b"%d" % number, b"x"])
    assert len(calls) == 2007


def test_functions_of_the_same_columns_share_their_results() -> None:
    """Each group has functions of some of the columns of one of them, in the order of the rules."""
    calls = [
        KeptCall("a", str, ("x",), ()),
        KeptCall("b", str, ("y", "z"), ()),
        KeptCall("c", str, ("z", "x", "y"), ()),
        KeptCall("d", str, ("other",), ()),
    ]
    assert [[each.path for each in group] for group in group_calls(calls)] == [["a", "b", "c"], ["d"]]
    kept = keep_fields(calls[:2], {"x": "text", "z": "integer", "y": "boolean"})
    assert kept.places == (2, 1)


@needs_native
@FEW
@given(st.lists(st.one_of(st.none(), st.binary(max_size=40))))
def test_both_versions_split_rows(fields: list[bytes | None]) -> None:
    row = write_row(fields, ["bytea"] * len(fields))
    for data in (row, bytearray(row), memoryview(row)):
        assert postgres_native.split_row(data) == split_row(data) == fields
    for end in range(3, len(row)):
        with suppress(ValueError):
            assert postgres_native.split_row(row[:end]) == fields[: len(split_row(row[:end]))]
