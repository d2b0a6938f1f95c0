"""Compiled versions of functions for raw BSON.

Without a C compiler, `FieldCounter` and `BsonParts` are None, and the functions leave every document to their callers,
which do the same with Python.
"""

from __future__ import annotations

import mmap
from typing import Any

__all__ = [
    "BsonParts",
    "FieldCounter",
    "assemble",
    "compact_list",
    "distinct_values",
    "documents_by_id",
    "restore_parts",
    "restores",
    "same_fields",
    "scan_documents",
    "source_id",
    "split_changes",
    "split_reply",
    "variant_parts",
]

try:
    from migrator.documents.native._assembly import assemble, restores, same_fields, variant_parts
    from migrator.documents.native._bson_bytes import (
        compact_list,
        distinct_values,
        documents_by_id,
        scan_documents,
        source_id,
    )
    from migrator.documents.native._field_counter import FieldCounter
    from migrator.documents.native._replies import split_reply
    from migrator.documents.native._restored_parts import restore_parts, split_changes
    from migrator.documents.native._text_parts import BsonParts
except ImportError:
    FieldCounter = BsonParts = None  # type: ignore[assignment,misc]

    def assemble(source_id: bytes, restored: bytes, residue: bytes | None) -> bytes | None:
        return None

    def compact_list(residue: bytes, path: bytes, members: bytes) -> Any:
        return NotImplemented

    def distinct_values(data: bytes, name: bytes) -> set[str | bytes] | None:
        return None

    def documents_by_id(data: bytes) -> list[tuple[bytes, bytes]] | None:
        return None

    def restore_parts(remainder: bytes, text: bytes | None, text_field: bytes, gap: int) -> Any:
        return None

    def restores(document: bytes, source_id: bytes, restored: bytes, residue: bytes | None) -> bool:
        return False

    def same_fields(one: bytes, other: bytes) -> bool:
        return False

    def scan_documents(data: bytes | bytearray | mmap.mmap, start: int, stop: int, most: int) -> tuple[int, int] | None:
        return None

    def source_id(document: bytes) -> bytes | None:
        return None

    def split_changes(residue: bytes) -> tuple[dict[str, int], dict[str, bytes], dict[str, int]] | None:
        return None

    def split_reply(reply: bytes | bytearray | memoryview) -> tuple[bytes, str, bytes] | None:
        return None

    def variant_parts(residue: bytes) -> bytes | None:
        return residue
