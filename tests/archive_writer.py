"""Writes dumps as mongodump would, from documents that are BSON already: folders and archives, gzip or not."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import bson
from fastcrc import crc64

Documents = Sequence[bytes]

TERMINATOR = b"\xff\xff\xff\xff"
MAGIC = struct.pack("<I", 0x8199E26D)


def make_documents(count: int, *, filler: int = 10, seed: int = 0) -> list[bytes]:
    return [bson.encode({"_id": seed * 1000 + n, "text": "x" * (n % (filler + 1))}) for n in range(count)]


def describe(collection: str, **more: Any) -> bytes:
    """A collection's metadata.json."""
    return json.dumps({"indexes": [], "uuid": "", "collectionName": collection, **more}).encode()


def write_folder(
    folder: Path, collections: Mapping[str, Documents], *, gzipped: bool = False, metadata: bool = True
) -> Path:
    """One database's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, documents in collections.items():
        write_file(folder / f"{quote_plus(name)}.bson", b"".join(documents), gzipped=gzipped)
        if metadata:
            write_file(folder / f"{quote_plus(name)}.metadata.json", describe(name), gzipped=gzipped)
    return folder


def write_file(path: Path, content: bytes, *, gzipped: bool = False) -> Path:
    if gzipped:
        path = path.with_name(path.name + ".gz")
        content = gzip.compress(content, mtime=0)
    path.write_bytes(content)
    return path


def write_archive(
    path: Path,
    databases: Mapping[str, Mapping[str, Documents]],
    *,
    gzipped: bool = False,
    block: int = 2,
    types: Mapping[str, str] | None = None,
) -> Path:
    content = build_archive(databases, block=block, types=types)
    path.write_bytes(gzip.compress(content, mtime=0) if gzipped else content)
    return path


def build_archive(
    databases: Mapping[str, Mapping[str, Documents]], *, block: int = 2, types: Mapping[str, str] | None = None
) -> bytes:
    """All collections interleaved, `block` documents of each at a time."""
    namespaces = [(db, name) for db, collections in databases.items() for name in collections]
    prelude = build_prelude(namespaces, types or {})
    return prelude + b"".join(_interleave({(db, name): databases[db][name] for db, name in namespaces}, block))


def build_prelude(
    namespaces: Sequence[tuple[str, str]], types: Mapping[str, str] | None = None, *, server: str = "8.2.11"
) -> bytes:
    header = {"concurrent_collections": 4, "version": "0.1", "server_version": server, "tool_version": "100.9.4"}
    listed = []
    for db, name in namespaces:
        kind = (types or {}).get(name, "collection")
        metadata = describe(name, type=kind).decode()
        listed.append(bson.encode({"db": db, "collection": name, "metadata": metadata, "size": 0, "type": kind}))
    return MAGIC + bson.encode(header) + b"".join(listed) + TERMINATOR


def build_block(db: str, name: str, documents: Documents) -> bytes:
    return _build_header(db, name, eof=False, crc=0) + b"".join(documents) + TERMINATOR


def build_end(db: str, name: str, crc: int) -> bytes:
    return _build_header(db, name, eof=True, crc=crc) + TERMINATOR


def sum_up(documents: Documents) -> int:
    """The checksum of a collection."""
    return int(crc64.xz(b"".join(documents)))


def _interleave(namespaces: Mapping[tuple[str, str], Documents], block: int) -> Iterator[bytes]:
    start, left = 0, dict(namespaces)
    while left:
        for (db, name), documents in list(left.items()):
            yield build_block(db, name, documents[start : start + block])
            if start + block >= len(documents):
                yield build_end(db, name, sum_up(documents))
                del left[db, name]
        start += block


def _build_header(db: str, name: str, *, eof: bool, crc: int) -> bytes:
    signed = struct.unpack("<q", struct.pack("<Q", crc))[0]
    return bson.encode({"db": db, "collection": name, "EOF": eof, "CRC": bson.Int64(signed)})
