"""Writes a database of a MongoDB server as a mongodump folder, compressed, with its indexes.

Usage: python examples/published/dump.py URL DATABASE FOLDER
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

from bson import CodecOptions, json_util
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

OPTIONS = CodecOptions(document_class=RawBSONDocument)


def dump(url: str, name: str, folder: Path) -> None:
    """Writes every collection in the order of `_id`, and its metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    with MongoClient[RawBSONDocument](url, document_class=RawBSONDocument) as client:
        database = client[name]
        for collection in sorted(database.list_collection_names()):
            documents = database.get_collection(collection, OPTIONS).find().sort("_id")
            write(folder / f"{collection}.bson.gz", b"".join(each.raw for each in documents))
            indexes = [dict(each) for each in database[collection].list_indexes()]
            metadata = {"indexes": indexes, "collectionName": collection, "type": "collection"}
            write(folder / f"{collection}.metadata.json.gz", json_util.dumps(metadata).encode())


def write(path: Path, data: bytes) -> None:
    """Writes a compressed file that depends on its content only."""
    path.write_bytes(gzip.compress(data, mtime=0))


if __name__ == "__main__":
    dump(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
