"""Collection files → table files."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from bson import Decimal128, Int64, ObjectId

from mappings import shared
from migrator.documents.codec import Document, encode
from migrator.documents.jsonb import normalize
from migrator.ids import is_objectid_text
from migrator.mapping.codecs import BOOLEAN, JSON, TEXT, UNREADABLE
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Context, Lookup, Match, Rejected, Row, first_at, type_name
from migrator.mapping.numbers import number_of
from migrator.mapping.rules import Compute, CustomRule, Return, imply_field, map_field
from schema.rag import files

MIN_SIZE, MAX_SIZE = -(2**31), 2**31 - 1  # bytes; the column has type integer
LOCAL = "local"  # the application's default of `source`
STORAGE_COLUMNS = ("storage_provider", "storage_key", "url")
METADATA_FIELDS = ("context", "width", "height")  # top-level fields that are stored in the column metadata


def compute_original_name(context: Context, kept: Any, name: str) -> str:
    """Return the name of the file, or the original name that a returned document keeps."""
    value = shared.kept_value(kept, "original_name")
    return name if value is ABSENT or value is None else str(value)


def compute_storage(context: Context, source: Any, file_path: Any, filepath: Any, kept: Any) -> tuple[str, str, str]:
    """Return provider, key and URL by the first matching `[[storage]]` rule; unchanged if none matches.

    A returned document keeps them if they do not follow from its fields.
    """
    computed = _compute_storage(context, source, file_path, filepath)
    if kept is ABSENT:
        return computed
    found = (shared.kept_value(kept, name) for name in STORAGE_COLUMNS)
    provider, key, url = (value if isinstance(value, str) else own for value, own in zip(found, computed, strict=True))
    return provider, key, url


def _compute_storage(context: Context, source: Any, file_path: Any, filepath: Any) -> tuple[str, str, str]:
    provider = _read_provider(context, source)
    path = _read_text(context, "filepath", _choose_address(context, file_path, filepath))
    for rule in context.options.config.storage:
        rewritten = rule.rewrite(provider, path)
        if rewritten is not None:
            return rule.provider, rewritten[0], rewritten[1]
    return provider, path, path


def _read_provider(context: Context, source: Any) -> str:
    """Return the storage of a file. The application stores files without a `source` locally."""
    if source is ABSENT or source is None or source == "":
        context.note("defaulted", "source")
        return LOCAL
    return _read_text(context, "source", source)


def _choose_address(context: Context, file_path: Any, filepath: Any) -> Any:
    """Return `file_path` if it is a text and not empty, otherwise `filepath` if the document has one."""
    if file_path is ABSENT or file_path is None or (type(file_path) is str and file_path):
        return filepath if file_path is ABSENT or file_path is None else file_path
    if filepath is ABSENT or filepath is None:
        return file_path
    if type(file_path) is not str:
        context.note("wrong_type", f"file_path ({type_name(file_path)})")
    return filepath


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
        size = MIN_SIZE if exact < MIN_SIZE else MAX_SIZE if exact > MAX_SIZE else int(exact)
        if exact != size:
            context.note("clamped", "bytes")
            metadata["sizeBytes"] = exact
        row["size"] = size
        row["metadata"] = normalize(metadata) if metadata or isinstance(document.get("metadata"), dict) else None

    def to_document(self, row: Row, document: Document) -> None:
        metadata = dict(row["metadata"] or {})
        document["bytes"] = metadata.pop("sizeBytes", row["size"])
        for name in METADATA_FIELDS:
            if name in metadata:
                document[name] = metadata.pop(name)
        if metadata:
            document["metadata"] = metadata


def _read_size(context: Context, value: Any) -> Decimal:
    """Return the exact number of bytes: any whole number.

    Raises:
        Rejected: the size is missing or not a whole number.
    """
    if value is ABSENT or value is None:
        raise Rejected("missing_required", f"bytes ({type_name(value)})")
    number = number_of(value)
    if number is None or number != number.to_integral_value():
        raise Rejected("wrong_type", f"bytes ({type_name(value)})")
    if not isinstance(value, int | float):
        context.note("coerced", "bytes")
    return number.to_integral_value()


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
    rules=(
        shared.owner("user"),
        map_field("filename", "filename", TEXT, required=True),
        Compute(
            columns=("original_name",), fields=(shared.KEPT,), inputs=("filename",), function=compute_original_name
        ),
        map_field("type", "mime_type", TEXT, required=True),
        Compute(
            columns=STORAGE_COLUMNS,
            fields=("source", "file_path", "filepath", shared.KEPT),
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
    returns=(
        Return(("filename", "original_name"), shared.keep_columns("original_name").function),
        shared.keep_columns(*STORAGE_COLUMNS),
    ),
)


def list_file_ids(document: Document, paths: tuple[str, ...]) -> list[Any]:
    """Return the array at the first existing path, in its order; an empty list if it is not an array."""
    value, _ = first_at(document, paths)
    return value if isinstance(value, list) else []


def encode_source_ids(value: Any) -> tuple[bytes, ...]:
    """Return the encodings that the ledger may have for an `_id` to which a value refers: its own, and equal ones.

    The text of an ObjectId also refers to the ObjectId. MongoDB considers whole numbers of all types equal.
    """
    if value is ABSENT or value is None or value == "":
        return ()
    forms = [value]
    if type(value) is str and is_objectid_text(value):
        forms.append(ObjectId(value))
    number = None if isinstance(value, str) else number_of(value)
    if number is not None and number == number.to_integral_value() and abs(number) < 2**63:
        whole = int(number)
        forms += [Int64(whole), Decimal128(str(whole))]
        forms += [whole] if abs(whole) < 2**31 else []
        forms += [float(whole)] if int(float(whole)) == whole else []
    return tuple(dict.fromkeys(encode({"_id": form}) for form in forms))


def find_by_source_id(context: Context, lookup: Lookup, value: Any) -> tuple[Match, ...]:
    """Return the files to which a value refers by `_id`."""
    return next((found for key in encode_source_ids(value) if (found := context.find(lookup, key))), ())
