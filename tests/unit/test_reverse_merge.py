"""The merge of a changed row into a document: what the change does not touch stays, and what it touches is taken."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings import MAPPINGS
from migrator.documents.codec import Document, same
from migrator.reversing.births import contained_objectid, new_source_id
from migrator.reversing.merge import change_list, merge, override

VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3)
NAMES = st.sampled_from("abcd")
DOCUMENTS = st.recursive(
    st.dictionaries(NAMES, VALUES, max_size=4), lambda inner: st.dictionaries(NAMES, VALUES | inner, max_size=4)
)
USERS = next(mapping for mapping in MAPPINGS if mapping.name == "users")


@settings(max_examples=300)
@given(DOCUMENTS, DOCUMENTS)
def test_no_change_changes_nothing(document: Document, fields: Document) -> None:
    assert same(merge(document, fields, fields), document)


@settings(max_examples=300)
@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_merged_fields(document: Document, old: Document, new: Document) -> None:
    """A field that no row restores stays; one that is the same before and after stays; a new value is taken."""
    merged = merge(document, old, new)
    for name in {*document, *old, *new}:
        if (name not in old and name not in new) or (name in old and name in new and same(old[name], new[name])):
            assert same(merged.get(name, "-"), document.get(name, "-")), name
        elif name in new and type(document.get(name)) is not dict:
            assert same(merged[name], new[name]), name
        elif name not in new:
            assert name not in merged


@settings(max_examples=300)
@given(DOCUMENTS, DOCUMENTS)
def test_the_merge_of_a_restored_document(old: Document, new: Document) -> None:
    """A document that is what its row restores becomes what the new row restores, in both ways."""
    for merged in (merge(old, old, new), override(old, old, new)):
        assert merged.keys() == new.keys()
        assert all(equal(merged[name], value) for name, value in new.items())


def equal(one: Any, other: Any) -> bool:
    """Returns whether two values are the same, with the fields of documents in any order."""
    if type(one) is dict and type(other) is dict:
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    return same(one, other)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 9), unique=True), st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_changed_lists(listed: list[int], old: set[int], new: set[int]) -> None:
    """Members that are gone are removed, new ones are added once, and all others keep their places."""
    found = change_list(listed, sorted(old), sorted(new))
    if listed == sorted(old):
        assert found == sorted(new)
        return
    assert set(found) == (set(listed) - (old - new)) | (new - old)
    kept = [each for each in listed if each in found]
    assert found[: len(kept)] == kept
    assert len(found) == len(set(found))


def test_members_that_are_no_ids_stay() -> None:
    assert change_list([{"a": 1}, 1, 2], [1], [3]) == [{"a": 1}, 2, 3]


@pytest.mark.parametrize("created", [0, 1_700_000_000_999_999, 2**62, -5])
def test_new_ids(created: int) -> None:
    """The `_id` of a new row is always the same; a UUID that contains an ObjectId gives that."""
    found = ObjectId()
    row_id = USERS.key.uuid(found)
    assert contained_objectid(USERS, row_id) == found
    row = {"id": bytes(range(16)), "created_at": created}
    assert new_source_id(USERS, row) == new_source_id(USERS, dict(row))
    assert len(new_source_id(USERS, row)) == 22
