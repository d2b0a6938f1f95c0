"""Writes documents to a live database, by `_id`, with majority. Not here: which documents (`reversing`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, ReplaceOne
from pymongo.errors import BulkWriteError, OperationFailure
from pymongo.write_concern import WriteConcern

from migrator.errors import SourceError
from migrator.sources.live_client import CANNOT_READ, connect, explain, label_of
from migrator.sources.live_lookup import find_documents

_DUPLICATE: Final = 11000
_BLOCKED: Final = 371  # UserWritesBlocked
_OBJECTID: Final = 0x07  # its BSON type
_OBJECTID_SIZE: Final = 22  # bytes of the BSON document {"_id": ObjectId}
MAJORITY: Final = WriteConcern("majority", wtimeout=60_000)


class LiveWriter:
    """Reads and writes documents of one database. Raises: `SourceError`."""

    def __init__(self, url: str, database: str) -> None:
        self._url, self._name = url, database
        self._client = connect(url)
        self._database = self._client.get_database(database, write_concern=MAJORITY)

    def find(self, collection: str, source_ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the newest documents: source ID → BSON; without those that do not exist."""
        with explain(self._url):
            return find_documents(self._database, collection, source_ids, lambda act: act())

    def prove(self, collections: Iterable[str]) -> None:
        """Insert, update and delete no document of each collection, to prove that the privileges suffice.

        A server checks the right before the document, and inserts none whose `_id` has a field that begins with `$`.
        """
        nothing = {"_id": ObjectId(), "migrate": {"$exists": True}}
        refused = []
        for name in collections:
            update = {"q": nothing, "u": {"$set": {"migrate": 1}}}
            for command in (
                {"insert": name, "documents": [{"_id": {"$migrate": 1}}], "bypassDocumentValidation": True},
                {"update": name, "updates": [update], "bypassDocumentValidation": True},
                {"delete": name, "deletes": [{"q": nothing, "limit": 1}]},
            ):
                try:
                    with explain(self._url):
                        self._database.command(command, writeConcern=MAJORITY.document)
                except SourceError as error:
                    cause = error.__context__
                    if not (isinstance(cause, OperationFailure) and cause.code in CANNOT_READ):
                        raise
                    refused.append(name)
        if refused:
            names = ", ".join(dict.fromkeys(refused))
            raise SourceError(
                f"{label_of(self._url)}: no privilege to write to {names}",
                f"Grant the role `readWrite` on the database {self._name}, and the action bypassDocumentValidation.",
            )

    def write(self, collection: str, documents: Mapping[bytes, bytes | None]) -> None:
        """Replace or insert documents, and delete those that are None. `documents`: source ID → BSON.

        If two documents exchange a unique value, all are deleted first and inserted again, in one transaction.
        """
        requests = [_request(source_id, raw) for source_id, raw in documents.items()]
        with explain(self._url):
            try:
                self._database[collection].bulk_write(requests, ordered=False, bypass_document_validation=True)
            except BulkWriteError as error:
                codes = {each.get("code") for each in error.details.get("writeErrors", ())}
                if codes != {_DUPLICATE}:
                    raise self._explained(collection, error, codes) from None
                self._exchange(collection, documents)

    def _exchange(self, collection: str, documents: Mapping[bytes, bytes | None]) -> None:
        """Delete the documents and insert them again, in one transaction, so that no unique value is in the way."""
        there = self._database[collection]
        gone = [DeleteOne(_filter(source_id)) for source_id in documents]
        present: list[ReplaceOne[Any]] = [
            ReplaceOne(_filter(sid), _Replacement(raw), upsert=True) for sid, raw in documents.items() if raw
        ]
        try:
            with self._client.start_session() as session, session.start_transaction(write_concern=MAJORITY):
                there.with_options(write_concern=WriteConcern()).bulk_write(gone, session=session)
                if present:
                    there.with_options(write_concern=WriteConcern()).bulk_write(
                        present, session=session, bypass_document_validation=True
                    )
        except BulkWriteError as error:
            codes = {each.get("code") for each in error.details.get("writeErrors", ())}
            raise self._explained(collection, error, codes) from None

    def _explained(self, collection: str, error: BulkWriteError, codes: set[Any]) -> SourceError:
        where = f"{label_of(self._url)}: cannot write to {collection}"
        if codes == {_DUPLICATE}:
            return SourceError(
                f"{where}: another document has the same unique value",
                "Change or delete that document in MongoDB, or the row in PostgreSQL, then run the same command again.",
            )
        if _BLOCKED in codes:
            return SourceError(
                f"{where}: writes are blocked (setUserWriteBlockMode)",
                "Grant the action bypassWriteBlockingMode to the user of source.url.",
            )
        if codes & CANNOT_READ:
            return SourceError(f"{where}: insufficient privileges", "Grant the role `readWrite` on the database.")
        return SourceError(f"{where}: the server returned an error (codes {sorted(map(str, codes))})", "Fix the cause.")

    def close(self) -> None:
        self._client.close()


def _request(source_id: bytes, raw: bytes | None) -> ReplaceOne[Any] | DeleteOne:
    if raw is None:
        return DeleteOne(_filter(source_id))
    return ReplaceOne(_filter(source_id), _Replacement(raw), upsert=True)


class _Replacement(RawBSONDocument):
    """A document that the driver need not decode to know that it is not empty."""

    def __bool__(self) -> bool:
        return True


def _filter(source_id: bytes) -> dict[str, Any]:
    """Return the filter of one document. Without `$eq`, a regular expression would match other `_id`s."""
    if len(source_id) == _OBJECTID_SIZE and source_id[4] == _OBJECTID:  # nearly all; decoding takes a tenth of the time
        return {"_id": ObjectId(source_id[9:21])}
    return {"_id": {"$eq": RawBSONDocument(source_id)["_id"]}}
