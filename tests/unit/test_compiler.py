"""The compiled functions and the interpreter have the same output, to the byte: rows, ledger, findings, links."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import DatetimeMS, Int64, ObjectId
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.documents import DocumentGenerator
from mappings import MAPPINGS
from migrator.documents import raw_bson
from migrator.documents.codec import CODEC_OPTIONS, Document, encode, is_faithful
from migrator.documents.residue import pack_residue
from migrator.ids import canonical_uuid, is_uuid, uuid_text
from migrator.mapping.collection import Collection
from migrator.mapping.context import Lookup, Match, Row
from migrator.state.tenant import Options
from migrator.translation.compiler import Compiled, compile_collection, source_of
from migrator.translation.encoder import Encoder, Output, SourceDocument
from migrator.translation.interpreter import Translation
from migrator.translation.projection import AnyProjector, Projection, Projector, projector_of
from migrator.translation.residue_fields import ResidueHeaderCache, as_field, encode_all
from migrator.translation.row_writer import RowWriter, row_writer_of
from migrator.translation.write_output import Destination
from tests import strategies
from tests.toys import IDS, VARIANTS, things

BY_NAME = {mapping.name: mapping for mapping in MAPPINGS}
ROOT = Path(__file__).parents[2]
REAL = Path("/work/shared/data/librechat")
FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))

# One function for all examples, so that they use its filled memo: once with the Python versions of projector and
# packer, once with the native ones.
Two = list[tuple[Compiled, AnyProjector]]
COMPILED: dict[int, Two] = {}
References = dict[tuple[str, str], dict[Any, tuple[Match, ...]]]


def find_references(collection: Collection, documents: Sequence[Document], lost: int = 0) -> References:
    """Return results for all lookups: one row for most keys; no row or two rows for one key of `lost`."""
    references: References = {}
    for lookup in collection.lookups:
        keys = sorted(lookup.keys(documents), key=repr)
        references[lookup.name] = {key: tuple(found_rows(lookup, key, number, lost)) for number, key in enumerate(keys)}
    return references


def found_rows(lookup: Lookup, key: Any, number: int, lost: int) -> Iterable[Match]:
    owner = bytes(15) + bytes([number % 3])
    carried: Row = {"user_id": owner, "provider": ("openai", "azure", "x")[number % 3], "model": "gpt-4o"}
    carried["agent_id"] = "agent" if number % 5 == 4 else None
    times = 1 if not lost or number % lost else number % 2 * 2
    row_id = key if lookup.by == "id" else bytes(16)
    return [Match(row_id, {name: carried.get(name) for name in lookup.carry}) for _ in range(times)]


def compiled(collection: Collection, options: Options) -> Two:
    if id(collection) not in COMPILED:
        one = compile_collection(collection, options, Destination(writer=RowWriter))
        two = compile_collection(collection, options, Destination(writer=row_writer_of))
        COMPILED[id(collection)] = [(one, Projector(one.projection)), (two, projector_of(two.projection))]
    return COMPILED[id(collection)]


def compare(collection: Collection, options: Options, documents: list[Document], lost: int = 0) -> list[int]:
    """Translate one batch in all ways. Return the indexes of the documents that are left to the interpreter."""
    raws = [bson.encode(document, codec_options=CODEC_OPTIONS) for document in documents]
    decoded = [bson.decode(raw, CODEC_OPTIONS) for raw in raws]
    kept = [n for n, each in enumerate(decoded) if is_faithful(each, raws[n])]
    translation = Translation(collection, options, find_references(collection, [decoded[n] for n in kept], lost))
    left: list[int] = []
    for one, projector in compiled(collection, options):
        projections, output = projector.project(b"".join(raws), 0, len(raws)), Output()
        slow = one.translate(projections, translation, output)
        assert all(projections.tuples[n] is None for n in range(len(raws)) if n not in kept)
        again = Output()
        assert one.translate(projections, translation, again) == slow  # with everything in the memo
        left = [n for n in kept if n in slow or projections.tuples[n] is None]
        encoder, expected = Encoder(collection), Output()
        for n in (n for n in kept if n not in left):
            source_id = raw_bson.source_id(raws[n])
            result, findings = translation.translate(decoded[n])
            encoder.add(expected, SourceDocument(n, source_id, raws[n], decoded[n]), result)
            encoder.add_findings(expected, n, findings)
        for name in Output.__slots__:
            assert getattr(output, name) == getattr(expected, name), name
            assert getattr(again, name) == getattr(expected, name), name
    return left


# --- the example's mappings ---------------------------------------------------------------------------------------


def check_mapping(data: st.DataObject, name: str, options: Options) -> None:
    documents = data.draw(st.lists(strategies.documents(name), min_size=1, max_size=6))
    compare(BY_NAME[name], options, documents, data.draw(st.sampled_from([0, 3])))


@pytest.mark.parametrize("name", BY_NAME)
@FEW
@given(data=st.data())
def test_any_document_has_the_same_output(data: st.DataObject, name: str, options: Options) -> None:
    """Both ways return the same bytes for any values of known and unknown fields."""
    check_mapping(data, name, options)


@pytest.mark.long
@pytest.mark.parametrize("name", BY_NAME)
@MANY
@given(data=st.data())
def test_many_documents_have_the_same_output(data: st.DataObject, name: str, options: Options) -> None:
    """The same with many examples."""
    check_mapping(data, name, options)


def read_dump(folder: Path, name: str) -> list[Document]:
    plain, packed = folder / f"{name}.bson", folder / f"{name}.bson.gz"
    data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    return [bson.decode(raw, CODEC_OPTIONS) for raw in raw_bson.split_documents(data)]


@pytest.mark.parametrize("name", [name for name, mapping in BY_NAME.items() if mapping.section is None])
def test_demo_has_the_same_output(name: str, options: Options) -> None:
    """The documents of the demo."""
    compare(BY_NAME[name], options, read_dump(ROOT / "fixtures" / "demo", name))


@pytest.mark.skipif(not REAL.exists(), reason="the real data is not available")
@pytest.mark.parametrize("name", ["users", "conversations", "messages", "files", "agents", "memoryentries"])
def test_real_data_has_the_same_output(name: str, options: Options) -> None:
    """The real documents. Few of them need the interpreter."""
    documents = read_dump(REAL, name)
    slow = compare(BY_NAME[name], options, documents)
    assert len(slow) <= len(documents) / 3


def test_usual_messages_need_no_interpreter(options: Options) -> None:
    """No message of a current LibreChat is left to the interpreter."""
    documents = [message for _, said in DocumentGenerator(7).conversations(2000) for message in said]
    assert compare(BY_NAME["messages"], options, documents) == []


@pytest.mark.parametrize("name", BY_NAME)
def test_generated_code_is_readable(name: str, options: Options) -> None:
    """The generated code is valid and short."""
    text = source_of(BY_NAME[name], options)
    compile(text, name, "exec")
    assert len(text.splitlines()) < 400


# --- all kinds of rules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@settings(FEW, max_examples=25)
@given(documents=st.lists(things(), min_size=1, max_size=4), lost=st.sampled_from([0, 3]))
def test_all_kinds_of_rules_have_the_same_output(
    documents: list[Document], lost: int, variant: str, options: Options
) -> None:
    """A collection with all kinds of rules and their options, and variants of it."""
    compare(VARIANTS[variant], options, documents, lost)


@pytest.mark.long
@pytest.mark.parametrize("variant", VARIANTS)
@MANY
@given(documents=st.lists(things(), min_size=1, max_size=4), lost=st.sampled_from([0, 3]))
def test_many_documents_of_the_toy_have_the_same_output(
    documents: list[Document], lost: int, variant: str, options: Options
) -> None:
    """The same with many examples."""
    compare(VARIANTS[variant], options, documents, lost)


ALIKE = [1, True, 1.0, Int64(1), 0, False, 0.0, -0.0, Int64(0), None, "1", b"1", DatetimeMS(0), UUID(int=1).bytes]


@pytest.mark.parametrize("name", ["kind", "zero", "yes", "known", "flag"])
def test_equal_values_of_different_types_are_kept_apart(name: str, options: Options) -> None:
    """Values that are equal in Python but not in BSON have different entries of the memo."""
    base = {"other": str(strategies.USERS[0]), "started": DatetimeMS(5)}
    documents: list[Document] = [
        {"_id": ObjectId(), "thing": f"{number}-{turn}", **base, name: value}
        for turn in range(2)
        for number, value in enumerate(ALIKE)
    ]
    compare(VARIANTS["without generic rules"], options, documents)


# --- parts ----------------------------------------------------------------------------------------------------------


@FEW
@given(st.one_of(st.uuids().map(str), st.sampled_from(IDS), strategies.texts))
def test_only_canonical_uuids_are_recognized(text: str) -> None:
    """A text is a canonical UUID if the UUID restores the text."""
    found = canonical_uuid(text)
    assert (found is not None) == (is_uuid(text) and text == text.lower())
    assert found is None or uuid_text(found) == text


@FEW
@given(st.lists(st.dictionaries(strategies.keys, strategies.values, max_size=3), max_size=12))
def test_documents_encoded_together_equal_each_one(documents: list[Document]) -> None:
    """`encode_all` returns the bytes of each single document."""
    kept = [each for each in documents if "_id" not in each]
    assert list(encode_all(kept)) == [bson.encode(each, codec_options=CODEC_OPTIONS) for each in kept]


@FEW
@given(
    document=st.dictionaries(st.sampled_from("abcdef"), strategies.values),
    changed=st.sets(st.sampled_from("abc")).map(tuple),
    unset=st.sets(st.sampled_from("xyz")).map(tuple),
    variants=st.dictionaries(st.sampled_from("pq"), st.integers(1, 3), max_size=2),
    remainders=st.dictionaries(st.sampled_from("rs"), st.dictionaries(strategies.keys, strategies.values), max_size=1),
)
@example(document={}, changed=(), unset=(), variants={}, remainders={"r": {"x": None, "_id": None}})
def test_projected_residues_equal_packed_residues(
    document: Document, changed: tuple[str, ...], unset: tuple[str, ...], variants: dict[str, int], remainders: Document
) -> None:
    """A residue made from the bytes of a document equals that of `pack_residue`, with its length before it."""
    document = {"_id": ObjectId(), **document}
    setting = {n: value for n, value in document.items() if n != "_id" and (n not in "abc" or n in changed)}
    expected = as_field(pack_residue(setting, list(unset), variants, remainders))
    header = ResidueHeaderCache().pack(unset, tuple(variants.items()), tuple(remainders.items()))
    projection = Projection(frozenset("abc"), (), ())
    for projector in (Projector(projection), projector_of(projection)):
        projections = projector.project(encode(document), 0, 1)
        if projections.tuples[0] is not None:
            assert projections.residue(0, changed, header) == expected


def test_deep_nesting_is_left_to_the_interpreter(options: Options) -> None:
    """A document that is nested too deeply for the rules does not end the batch."""
    nested: Any = "x"
    for _ in range(600):
        nested = [nested]
    document = {
        "_id": ObjectId(),
        "user": strategies.USERS[0],
        "key": "k",
        "value": "v",
        "tier": "free",
        "preferences": nested,
    }
    compare(BY_NAME["users"], options, [{**document, "email": "a@example.org"}])
