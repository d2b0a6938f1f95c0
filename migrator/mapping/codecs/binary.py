"""Codecs of uuid and bytea columns, and of ObjectIds. Plain values are bytes, and str for an ObjectId as text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bson import Binary, ObjectId

from migrator import ids
from migrator.documents.jsonb import Note
from migrator.mapping.codecs.base import UNREADABLE

_UUID_SUBTYPE = 4


@dataclass(frozen=True, slots=True)
class Uuid:
    """Binary data of the subtype UUID, or with `as_text` its text in lower case ↔ uuid. Any text of a UUID is read."""

    as_text: bool = False

    def read(self, value: Any, note: Note, path: str) -> Any:
        if isinstance(value, Binary) and value.subtype == _UUID_SUBTYPE and len(value) == 16:
            return bytes(value)
        if type(value) is str and ids.is_uuid(value):
            if not self.as_text:
                note("coerced", path)
            return bytes.fromhex(value.replace("-", ""))
        return UNREADABLE

    def write(self, plain: bytes) -> Any:
        return ids.uuid_text(plain) if self.as_text else Binary(plain, _UUID_SUBTYPE)


@dataclass(frozen=True, slots=True)
class Bytes:
    """Binary data ↔ bytea. The residue keeps a subtype other than 0."""

    def read(self, value: Any, note: Note, path: str) -> Any:
        return bytes(value) if isinstance(value, bytes) else UNREADABLE

    def write(self, plain: bytes) -> bytes:
        return plain


@dataclass(frozen=True, slots=True)
class ObjectIdHex:
    """ObjectId ↔ text or char(24) with its hexadecimal digits."""

    def read(self, value: Any, note: Note, path: str) -> Any:
        if isinstance(value, ObjectId):
            return str(value)
        if type(value) is str and ids.is_objectid_text(value):
            note("coerced", path)
            return value.lower()
        return UNREADABLE

    def write(self, plain: str) -> Any:
        return ObjectId(plain) if ids.is_objectid_text(plain) else UNREADABLE


@dataclass(frozen=True, slots=True)
class ObjectIdBytes:
    """ObjectId ↔ bytea with its 12 bytes."""

    def read(self, value: Any, note: Note, path: str) -> Any:
        return value.binary if isinstance(value, ObjectId) else UNREADABLE

    def write(self, plain: bytes) -> Any:
        return ObjectId(plain) if len(plain) == 12 else UNREADABLE


@dataclass(frozen=True, slots=True)
class ObjectIdText:
    """UUIDv7 of an ObjectId → the ObjectId, or with `as_text` its 24 hexadecimal digits.

    Only `write` exists. The opposite conversion is a lookup, which the rule of the reference does.
    """

    as_text: bool = False

    def write(self, plain: bytes) -> Any:
        return _objectid_of(plain, self.as_text)


@lru_cache(maxsize=65_536)  # many rows refer to the same row
def _objectid_of(plain: bytes, as_text: bool) -> Any:
    found = ids.uuid_to_objectid(plain)
    if found is None:
        return UNREADABLE
    return found[0].hex() if as_text else ObjectId(found[0])


UUID, UUID_TEXT, BYTES = Uuid(), Uuid(as_text=True), Bytes()
OBJECTID_HEX, OBJECTID_BYTES = ObjectIdHex(), ObjectIdBytes()
