"""Events of a change stream that SecantusDB does not send: split events, tokens of MongoDB, other databases."""

from __future__ import annotations

from typing import Any

import bson
from bson import Timestamp
from bson.raw_bson import RawBSONDocument

from migrator.sources.base import Position
from migrator.sources.change_events import (
    DROP,
    RENAME,
    Fragments,
    describe_event,
    is_key_string,
    parse_event,
    token_time,
)
from migrator.sources.change_history import resume_position


def raw(**fields: Any) -> Any:
    return RawBSONDocument(bson.encode({"_id": {"_data": "00"}, "clusterTime": Timestamp(5, 6), **fields}))


INSERTED = {
    "operationType": "insert", "ns": {"db": "app", "coll": "a"}, "documentKey": {"shard": 1, "_id": 7},
    "fullDocument": {"_id": 7},
}  # fmt: skip


def test_fragments() -> None:
    """Fragments are joined; a large document is not kept, because it is looked up; an interrupted event starts anew."""
    first = raw(operationType="insert", ns={"db": "app", "coll": "a"}, splitEvent={"fragment": 1, "of": 2})
    large = {"_id": 7, "text": "x" * 100_000}
    last = raw(documentKey={"_id": 7}, fullDocument=large, splitEvent={"fragment": 2, "of": 2})
    fragments = Fragments()
    assert fragments.add(first) is None
    assert fragments.add(first) is None
    whole = fragments.add(last)
    assert whole is not None
    event = parse_event(whole, "app")
    assert event is not None
    assert (event.source_id, event.image, event.cluster_time) == (bson.encode({"_id": 7}), None, 5 << 32 | 6)
    assert not fragments.fields
    assert fragments.add(raw(**INSERTED, splitEvent={"fragment": 1, "of": 1})) is not None


def test_event_of_a_sharded_collection() -> None:
    """The document key has the fields of the shard key, too."""
    event = parse_event(raw(**INSERTED), "app")
    assert event is not None
    assert event.source_id == bson.encode({"_id": 7})
    assert event.image == bson.encode({"_id": 7})
    assert "_id" not in repr(event)


def test_other_namespaces() -> None:
    assert parse_event(raw(**{**INSERTED, "ns": {"db": "other", "coll": "a"}}), "app") is None
    assert parse_event(raw(**{**INSERTED, "ns": {"db": "app", "coll": "system.views"}}), "app") is None
    renamed = raw(operationType="rename", ns={"db": "app", "coll": "a"}, to={"db": "other", "coll": "a"})
    event = parse_event(renamed, "app")
    assert event is not None
    assert (event.kind, event.collection, event.renamed_to) == (RENAME, "a", "")
    dropped = parse_event(raw(operationType=DROP, ns={"db": "app", "coll": "a"}), "app")
    assert dropped is not None
    assert dropped.source_id == b""


def test_transaction_number() -> None:
    """The number of a transaction is that of its session, too."""
    found = [
        parse_event(raw(**INSERTED, lsid={"id": session}, txnNumber=bson.Int64(number)), "app")
        for session, number in ((1, 1), (1, 1), (1, 2), (2, 1))
    ]
    one, same, *others = [each.transaction if each is not None else None for each in found]
    assert one == same
    assert len({one, *others}) == 3
    assert all(each is not None and 0 <= each < 1 << 63 for each in (one, *others))


def test_tokens() -> None:
    """A key string is resumed as it is; another token by the last event, whose existence was checked."""
    key_string = bson.encode({"_data": "826569B400000000012B0229296E04"})
    other = bson.encode({"_data": "35000000107300030000001174000d000000"})
    assert is_key_string(key_string)
    assert token_time(key_string) == 0x6569B400
    assert not is_key_string(other)
    assert not is_key_string(bson.encode({"_data": "82"}))
    last = describe_event(raw(**INSERTED))
    assert resume_position(Position(token=key_string), last).token == key_string
    assert resume_position(Position(token=other), last).token == bson.encode({"_data": "00"})
    assert resume_position(Position(token=other), None).token == other
