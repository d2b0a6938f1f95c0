"""agents → agents."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from bson import ObjectId

from mappings import shared
from mappings.files import file_ids
from mappings.users import TIER
from migrator.documents.codec import Document, encode
from migrator.documents.jsonb import normalize
from migrator.ids import is_objectid_text, uuid_text
from migrator.mapping.codecs import BOOLEAN, INTEGER, JSON, JSON_ARRAY, NUMBER, TEXT, UNREADABLE
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Context, Lookup, Row, first_at, type_name
from migrator.mapping.references import Key
from migrator.mapping.rules import Compute, imply_field, map_field
from schema.chat import agents

SEARCH = ("tool_resources.file_search.file_ids",)
STORES = ("tool_resources.file_search.vector_store_ids",)
CODE = ("tool_resources.code_interpreter.file_ids", "tool_resources.execute_code.file_ids")
NUMBERS = frozenset({"temperature", "topP", "maxTokens", "topK", "presencePenalty", "frequencyPenalty"})
SNAKE = {"topP": "top_p", "maxTokens": "max_tokens", "topK": "top_k",
         "presencePenalty": "presence_penalty", "frequencyPenalty": "frequency_penalty"}  # fmt: skip


def _named_files(document: Document) -> list[Any]:
    return [item for item in file_ids(document, SEARCH) + file_ids(document, CODE) if _is_id(item)]


def _is_id(item: Any) -> bool:
    return isinstance(item, str | ObjectId) and item != ""


def by_file_id(documents: Iterable[Document]) -> set[Any]:
    return {shared.FILES.uuid(item) for document in documents for item in _named_files(document)}


def by_object_id(documents: Iterable[Document]) -> set[Any]:
    return {key for document in documents for item in _named_files(document) if (key := own_id(item)) is not None}


def own_id(item: Any) -> bytes | None:
    """A reference to a file by its `_id`, as the ledger spells that."""
    if isinstance(item, ObjectId):
        return encode({"_id": item})
    return encode({"_id": ObjectId(item)}) if isinstance(item, str) and is_objectid_text(item) else None


def by_store(documents: Iterable[Document]) -> set[Any]:
    return {store for document in documents for store in _stores(document)}


def _stores(document: Document) -> list[str]:
    return [item for item in file_ids(document, STORES) if type(item) is str and "\0" not in item]


FILES = Lookup("files", by_file_id)
FILES_BY_ID = Lookup("files", by_object_id, by="_id")
FILES_BY_STORE = Lookup("files", by_store, by="vector_store_id")


def resources_of(context: Context, resources: Any) -> Any:
    """fileSearch and codeInterpreter with the UUIDs of files that exist; whatever else there is, is residue."""
    if resources is ABSENT or resources is None:
        return None
    if not isinstance(resources, dict):
        context.note("wrong_type", f"tool_resources ({type_name(resources)})")
        return None
    document = {"tool_resources": resources}
    packed: Document = {}
    listed = [_are_listed(context, document, paths) for paths in (SEARCH, STORES)]  # each may note a finding
    if any(listed):
        ids = _existing(context, document, SEARCH) + _of_stores(context, document)
        packed["fileSearch"] = {"fileIds": list(dict.fromkeys(ids)) if _of_stores(context, document) else ids}
    if _are_listed(context, document, CODE):
        packed["codeInterpreter"] = {"fileIds": _existing(context, document, CODE)}
    return normalize(packed)


def _are_listed(context: Context, document: Document, paths: tuple[str, ...]) -> bool:
    value, path = first_at(document, paths)
    if value is not ABSENT and not isinstance(value, list):
        context.note("wrong_type", f"{path} ({type_name(value)})")
    return isinstance(value, list)


def _existing(context: Context, document: Document, paths: tuple[str, ...]) -> list[str]:
    ids = []
    for place, item in enumerate(file_ids(document, paths)):
        if not _is_id(item):
            context.note("dangling_file", f"{paths[0]}.{place} ({type_name(item)})")
            continue
        own = own_id(item)
        found = context.find(FILES, shared.FILES.uuid(item)) or (own and context.find(FILES_BY_ID, own))
        if found:
            ids.append(uuid_text(found[0].id))
        else:
            context.note("dangling_file", f"{paths[0]}.{place}")
    return ids


def _of_stores(context: Context, document: Document) -> list[str]:
    return [uuid_text(found.id) for store in _stores(document) for found in context.find(FILES_BY_STORE, store)]


def parameters_of(context: Context, parameters: Any) -> Any:
    """model_parameters with keys in camelCase."""
    if parameters is ABSENT or parameters is None:
        return None
    if not isinstance(parameters, dict):
        context.note("wrong_type", f"model_parameters ({type_name(parameters)})")
        return None
    packed: Document = {}
    for name, value in parameters.items():
        key, path = camel(name), f"model_parameters.{name}"
        codec = NUMBER if key in NUMBERS and value is not None else JSON
        plain = codec.read(value, context.note, path)
        if plain is UNREADABLE:
            context.note("wrong_type", f"{path} ({type_name(value)})")
        else:
            packed.setdefault(key, plain)
    return normalize(packed)


def camel(name: str) -> str:
    """max_tokens → maxTokens; names without underscores stay."""
    return re.sub(r"(?<=[a-z0-9])_([a-z])", lambda found: found[1].upper(), name)


def parameters_back(parameters: Any) -> Any:
    return ABSENT if parameters is None else {SNAKE.get(key, key): value for key, value in parameters.items()}


def version_of(context: Context, version: Any, versions: Any) -> int:
    """`version`; else the number of `versions`; else 1."""
    if version is not ABSENT and version is not None:
        number = INTEGER.read(version, context.note, "version")
        if isinstance(number, int):
            return number
        context.note("wrong_type", f"version ({type_name(version)})")
    return len(versions) if isinstance(versions, list) and versions else 1


def own_name(document: Document, row: Row, context: Context) -> Any:
    context.note("defaulted", "name")
    return row["id"]


def no_instructions(document: Document, row: Row, context: Context) -> str:
    context.note("defaulted", "instructions")
    return ""


mapping = Collection(
    name="agents",
    table=agents,
    key=Key(path="id", collection="agents", text=True),
    constants=shared.tenant,
    rules=(
        shared.owner("author", column="created_by"),
        map_field("name", "name", TEXT, default_factory=own_name),
        map_field("description", "description", TEXT),
        map_field("instructions", "instructions", TEXT, default_factory=no_instructions),
        map_field("provider", "provider", TEXT, required=True),
        map_field("model", "model", TEXT, required=True),
        map_field("tools", "tools", JSON_ARRAY, default=[]),
        Compute(
            columns=("tool_resources",),
            fields=("tool_resources",),
            function=resources_of,
            lookups=(FILES, FILES_BY_ID, FILES_BY_STORE),
        ),
        Compute(
            columns=("parameters",),
            fields=("model_parameters",),
            function=parameters_of,
            restores="model_parameters",
            reverse=parameters_back,
            reverse_inputs=("parameters",),
        ),
        map_field(("avatar.filepath", "avatar"), "icon", TEXT),
        map_field("tier", "tier", TIER, default="free"),
        map_field("published", "published", BOOLEAN, default=False),
        Compute(columns=("version",), fields=("version", "versions"), function=version_of),
        *shared.dates(),
        imply_field("__v", 0),
    ),
)
