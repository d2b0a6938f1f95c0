"""Parses the events of a change stream: raw BSON of the server to small values. Nothing of a document is decoded.

Not here: the stream itself (change_stream.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp

from migrator.documents import raw_bson
from migrator.sources.selection import reason_to_leave_out

INSERT: Final = "insert"
REPLACE: Final = "replace"
UPDATE: Final = "update"
DELETE: Final = "delete"
DROP: Final = "drop"
RENAME: Final = "rename"
DROP_DATABASE: Final = "dropDatabase"
INVALIDATE: Final = "invalidate"
DDL: Final = "ddl"  # create, modify, createIndexes, dropIndexes and others: the description of a collection changed

DOCUMENT_KINDS: Final = frozenset({INSERT, REPLACE, UPDATE, DELETE})
_KINDS: Final = DOCUMENT_KINDS | {DROP, RENAME, DROP_DATABASE, INVALIDATE}
MAX_IMAGE_BYTES: Final = 64 << 10  # a larger document is looked up, so that dirty keys stay small
RAW_OPTIONS: Final[CodecOptions[RawBSONDocument]] = CodecOptions(document_class=RawBSONDocument)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeEvent:
    """One event. The repr shows no document.

    `kind`: one of the constants above. `collection`: "" for a whole database. `source_id`: BSON `{"_id": …}`, empty if
    the event is not about one document. `image`: BSON of the inserted or replacing document, None if it is large or
    unknown. `cluster_time`: seconds << 32 | increment. `transaction`: the same number for all events of a transaction
    of the source; None outside a transaction. `renamed_to`: the new name; "" in another database.
    """

    kind: str
    collection: str
    source_id: bytes = field(default=b"", repr=False)
    image: bytes | None = field(default=None, repr=False)
    cluster_time: int
    transaction: int | None = None
    renamed_to: str = ""

    @property
    def size(self) -> int:
        """Return the bytes that the event takes in memory, approximately."""
        return 400 + len(self.source_id) + len(self.image or b"")


def parse_event(raw: Mapping[str, Any], database: str) -> ChangeEvent | None:
    """Parse an event whose nested documents are `RawBSONDocument`.

    Returns None for an event that does not concern the migration: of another database, or of `system.*`.
    """
    operation = raw["operationType"]
    kind = operation if operation in _KINDS else DDL
    namespace = raw.get("ns") or {}
    name = namespace.get("coll", "")
    if kind != INVALIDATE and (namespace.get("db") != database or reason_to_leave_out(name)):
        return None
    return ChangeEvent(
        kind=kind,
        collection=name,
        source_id=raw_bson.source_id(bytes(raw["documentKey"].raw)) if kind in DOCUMENT_KINDS else b"",
        image=_image(raw) if kind in (INSERT, REPLACE) else None,
        cluster_time=to_integer(raw["clusterTime"]),
        transaction=_transaction_number(raw) if "txnNumber" in raw else None,
        renamed_to=_renamed_to(raw, database) if kind == RENAME else "",
    )


def _image(raw: Mapping[str, Any]) -> bytes | None:
    document = raw.get("fullDocument")
    # The driver returns a memoryview for a large document.
    return bytes(document.raw) if document is not None and len(document.raw) <= MAX_IMAGE_BYTES else None


def _transaction_number(raw: Mapping[str, Any]) -> int:
    """Return 63 bits of a digest: the server's number is unique in a session of a client only."""
    session = raw.get("lsid")
    digest = sha256((session.raw if session is not None else b"") + b"%d" % raw["txnNumber"]).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _renamed_to(raw: Mapping[str, Any], database: str) -> str:
    target = raw["to"]
    return str(target["coll"]) if target["db"] == database and not reason_to_leave_out(target["coll"]) else ""


def to_integer(time: Timestamp) -> int:
    """Return a cluster time as one number: seconds << 32 | increment."""
    return int(time.time) << 32 | int(time.inc)


def describe_event(raw: Mapping[str, Any]) -> bytes:
    """Return BSON that identifies an event: `token`, `time`, and `digest` of what a later event cannot have in common.

    A server that loses events in a crash can give their tokens to other events.
    """
    parts = [raw["operationType"].encode(), str(raw.get("wallTime")).encode()]
    parts += [raw[name].raw for name in ("ns", "documentKey") if name in raw]
    digest = sha256(b"\0".join(parts)).digest()
    return bson.encode({"token": raw["_id"], "time": raw["clusterTime"], "digest": digest})


def event_time(described: bytes) -> datetime:
    """Return the cluster time of an event that `describe_event` described, in UTC."""
    return datetime.fromtimestamp(bson.decode(described)["time"].time, UTC)


@dataclass(slots=True)
class Fragments:
    """Joins the fragments of an event that the server split because it is larger than 16 MB."""

    fields: dict[str, Any] = field(default_factory=dict)

    def add(self, raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Add a fragment. Return the event after its last fragment, with the `_id` of the last; None before it.

        Only the fields that are used are kept, and no large document, so that memory stays bounded.
        """
        part = raw.get("splitEvent")
        if part is None or part.raw == _UNSPLIT:
            return raw
        if part["fragment"] == 1:
            self.fields = {}
        for name, value in raw.items():
            is_large = isinstance(value, RawBSONDocument) and name in _CONTENT and len(value.raw) > MAX_IMAGE_BYTES
            if name not in _UNUSED and not is_large:
                self.fields[name] = value
        if part["fragment"] < part["of"]:
            return None
        event, self.fields = self.fields, {}
        return event


_UNSPLIT: Final = bson.encode({"fragment": 1, "of": 1})
_CONTENT: Final = frozenset({"fullDocument"})
_UNUSED: Final = frozenset({"splitEvent", "updateDescription", "fullDocumentBeforeChange"})


def is_key_string(token: bytes) -> bool:
    """Return whether a resume token contains a cluster time, which the server compares with its history.

    Tokens of MongoDB do: hexadecimal text that begins with the type of a timestamp. Other tokens may be mere positions.
    """
    return token_time(token) is not None


def token_time(token: bytes) -> int | None:
    """Return the cluster time of a resume token in seconds since 1970; None if it is not a key string."""
    found = token_cluster_time(token)
    return None if found is None else found >> 32


def token_cluster_time(token: bytes) -> int | None:
    """Return the cluster time of a resume token: seconds << 32 | increment; None if it is not a key string."""
    found = _KEY_STRING.match(token)
    return int(found[1], 16) if found else None


# BSON {"_data": "82…"}: length of the document, type, name, length of the text; then seconds and increment.
_KEY_STRING: Final = re.compile(rb".{4}\x02_data\x00.{4}82([0-9A-F]{16})", re.DOTALL)
