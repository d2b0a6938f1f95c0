"""Chunks of files (the store of the RAG API, JSON Lines, or the files themselves) → table document_chunks.

Their vectors are computed after the load, except those of the source that `chunks.vectors = "reuse"` loads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mappings import shared
from mappings.files import encode_source_ids, find_by_source_id
from migrator.documents import vectors
from migrator.documents.codec import Document
from migrator.documents.jsonb import normalize
from migrator.ids import uuid_of, uuid_text
from migrator.mapping.codecs import DATETIME, INTEGER, TEXT, UNREADABLE
from migrator.mapping.collection import Collection, ExpectedRows
from migrator.mapping.context import ABSENT, Context, Lookup, Match, Rejected, first_at, type_name
from migrator.mapping.references import Key, Reference
from migrator.mapping.rules import Compute, Filter, Variants, map_field
from schema.rag import document_chunks

NAME = "document_chunks"
PAGE = ("metadata.page", "metadata.page_number", "metadata.pageNumber", "metadata.loc.pageNumber")
SECTION = ("metadata.section", "metadata.heading", "metadata.title")
START = ("metadata.startIndex", "metadata.start_index")
END = ("metadata.endIndex", "metadata.end_index")


def collect_source_ids(documents: Iterable[Document]) -> set[Any]:
    """Return the encoded `_id`s of all files to which chunks refer by `_id`."""
    return {key for document in documents for key in encode_source_ids(document.get("file_id"))}


FILES_BY_ID = Lookup("files", collect_source_ids, by="_id", carry=("created_at",))


def find_file(context: Context, document: Document) -> Match:
    """Return the file to which a chunk refers by `_id`.

    Raises:
        Rejected: there is no such file.
    """
    require_readable(document.get("unreadable", ABSENT))
    value = document.get("file_id", ABSENT)
    found = find_by_source_id(context, FILES_BY_ID, value)
    if not found:
        raise Rejected("orphan", f"file_id ({type_name(value)})")
    return found[0]


def require_readable(reason: Any) -> None:
    """Raise `Rejected` if the source says why it could not read the chunk."""
    if reason is not ABSENT:
        raise Rejected("undecodable", str(reason))


def compute_id(context: Context, position: Any, unreadable: Any, file_id: bytes) -> bytes:
    """Return the ID, derived from the file and the position of the chunk, so that a second run gives the same ID."""
    require_readable(unreadable)
    if type(position) is not int or position < 0:
        reason = "missing_required" if position is ABSENT else "wrong_type"
        raise Rejected(reason, f"position ({type_name(position)})")
    return uuid_of(NAME, f"{uuid_text(file_id)}:{position}")


def compute_metadata(context: Context, metadata: Any, content: Any, original: Any) -> Any:
    """Return page, section, startIndex and endIndex, as far as they are known or can be derived.

    `original`: the JSON text of the source, if it has a value that BSON cannot hold.
    """
    if original is not ABSENT and original != "null":  # JSON null
        context.note("json_replaced", "original_json")
    if metadata is not ABSENT and metadata is not None and type(metadata) is not dict:
        context.note("wrong_type", f"metadata ({type_name(metadata)})")
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


def compute_created_at(context: Context, created: Any, file_created: int) -> int:
    """Return the creation date. Stores have no dates, so the default is the date of the file."""
    plain = UNREADABLE if created is ABSENT or created is None else DATETIME.read(created, context.note, "created_at")
    return plain if isinstance(plain, int) else file_created


def restore_created_at(created: int, file_created: int) -> Any:
    """Return the creation date, unless it is the date of the file."""
    return ABSENT if created == file_created else DATETIME.write(created)


def restore_file_id(file_id: bytes) -> Any:
    """Return the file ID as text."""
    return uuid_text(file_id)


def note_omitted(context: Context, omitted: Any) -> None:
    """Record that the source has a vector that is not loaded."""
    if omitted is True:
        context.note("vector_not_used", "embedding")


def compute_embedding(context: Context, value: Any) -> bytes | None:
    """Return the vector of the source as pgvector stores it; None if there is none that can be used.

    A source has the field only if `chunks.vectors` is "reuse".
    """
    if value is ABSENT or value is None:
        return None
    dimensions = context.options.config.embedding.space.dimensions
    vector = vectors.read_vector(value)
    checked = f"not a vector ({type_name(value)})" if vector is None else vectors.check_vector(vector, dimensions)
    if isinstance(checked, str):
        differs = vector is not None and len(vector) not in (0, dimensions)
        context.note("vector_dimensions" if differs else "vector_unusable", f"embedding: {checked}")
        return None
    context.note("vector_reused", "embedding")
    return vectors.to_binary(checked, getattr(document_chunks.c.embedding.type, "dim", None) or dimensions)


mapping = Collection(
    name=NAME,
    section="chunks",
    table=document_chunks,
    key=Key(path="_id", collection=NAME),
    filled_later=frozenset({"embedding"}),
    expected=(ExpectedRows(collection="files", flag="embedded", reference_column="file_id", code="chunks_missing"),),
    rules=(
        Reference(
            path="file_id",
            column="file_id",
            key=shared.FILES,
            carry=("created_at",),
            on_missing=find_file,
            write=restore_file_id,
        ),
        Compute(
            columns=("id",),
            fields=("position", "unreadable"),
            inputs=("file_id",),
            function=compute_id,
            lookups=(FILES_BY_ID,),
        ),
        map_field("content", "content", TEXT, required=True),
        Filter(note_omitted, ("vector_omitted",), if_present=True),
        Compute(columns=("embedding",), fields=("embedding",), function=compute_embedding),
        # A row with a vector of the source names its form in the residue; all other rows restore no field.
        Variants(
            path="embedding",
            variants=(lambda stored: ABSENT,),
            inputs=("embedding",),
            subtract=vectors.describe_form,
            restore=vectors.restore_form,
        ),
        Compute(columns=("metadata",), fields=("metadata", "content", "original_json"), function=compute_metadata),
        Compute(
            columns=("created_at",),
            fields=("created_at",),
            inputs=("file_id.created_at",),
            function=compute_created_at,
            restores="created_at",
            reverse=restore_created_at,
            reverse_inputs=("created_at", "file_id.created_at"),
        ),
    ),
)
