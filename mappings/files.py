"""Collection files → table files."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mappings import shared
from migrator.documents.codec import Document
from migrator.documents.jsonb import normalize
from migrator.mapping.codecs import BOOLEAN, JSON, TEXT, UNREADABLE
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Context, Rejected, Row, first_at, type_name
from migrator.mapping.numbers import number_of
from migrator.mapping.rules import Compute, CustomRule, imply_field, map_field
from schema.rag import files

MAX_SIZE = 2**31 - 1  # bytes; the column has type integer
METADATA_FIELDS = ("context", "width", "height")  # top-level fields that are stored in the column metadata


def compute_storage(context: Context, source: Any, file_path: Any, filepath: Any) -> tuple[str, str, str]:
    """Return provider, key and URL by the first matching `[[storage]]` rule; unchanged if none matches."""
    address = filepath if file_path is ABSENT or file_path is None else file_path
    provider = _read_text(context, "source", source)
    path = _read_text(context, "filepath", address)
    for rule in context.options.config.storage:
        rewritten = rule.rewrite(provider, path)
        if rewritten is not None:
            return rule.provider, rewritten[0], rewritten[1]
    return provider, path, path


def _read_text(context: Context, path: str, value: Any) -> str:
    if value is ABSENT or value is None:
        raise Rejected("missing_required", f"{path} ({type_name(value)})")
    plain = TEXT.read(value, context.note, path)
    if plain is UNREADABLE:
        raise Rejected("wrong_type", f"{path} ({type_name(value)})")
    return str(plain)


class SizeAndMetadata(CustomRule):
    """`bytes` is clamped to the column; the exact number is stored in metadata.sizeBytes.

    metadata also contains the top-level fields of `METADATA_FIELDS`.
    """

    columns: tuple[str, ...] = ("size", "metadata")
    source_paths: tuple[str, ...] = ("bytes", "metadata", *METADATA_FIELDS)
    restored_fields: tuple[str, ...] = source_paths

    def to_row(self, document: Document, row: Row, context: Context) -> None:
        exact = _read_size(context, document.get("bytes", ABSENT))
        metadata = _read_metadata(context, document)
        if exact > MAX_SIZE:
            context.note("clamped", "bytes")
            metadata["sizeBytes"] = exact
        row["size"] = min(exact, MAX_SIZE)
        row["metadata"] = normalize(metadata) if metadata or isinstance(document.get("metadata"), dict) else None

    def to_document(self, row: Row, document: Document) -> None:
        metadata = dict(row["metadata"] or {})
        document["bytes"] = metadata.pop("sizeBytes", row["size"])
        for name in METADATA_FIELDS:
            if name in metadata:
                document[name] = metadata.pop(name)
        if metadata:
            document["metadata"] = metadata


def _read_size(context: Context, value: Any) -> int:
    if value is ABSENT or value is None:
        raise Rejected("missing_required", f"bytes ({type_name(value)})")
    number = number_of(value)
    if number is None or number != number.to_integral_value() or number < 0 or number > Decimal(2**63):
        raise Rejected("wrong_type", f"bytes ({type_name(value)})")
    if not isinstance(value, int):
        context.note("coerced", "bytes")
    return int(number)


def _read_metadata(context: Context, document: Document) -> Document:
    value = document.get("metadata")
    metadata: Document = {}
    if isinstance(value, dict):
        metadata = JSON.read(value, context.note, "metadata")
    elif value is not None:
        context.note("wrong_type", f"metadata ({type_name(value)})")
    for name in METADATA_FIELDS:
        if document.get(name) is not None:
            metadata[name] = JSON.read(document[name], context.note, name)
    return metadata


mapping = Collection(
    name="files",
    table=files,
    key=shared.FILES,
    constants=shared.tenant,
    rules=(
        shared.owner("user"),
        map_field("filename", "filename", TEXT, required=True),
        Compute(columns=("original_name",), inputs=("filename",), function=lambda context, name: name),
        map_field("type", "mime_type", TEXT, required=True),
        Compute(
            columns=("storage_provider", "storage_key", "url"),
            fields=("source", "file_path", "filepath"),
            function=compute_storage,
            restores="source",
            reverse=lambda provider: provider,
            reverse_inputs=("storage_provider",),
        ),
        imply_field("filepath", lambda url: url, "url"),
        map_field("embedded", "embedded", BOOLEAN, default=False),
        map_field("vectorStoreId", "vector_store_id", TEXT),
        SizeAndMetadata(),
        *shared.dates(),
        imply_field("__v", 0),
        imply_field("object", "file"),
    ),
)


def list_file_ids(document: Document, paths: tuple[str, ...]) -> list[Any]:
    """Return the array at the first existing path, in its order; an empty list if it is not an array."""
    value, _ = first_at(document, paths)
    return value if isinstance(value, list) else []
