"""document_chunks (the RAG API's store, JSON Lines, or the files themselves) → document_chunks.

Their vectors are computed after all are loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mappings import shared
from mappings.agents import own_id
from migrator.documents.codec import Document
from migrator.documents.jsonb import normalize
from migrator.ids import uuid_of, uuid_text
from migrator.mapping.codecs import DATETIME, INTEGER, TEXT, UNREADABLE
from migrator.mapping.collection import Collection, ExpectedRows
from migrator.mapping.context import ABSENT, Context, Lookup, Match, Rejected, first_at, type_name
from migrator.mapping.references import Key, Reference
from migrator.mapping.rules import Compute, map_field
from schema.rag import document_chunks

NAME = "document_chunks"
PAGE = ("metadata.page", "metadata.page_number", "metadata.pageNumber", "metadata.loc.pageNumber")
SECTION = ("metadata.section", "metadata.heading", "metadata.title")
START = ("metadata.startIndex", "metadata.start_index")
END = ("metadata.endIndex", "metadata.end_index")


def by_object_id(documents: Iterable[Document]) -> set[Any]:
    return {key for document in documents if (key := own_id(document.get("file_id"))) is not None}


FILES_BY_ID = Lookup("files", by_object_id, by="_id", carry=("created_at",))


def file_by_object_id(context: Context, document: Document) -> Match:
    """A chunk may name its file by `_id`; whose file is gone is rejected."""
    value = document.get("file_id", ABSENT)
    key = own_id(value)
    found = context.find(FILES_BY_ID, key) if key is not None else ()
    if not found:
        raise Rejected("orphan", f"file_id ({type_name(value)})")
    return found[0]


def id_of(context: Context, position: Any, file_id: bytes) -> bytes:
    """The id follows from the file and the chunk's place in it, so that running again gives the same."""
    if type(position) is not int or position < 0:
        reason = "missing_required" if position is ABSENT else "wrong_type"
        raise Rejected(reason, f"position ({type_name(position)})")
    return uuid_of(NAME, f"{uuid_text(file_id)}:{position}")


def metadata_of(context: Context, metadata: Any, content: Any) -> Any:
    """page, section, startIndex and endIndex, where they are known or follow."""
    document = {"metadata": metadata}
    packed: Document = {}
    for key, paths, codec in (("page", PAGE, INTEGER), ("section", SECTION, TEXT), ("startIndex", START, INTEGER),
                              ("endIndex", END, INTEGER)):  # fmt: skip
        value, path = first_at(document, paths)
        plain = UNREADABLE if value is ABSENT else codec.read(value, context.note, path)
        if plain is not UNREADABLE:
            packed[key] = plain
        elif value is not ABSENT:
            context.note("wrong_type", f"{path} ({type_name(value)})")
    if "startIndex" in packed and "endIndex" not in packed and type(content) is str:
        packed["endIndex"] = packed["startIndex"] + len(content)
    return normalize(packed) if packed else None


def created_of(context: Context, created: Any, file_created: int) -> int:
    """A store knows no dates: a chunk is as old as its file."""
    plain = UNREADABLE if created is ABSENT or created is None else DATETIME.read(created, context.note, "created_at")
    return plain if isinstance(plain, int) else file_created


def created_back(created: int, file_created: int) -> Any:
    return ABSENT if created == file_created else DATETIME.write(created)


def file_back(file_id: bytes) -> Any:
    return uuid_text(file_id)


mapping = Collection(
    name=NAME,
    section="chunks",
    table=document_chunks,
    key=Key(path="_id", collection=NAME),
    constants=shared.tenant,
    filled_later=frozenset({"embedding"}),
    expected=(ExpectedRows(collection="files", flag="embedded", reference_column="file_id", code="chunks_missing"),),
    rules=(
        Reference(
            path="file_id",
            column="file_id",
            key=shared.FILES,
            carry=("created_at",),
            on_missing=file_by_object_id,
            write=file_back,
        ),
        Compute(columns=("id",), fields=("position",), inputs=("file_id",), function=id_of, lookups=(FILES_BY_ID,)),
        map_field("content", "content", TEXT, required=True),
        Compute(columns=("metadata",), fields=("metadata", "content"), function=metadata_of),
        Compute(
            columns=("created_at",),
            fields=("created_at",),
            inputs=("file_id.created_at",),
            function=created_of,
            restores="created_at",
            reverse=created_back,
            reverse_inputs=("created_at", "file_id.created_at"),
        ),
    ),
)
