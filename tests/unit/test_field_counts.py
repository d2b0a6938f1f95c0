"""The fields of documents are counted as a plain walk counts them, by both versions, for any bytes."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from migrator.documents import native
from migrator.documents.codec import decode, encode
from migrator.documents.field_counts import FieldCounts, PythonFieldCounter, take_counts
from migrator.execution.tasks import TaskResult
from migrator.workflows.profile import MOST_PATHS, Profiler
from tests import strategies

SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
documents = st.dictionaries(
    st.one_of(st.sampled_from(["_id", "a", "b"]), strategies.keys), strategies.values, max_size=6
).map(strategies.build)
needs_native = pytest.mark.skipif(native.FieldCounter is None, reason="built without a C compiler")
versions = pytest.mark.parametrize(
    "version", [PythonFieldCounter, pytest.param(native.FieldCounter, marks=needs_native)]
)


def counted(version: Any, data: bytes, most: int = 10_000, longest: int = 500) -> tuple[Any, ...]:
    counter = version(most, longest)
    counter.observe(data)
    return counter.documents, counter.beyond, counter.fields()


@versions
def test_each_document_counts_once_for_a_path_and_for_a_type(version: Any) -> None:
    """The elements of an array are one path; containers come after the fields beside them, the last one first."""
    found: list[dict[str, Any]] = [
        {"a": [1, 2, "x"], "b": {"c": 1.5}, "d": None},
        {"a": [], "d": True},
        {"a": [[{"e": 1}], [{"e": 2}]]},
    ]
    assert counted(version, b"".join(encode(each) for each in found)) == (
        3,
        0,
        [
            ("a", 3, {4: 3}),
            ("b", 1, {3: 1}),
            ("d", 2, {8: 1, 10: 1}),
            ("b.c", 1, {1: 1}),
            ("a[]", 2, {2: 1, 4: 1, 16: 1}),
            ("a[][]", 1, {3: 1}),
            ("a[][].e", 1, {16: 1}),
        ],
    )


@versions
def test_paths_are_limited_in_number_and_in_length(version: Any) -> None:
    many = encode({f"k{number}": 1 for number in range(30)})
    documents, beyond, fields = counted(version, many * 2, most=20)
    assert (documents, beyond, len(fields)) == (2, 20, 20)
    deep: Any = 1
    for _ in range(50):
        deep = {"level": [deep]}
    _, _, fields = counted(version, encode({"a": deep}), longest=40)
    assert fields[-1][0].endswith("…")
    assert all(len(path) <= 41 for path, *_ in fields)


@needs_native
@SETTINGS
@given(st.lists(documents, min_size=1, max_size=10), st.randoms(use_true_random=False), st.booleans())
def test_both_versions_agree(found: list[dict[str, Any]], chance: random.Random, damaged: bool) -> None:
    check_both(found, chance, damaged)


def check_both(found: list[dict[str, Any]], chance: random.Random, damaged: bool) -> None:
    """Damage some bytes of the documents, if asked for, and compare with small limits."""
    data = b""
    for document in found:
        raw = bytearray(encode(document))
        for _ in range(chance.randrange(3) if damaged else 0):
            if len(raw) > 5:
                raw[chance.randrange(4, len(raw))] = chance.choice([0, 1, 2, 3, 5, 15, 127, 128, 255])
        data += raw
    for limits in ((10_000, 500), (10, 12)):
        python, compiled = (counted(each, data, *limits) for each in (PythonFieldCounter, native.FieldCounter))
        assert python == compiled, limits


@SETTINGS
@given(st.lists(documents, max_size=10))
@example([{"": {"": None}}])
def test_the_counts_are_those_of_the_decoded_documents(found: list[dict[str, Any]]) -> None:
    """Documents without the special objects of the driver, whose fields it hides."""
    plain = [each for each in found if not any(name in str(each) for name in ("$ref", "$id", "DBRef", "Code("))]
    _, _, fields = counted(PythonFieldCounter, b"".join(map(encode, plain)), longest=10**6)
    present: Counter[str] = Counter()
    for document in plain:
        present.update({path for path, _ in _paths(decode(encode(document)), None)})
    counts: Counter[str] = Counter()
    for path, documents, _ in fields:
        counts[path] += documents
    ambiguous = {path for path in present if "." in path or "[]" in path}  # of a key with a dot, or of another path
    assert {k: v for k, v in counts.items() if k not in ambiguous} == {
        k: v for k, v in present.items() if k not in ambiguous
    }
    assert counts.keys() == present.keys()


def _paths(value: Any, path: str | None) -> Any:
    """Yield the paths below `path`; it is None for the document, and not the empty text, which is the path of a key."""
    items = value.items() if isinstance(value, dict) else ((None, each) for each in value)
    for name, item in items:
        below = f"{path}[]" if name is None else name if path is None else f"{path}.{name}"
        yield below, item
        if isinstance(item, dict | list):
            yield from _paths(item, below)


def test_results_are_added_in_the_order_of_the_tasks() -> None:
    """Whatever task ends first, the fields have the same order; the first of them are listed."""
    counters = [PythonFieldCounter(10_000, 500) for _ in range(3)]
    for number, each in enumerate(counters):
        each.observe(encode({f"{number}.{index}": 1 for index in range(300)}))
    results = [
        TaskResult(documents=1, bytes=1, number=number, fields=take_counts(each, "notes", 1))
        for number, each in enumerate(counters)
    ]
    profiler = Profiler()
    for _ in range(2):  # a repeated load counts nothing twice
        profiler.begin(["notes"])
        for number in (2, 0, 1):
            profiler.add(results[number])
    found = profiler.statistics["notes"]
    assert (found.documents, found.bytes, found.beyond) == (3, 3, 900 - MOST_PATHS)
    listed = found.as_json(None)
    assert [each["path"] for each in listed[:301]] == [f"0.{index}" for index in range(300)] + ["1.0"]
    assert len(listed) == MOST_PATHS
    assert isinstance(results[0].fields, FieldCounts)


@needs_native
@pytest.mark.long
@settings(SETTINGS, max_examples=5000)
@given(st.lists(documents, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_both_versions_agree_on_many(found: list[dict[str, Any]], chance: random.Random) -> None:
    check_both(found, chance, True)
