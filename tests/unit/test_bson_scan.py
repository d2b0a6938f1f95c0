"""Compiled code and Python find the same ends of documents, in sound and in damaged data."""

from __future__ import annotations

import bson
import pytest
from bson import ObjectId
from hypothesis import example, given
from hypothesis import strategies as st

from migrator.documents import native
from migrator.sources.bson_stream import scan_by_python, scan_documents

documents = st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9) | st.text(max_size=9)), max_size=6)
damages = st.none() | st.tuples(st.integers(0, 200), st.integers(0, 255))


@given(documents, damages, st.integers(0, 60), st.integers(0, 60), st.integers(0, 8))
@example([{}, {"a": 1}], None, 0, 0, 8)
@example([{"a": 1}], (3, 255), 0, 0, 8)  # a negative length
@example([{"a": 1}], (0, 4), 0, 0, 8)  # a length below that of an empty document
def test_both_find_the_same(
    made: list[dict[str, object]], damage: tuple[int, int] | None, skipped: int, cut: int, most: int
) -> None:
    """The end and the number of documents are the same for any range, also one that begins inside a document."""
    data = bytearray(b"".join(map(bson.encode, made)))
    if damage is not None and data:
        data[damage[0] % len(data)] = damage[1]
    start = min(skipped, len(data))
    stop = max(start, len(data) - cut)
    expected = scan_by_python(data, start, stop, most)
    if native.FieldCounter is not None:
        assert native.scan_documents(data, start, stop, most) == expected
    assert scan_documents(data, start, stop, most) == expected


values = st.text(max_size=3) | st.builds(ObjectId) | st.none()


@pytest.mark.skipif(native.FieldCounter is None, reason="built without a C compiler")
@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "ab", "b"]), st.one_of(values, values, st.integers(0, 9)))), damages
)
@example([{"a": ""}, {"a": None}, {}, {"ab": 1, "a": "x"}, {"a": "x"}, {"a": "\0é"}], None)
@example([{"a": "x"}], (14, 255))  # not UTF-8
@example([{"a": "x"}], (0, 200))  # longer than the batch
def test_distinct_values_of_a_field(made: list[dict[str, object]], damage: tuple[int, int] | None) -> None:
    """Texts and ObjectIds, each once; None if a document has another value. Damaged data cause no more than that."""
    data = bytearray(b"".join(map(bson.encode, made)))
    found = [each["a"] for each in made if each.get("a") is not None]
    if damage is not None and data:
        data[damage[0] % len(data)] = damage[1]
    distinct = native.distinct_values(bytes(data), b"a")
    if damage is None or not data:
        expected = {value.binary if isinstance(value, ObjectId) else value for value in found}
        assert distinct == (None if any(isinstance(value, int) for value in found) else expected)


def test_a_range_outside_of_the_data_is_refused() -> None:
    """Compiled code reads nothing outside of the data."""
    if native.FieldCounter is None:
        pytest.skip("no C compiler")
    for start, stop in ((-1, 5), (0, 6)):
        with pytest.raises(IndexError):
            native.scan_documents(b"\x05\0\0\0\0", start, stop, 1)
