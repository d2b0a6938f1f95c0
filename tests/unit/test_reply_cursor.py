"""The cursor for raw batches reads replies as the driver does, and leaves those of another form to it."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Int64, Timestamp
from bson.errors import BSONError
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.cursor import RawBatchCursor
from pymongo.message import _OpMsg

from migrator.documents import native
from migrator.sources.reply_cursor import ReplyCursor

FIELDS = {"cursor": {"firstBatch": 1, "nextBatch": 1}}  # as the driver asks for them
documents = st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9) | st.text(max_size=9)), max_size=12)
needs_native = pytest.mark.skipif(native.FieldCounter is None, reason="built without a C compiler")
COLLECTION = MongoClient[Any](connect=False)["db"]["c"]


def reply_of(batch: str, made: list[dict[str, Any]]) -> dict[str, Any]:
    time = {"clusterTime": Timestamp(1, 2), "signature": {"hash": b"0" * 20, "keyId": Int64(7)}}
    cursor = {"id": Int64(2**40), "ns": "db.c", batch: made, "partialResultsReturned": True}
    return {"cursor": cursor, "ok": 1.0, "$clusterTime": time, "operationTime": Timestamp(1, 2)}


def unpack(kind: type[RawBatchCursor[Any]], payload: bytes) -> Any:
    """Return what a cursor makes of a reply; the type of the error if it is damaged."""
    try:
        found = kind(COLLECTION)._unpack_response(_OpMsg(0, memoryview(payload)), 7, None, FIELDS)  # type: ignore[arg-type]
        return [bson.decode(bson.encode(each)) for each in found]
    except (BSONError, KeyError, TypeError, AttributeError) as error:
        return type(error)


@given(documents, st.sampled_from(["firstBatch", "nextBatch"]))
def test_replies_are_read_as_the_driver_reads_them(made: list[dict[str, Any]], batch: str) -> None:
    """For batches of any size, also empty ones, the first and the next ones."""
    payload = bson.encode(reply_of(batch, made))
    found = unpack(ReplyCursor, payload)
    assert found == unpack(RawBatchCursor, payload)
    assert found[0]["cursor"][batch] == ([b"".join(map(bson.encode, made))] if made else [])


@needs_native
@given(documents)
def test_a_reply_is_taken_apart_without_a_loss(made: list[dict[str, Any]]) -> None:
    """What is left is the reply with an empty batch."""
    whole, empty = reply_of("nextBatch", made), reply_of("nextBatch", [])
    expected = (bson.encode(empty), "nextBatch", b"".join(map(bson.encode, made)))
    assert native.split_reply(bson.encode(whole)) == expected


@pytest.mark.parametrize(
    "reply",
    [
        {"ok": 0.0, "errmsg": "cursor id 7 not found", "code": 43},
        {"cursor": {"id": Int64(0), "ns": "db.c"}, "ok": 1.0},
        {"cursor": "none", "ok": 1.0},
        {"cursor": {"firstBatch": {"a": {}}, "id": Int64(0)}, "ok": 1.0},
        {"cursor": {"firstBatch": [1], "id": Int64(0)}, "ok": 1.0},
        {},
    ],
)
def test_other_replies_are_left_to_the_driver(reply: dict[str, Any]) -> None:
    """An error, a reply without a batch, and one whose batch has other items than documents."""
    payload = bson.encode(reply)
    assert native.split_reply(payload) is None
    assert unpack(ReplyCursor, payload) == unpack(RawBatchCursor, payload)


@needs_native
@given(documents, st.integers(0, 400), st.integers(0, 255), st.integers(0, 40))
def test_damaged_replies_are_read_within_their_bytes(
    made: list[dict[str, Any]], place: int, value: int, cut: int
) -> None:
    """A changed or missing byte: the parts together are never longer than the reply."""
    payload = bytearray(bson.encode(reply_of("firstBatch", made)))
    payload[place % len(payload)] = value
    found = native.split_reply(bytes(payload[: len(payload) - cut]))
    assert found is None or len(found[0]) + len(found[2]) <= len(payload)
