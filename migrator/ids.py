"""Converts identifiers: ObjectId ↔ UUIDv7; a string that is a UUID stays; everything else becomes a UUIDv5.

Pure functions. Not here: which field of a document is its ID, and which fields are references (mappings).
"""

from __future__ import annotations

import re
import uuid
from functools import lru_cache
from hashlib import sha1, sha256
from typing import Any

from bson import Code, ObjectId, json_util

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID = re.compile(_CANONICAL.pattern, re.IGNORECASE)
_HEX24 = re.compile(r"[0-9a-f]{24}", re.IGNORECASE)


@lru_cache(maxsize=256)
def collection_tag(collection: str) -> int:
    """Returns the 10 bits that distinguish the UUIDs of collections: the first bits of SHA-256 of the name."""
    return int.from_bytes(sha256(collection.encode()).digest()[:2], "big") >> 6


def objectid_to_uuid(oid: bytes, tag: int) -> bytes:
    """Converts a 12-byte ObjectId and a 10-bit tag to the 16 bytes of a UUIDv7. Order and all bits are preserved."""
    seconds = int.from_bytes(oid[:4], "big")
    free = int.from_bytes(oid[4:], "big") << 10 | tag
    value = seconds * 1000 << 80 | 7 << 76 | free >> 62 << 64 | 2 << 62 | free & (1 << 62) - 1
    return value.to_bytes(16, "big")


def uuid_to_objectid(value: bytes) -> tuple[bytes, int] | None:
    """Returns the ObjectId and the tag of a UUIDv7 that `objectid_to_uuid` made; None for any other UUID."""
    number = int.from_bytes(value, "big")
    seconds, rest = divmod(number >> 80, 1000)
    if number >> 76 & 15 != 7 or number >> 62 & 3 != 2 or rest or seconds >> 32:
        return None
    free = (number >> 64 & 0xFFF) << 62 | number & (1 << 62) - 1
    return seconds.to_bytes(4, "big") + (free >> 10).to_bytes(8, "big"), free & 0x3FF


@lru_cache(maxsize=256)
def _namespace(collection: str) -> bytes:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"mongodb:{collection}").bytes


def is_uuid(text: str) -> bool:
    """Whether a string is a UUID with hyphens, in upper or lower case."""
    return _UUID.fullmatch(text) is not None


def is_objectid_text(text: str) -> bool:
    """Whether a string is 24 hexadecimal digits."""
    return _HEX24.fullmatch(text) is not None


def uuid_of(collection: str, value: Any, *, objectid: bool = False) -> bytes:
    """Returns the target ID (16 bytes) of any BSON value in `collection`.

    `objectid`: the field has the type ObjectId in the data model, so that 24 hexadecimal digits are read as one.
    """
    if isinstance(value, ObjectId):
        return objectid_to_uuid(value.binary, collection_tag(collection))
    if not isinstance(value, str) or isinstance(value, Code):  # Code is a subclass of str
        return _uuid5(_namespace(collection), canonical_json(value))
    if is_uuid(value):
        return bytes.fromhex(value.replace("-", ""))
    if objectid and is_objectid_text(value):
        return objectid_to_uuid(bytes.fromhex(value), collection_tag(collection))
    return _uuid5(_namespace(collection), value)


def _uuid5(namespace: bytes, name: str) -> bytes:
    """Returns `uuid.uuid5(…).bytes` in a fifth of the time: many messages have IDs that are no UUIDs."""
    digest = sha1(namespace + name.encode(), usedforsecurity=False).digest()
    return digest[:6] + _VERSION_5[digest[6]] + digest[7:8] + _VARIANT[digest[8]] + digest[9:16]


def element_uuid(parent: bytes, path: bytes, place: int) -> bytes:
    """Returns the 16 bytes of the UUID of an embedded document, from the key of its document's row and its place.

    A UUIDv8 (RFC 9562). It begins as the parent's UUID does, so that rows loaded together are together in an index; the
    rest are bits of SHA-1.
    """
    digest = sha1(b"%b/%b/%d" % (parent, path, place), usedforsecurity=False).digest()
    return parent[:6].ljust(6, b"\0") + _VERSION_8[digest[6]] + digest[7:8] + _VARIANT[digest[8]] + digest[9:16]


_VERSION_5 = [bytes((byte & 15 | 0x50,)) for byte in range(256)]
_VERSION_8 = [bytes((byte & 15 | 0x80,)) for byte in range(256)]
_VARIANT = [bytes((byte & 63 | 0x80,)) for byte in range(256)]


def canonical_uuid(text: str) -> bytes | None:
    """Returns the 16 bytes of a UUID in canonical lower case; None for any other text."""
    return bytes.fromhex(text.replace("-", "")) if _CANONICAL.fullmatch(text) else None


def canonical_json(value: Any) -> str:
    """Returns one BSON value as canonical extended JSON without white space."""
    return json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS, separators=(",", ":"))


def uuid_text(value: bytes) -> str:
    """Returns 16 bytes as the text of a UUID in canonical lower case."""
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def convert(collection: str, value: str) -> dict[str, str]:
    """Returns the result of `migrate id`: {"collection", "from", "value", "uuid"}.

    `value` is the ObjectId of `uuid`, if it contains one.
    """
    if is_uuid(value):
        return _convert_back(collection, value)
    kind = "objectid" if is_objectid_text(value) else "text"
    made = uuid_of(collection, ObjectId(value) if kind == "objectid" else value)
    return {"collection": collection, "from": kind, "value": value, "uuid": uuid_text(made)}


def _convert_back(collection: str, value: str) -> dict[str, str]:
    found = uuid_to_objectid(bytes.fromhex(value.replace("-", "")))
    of_collection = found is not None and found[1] == collection_tag(collection)
    original = found[0].hex() if found is not None and of_collection else value.lower()
    return {"collection": collection, "from": "uuid", "value": original, "uuid": value.lower()}
