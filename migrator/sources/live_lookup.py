"""Looks up documents of a live database by `_id`, in raw BSON: the newest version of documents that changed.

No `_id` is decoded, so those that the driver cannot reproduce (a symbol, a DBPointer, a field twice) are found as well.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference

from migrator.documents import raw_bson
from migrator.sources.live_cursor import ID

Retry = Callable[[Callable[[], Any]], Any]  # calls a request, and repeats it after a transient error

# Double, string, binary, ObjectId, boolean, date, int, timestamp, long, decimal. `$in` finds these by equality. It
# would match by a regular expression, take null for a missing field, and look for an array in the elements of arrays.
# An object is found by equality, too, unless the server takes it for an operator because of a `$`.
_EQUALITY_TYPES: Final = frozenset({0x01, 0x02, 0x05, 0x07, 0x08, 0x09, 0x10, 0x11, 0x12, 0x13})
_OBJECT: Final = 0x03
_IDS_PER_REQUEST: Final = 100  # a server that compares each document with the list needs more time per ID for more
_BYTES_PER_REQUEST: Final = 1 << 20  # of `_id`s; a command has at most 16 MB
_TYPE_AT: Final = 4  # in BSON {"_id": …}: length (4 bytes), type, "_id\0", value
_VALUE_AT: Final = 9
_RAW: Final[CodecOptions[Any]] = CodecOptions(document_class=RawBSONDocument)


def find_documents(
    database: Database[dict[str, Any]], collection: str, source_ids: Sequence[bytes], retry: Retry
) -> dict[bytes, bytes]:
    """Look up documents and return them: source ID → raw BSON. A document that does not exist is not in the result.

    A source ID is BSON `{"_id": …}`. The `_id` found has the same bytes: 1 is not 1.0. All documents returned are in
    memory at once. Raises: pymongo's errors, unless `retry` translates them.
    """
    wanted = dict.fromkeys(source_ids)
    by_equality = [each for each in wanted if _has_equality(each)]
    by_bound = [each for each in wanted if not _has_equality(each)]
    requests = chain(
        (lambda ids=ids: _find_equal(database, collection, ids) for ids in _in_requests(by_equality)),
        (lambda bound=bound: _find_from(database, collection, bound) for bound in by_bound),
    )
    found: dict[bytes, bytes] = {}
    for request in requests:
        for document in retry(request):
            source_id = raw_bson.source_id(document)
            if source_id in wanted:
                found[source_id] = document
    return found


def _has_equality(source_id: bytes) -> bool:
    """Return whether `$in` matches this `_id` and no other."""
    kind = source_id[_TYPE_AT]
    return kind in _EQUALITY_TYPES or (kind == _OBJECT and b"$" not in source_id)


def _in_requests(source_ids: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield lists of source IDs, each small enough for one request."""
    request: list[bytes] = []
    size = 0
    for each in source_ids:
        if request and (len(request) == _IDS_PER_REQUEST or size + len(each) > _BYTES_PER_REQUEST):
            yield request
            request, size = [], 0
        request.append(each)
        size += len(each)
    if request:
        yield request


def _find_equal(database: Database[dict[str, Any]], collection: str, source_ids: list[bytes]) -> list[bytes]:
    """Return the documents with these `_id`s.

    The collation is the collection's, which is also that of the unique index on `_id`: the index is used, and an `_id`
    matches at most one document. With another collation, also the simple one, the server would read the whole
    collection. That a collation finds 'a' for 'A' does not matter, because the caller compares bytes.
    """
    # The documents must be the newest: a secondary, which the URL may prefer, can be behind the event.
    newest: Any = database[collection].with_options(
        read_preference=ReadPreference.PRIMARY, read_concern=ReadConcern("majority")
    )
    cursor = newest.find_raw_batches(RawBSONDocument(_filter_equal(source_ids)))
    return [document for batch in cursor for document in raw_bson.split_documents(batch)]


def _find_from(database: Database[dict[str, Any]], collection: str, source_id: bytes) -> list[bytes]:
    """Return the document with the first `_id` that is not less than this one; none at the end of the collection.

    An index bound, unlike a filter, has one meaning for values of all types.
    """
    command = {
        "find": collection,
        "hint": dict(ID),
        "min": RawBSONDocument(source_id),
        "sort": dict(ID),
        "limit": 1,
        "singleBatch": True,
        "readConcern": {"level": "majority"},
    }
    answer = database.command(command, codec_options=_RAW, read_preference=ReadPreference.PRIMARY)
    return [bytes(each.raw) for each in answer["cursor"]["firstBatch"]]


def _filter_equal(source_ids: list[bytes]) -> bytes:
    """Return BSON `{"_id": {"$in": […]}}`."""
    elements = b"".join(
        each[_TYPE_AT : _TYPE_AT + 1] + b"%d\0" % number + each[_VALUE_AT:-1] for number, each in enumerate(source_ids)
    )
    array = _document(elements)
    return _document(b"\x03_id\0" + _document(b"\x04$in\0" + array))


def _document(elements: bytes) -> bytes:
    return struct.pack("<i", len(elements) + 5) + elements + b"\0"
