"""Member lists: removed from residues if the ledger can restore them, and added again."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from mappings import conversations
from migrator.documents import native
from migrator.documents.codec import decode, encode, same
from migrator.documents.residue import add_residue, changes_of, close_residue, open_residue, pack_residue
from migrator.documents.residue import raw_residue as whole
from migrator.reconciliation.membership import compact, compact_residue, expand
from migrator.translation.interpreter import rebuild
from tests import strategies

(RULE,) = conversations.mapping.member_lists
IDS = [ObjectId(f"65a0000000000000000000{number:02d}") for number in range(5)]
MEMBERS = st.integers(0, 5).map(lambda count: IDS[:count])
LISTS = st.one_of(MEMBERS, st.lists(st.sampled_from(IDS), max_size=5), strategies.values)
FIELDS = st.dictionaries(st.sampled_from(["title", "$ref", "$id", "x"]), strategies.values, max_size=3)


def taken(residue: bytes | None, members: list[ObjectId]) -> bytes | None:
    """The residue without the list, as the rule and the compiled code return it."""
    parts = open_residue(residue)
    compact(RULE, parts, members)
    found = close_residue(parts)
    shuffled = b"".join(each.binary for each in reversed(members))
    assert compact_residue(RULE, residue, shuffled) == found
    return found


def put(residue: bytes | None, members: list[ObjectId]) -> bytes | None:
    parts = open_residue(residue)
    expand(RULE, parts, members)
    return close_residue(parts)


@given(FIELDS, LISTS, MEMBERS, st.sampled_from([[], ["gone"], ["gone", "more"]]))
def test_list_is_restored(fields: dict[str, Any], listed: Any, members: list[ObjectId], unset: list[str]) -> None:
    """The field is restored exactly. Compacting twice equals compacting once; expanding adds the list again."""
    residue = pack_residue(decode(encode(fields)) | {"messages": listed}, unset)
    kept = taken(residue, members)
    assert taken(kept, members) == kept
    given_back = list(members)
    for count in changes_of(kept)[2].values():
        given_back = given_back[:count]
    back = dict.fromkeys(unset, 1)
    document = add_residue({**back, "messages": given_back}, kept)
    assert same(document["messages"], decode(encode({"": listed}))[""])
    again = add_residue({**back, "messages": None}, put(kept, members))
    assert {name: encode({"": again[name]}) for name in again} == {
        name: encode({"": value}) for name, value in document.items()
    }


@pytest.mark.parametrize(
    ("listed", "left"),
    [
        (IDS[:3], None),
        (IDS[:2], {"first": {"messages": 2}}),
        ([], {"set": {"messages": []}}),
        (IDS[:4], {"set": {"messages": IDS[:4]}}),
        (IDS[1:3], {"set": {"messages": IDS[1:3]}}),
        (IDS[2::-1], {"set": {"messages": IDS[2::-1]}}),
        (None, {"set": {"messages": None}}),
    ],
)
def test_what_is_left(listed: Any, left: Any) -> None:
    """A list of all members leaves nothing, a list of the first members their number; any other list is kept."""
    kept = taken(pack_residue({"messages": listed}, []), IDS[:3])
    assert (None if kept is None else decode(kept)) == left


def test_first_of_the_members_are_rebuilt() -> None:
    """`rebuild` returns as many members as the residue has."""
    row: dict[str, Any] = {column.name: None for column in conversations.mapping.table.columns}
    row |= {"id": bytes(16), "user_id": bytes(16), "provider": "openai", "model": "m", "archived": False}
    row |= {"created_at": 0, "updated_at": 0, RULE.row_key: IDS[:3]}
    for residue, expected in ((None, IDS[:3]), (encode({"first": {"messages": 2}}), IDS[:2])):
        assert rebuild(conversations.mapping, {"_id": 1}, row, residue)["messages"] == expected


def test_raw_documents_are_not_changed() -> None:
    """The residue of a raw document contains its list."""
    raw = encode({"_id": 1, "messages": IDS})
    assert taken(whole(raw), IDS) == put(whole(raw), IDS) == whole(raw)


@pytest.mark.skipif(native.FieldCounter is None, reason="built without a C compiler")
def test_usual_residues_are_compacted_by_compiled_code() -> None:
    """All members, the first of them, others, and a residue with other parts; a second length is left to the rule."""
    ids = [each.binary for each in IDS]
    for listed, members in ((IDS, ids), (IDS[:2], ids), (IDS[1:], ids), ([], []), ([], ids)):
        for fields, unset in (({}, []), ({"x": [1]}, ["gone"])):
            residue = pack_residue({**fields, "messages": listed}, unset)
            assert residue is not None
            assert native.compact_list(residue, b"messages", b"".join(members)) is not NotImplemented
    twice = close_residue({"set": {"messages": IDS}, "first": {"other": 1}})
    assert twice is not None
    assert native.compact_list(twice, b"messages", b"".join(ids)) is NotImplemented
