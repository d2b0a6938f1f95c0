"""The compiled profiler and sketch agree with the Python versions for any bytes, and sketches keep their promises."""

from __future__ import annotations

import random
from typing import Any

import bson
import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrator.documents.codec import encode
from migrator.scaffold import native
from migrator.scaffold.profiler import PythonProfiler
from migrator.scaffold.sketch import PythonSketch, compare, hash_text, hash_value
from tests import strategies

LIMITS = {"most_nodes": 40, "most_children": 5, "most_values": 32, "most_keys": 64, "most_slots": 100}
SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
documents = st.dictionaries(
    st.one_of(st.sampled_from(["_id", "a", "b"]), strategies.keys), strategies.values, max_size=6
).map(strategies.build)
needs_native = pytest.mark.skipif(native.Profiler is None, reason="built without a C compiler")


def described(profiler: Any) -> list[dict[str, Any]]:
    """The statistics with the contents of their sketches that both versions show."""
    return [
        {key: _shown(value) if key in ("values", "keys") else value for key, value in node.items()}
        for node in profiler.nodes()
    ]


def _shown(sketch: Any) -> tuple[int, int, int]:
    return sketch.level, sketch.kept, sketch.distinct


def both(data: bytes) -> tuple[Any, Any]:
    profilers = PythonProfiler([("_id",)], **LIMITS), native.Profiler([("_id",)], **LIMITS)
    for each in profilers:
        each.observe(data)
    return profilers


@needs_native
@SETTINGS
@given(st.lists(documents, max_size=20))
def test_both_profilers_agree_on_documents(found: list[dict[str, Any]]) -> None:
    python, compiled = both(b"".join(map(encode, found)))
    assert (python.documents, python.damaged) == (compiled.documents, compiled.damaged) == (len(found), 0)
    assert described(python) == described(compiled)
    assert python.left == compiled.left


@needs_native
@SETTINGS
@given(st.lists(documents, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_both_profilers_agree_on_damaged_documents(found: list[dict[str, Any]], chance: random.Random) -> None:
    check_damaged(found, chance)


def check_damaged(found: list[dict[str, Any]], chance: random.Random) -> None:
    """Damage some bytes of the documents, and compare."""
    data = b""
    for document in found:
        raw = bytearray(encode(document))
        for _ in range(chance.randrange(3)):
            if len(raw) > 5:
                raw[chance.randrange(4, len(raw))] = chance.choice([0, 1, 2, 3, 5, 15, 127, 128, 255])
        data += raw
    python, compiled = both(data)
    assert (python.documents, python.damaged) == (compiled.documents, compiled.damaged)
    assert described(python) == described(compiled)


@needs_native
def test_both_versions_hash_alike() -> None:
    chance = random.Random(1)
    texts = ["", "a", "12345678", "x" * 64, "65f0c0de0000000000000000", "11111111-1111-4111-8111-111111111111", "é"]
    texts += ["".join(chance.choices("abcdef0123456789-", k=chance.randrange(40))) for _ in range(200)]
    python, compiled = PythonProfiler([], **LIMITS), native.Profiler([], **LIMITS)
    for each in (python, compiled):
        each.observe(encode({"a": texts}))
    ours, theirs = (each.nodes()[1]["values"] for each in (python, compiled))
    kept = [text for text in texts if hash_text(text) in ours]
    assert kept
    assert kept == [text for text in texts if hash_text(text) in theirs]


def test_an_object_id_equals_its_text() -> None:
    profiler = PythonProfiler([], **LIMITS)
    some = ObjectId("65f0c0de0000000000000000")
    profiler.observe(bson.encode({"a": some}) + bson.encode({"b": str(some)}))
    one, other = profiler.nodes()
    assert compare(one["values"], other["values"]) == (1, 1)


@pytest.mark.parametrize("sketch", [PythonSketch, pytest.param(native.Sketch, marks=needs_native)])
def test_a_sketch_estimates_and_compares_in_bounded_memory(sketch: Any) -> None:
    """50,000 values in a sketch of 4,096 slots: 2,048 hashes at most, errors as stated (2.2 % at one sigma)."""
    hashes = [hash_value(0x12, number.to_bytes(8, "little")) for number in range(60_000)]
    large, small, shifted = sketch(1 << 12), sketch(1 << 12), sketch(1 << 12)
    for value in hashes[:50_000]:
        large.add(value)
    for value in hashes[49_000:50_000]:
        small.add(value)
    for value in hashes[10_000:]:
        shifted.add(value)
    assert small.distinct == 1000
    assert large.kept <= 2048
    assert abs(large.distinct - 50_000) < 50_000 * 0.11
    compared, found = compare(small, large)
    assert compared == found
    assert 0 < compared < 100
    compared, found = compare(large, shifted)
    assert abs(found / compared - 0.8) < 0.06


@pytest.mark.parametrize("profiler", [PythonProfiler, pytest.param(native.Profiler, marks=needs_native)])
def test_all_sketches_together_stay_in_their_budget(profiler: Any) -> None:
    """300 fields with 200 distinct values each would take 512 slots each."""
    found = profiler(
        [], **{**LIMITS, "most_nodes": 1000, "most_children": 1000, "most_values": 1024, "most_slots": 20_000}
    )
    for number in range(200):
        found.observe(encode({f"field{each}": number * 1000 + each for each in range(300)}))
    assert 0 <= found.left < 1024
    nodes = found.nodes()
    assert sum(node["values"].kept for node in nodes) < (20_000 + 300 * 16) / 2
    assert all(abs(node["values"].distinct - 200) < 200 for node in nodes)


@needs_native
@pytest.mark.long
@settings(SETTINGS, max_examples=5000)
@given(st.lists(documents, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_both_profilers_agree_on_many(found: list[dict[str, Any]], chance: random.Random) -> None:
    check_damaged(found, chance)
