"""Collection agents → table agents."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from mappings import shared
from mappings.files import encode_source_ids, find_by_source_id, list_file_ids
from mappings.users import TIER
from migrator.documents.codec import Document
from migrator.documents.jsonb import normalize
from migrator.ids import uuid_text
from migrator.mapping.codecs import BOOLEAN, INTEGER, JSON, JSON_ARRAY, NUMBER, TEXT, UNREADABLE
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Context, Lookup, Row, first_at, type_name
from migrator.mapping.references import Key
from migrator.mapping.rules import Compute, Return, imply_field, map_field
from schema.chat import agents

SEARCH = ("tool_resources.file_search.file_ids",)
STORES = ("tool_resources.file_search.vector_store_ids",)
# The name of the tool in the Assistants API, and LibreChat's. An agent may have both.
CODE = (("tool_resources.code_interpreter.file_ids",), ("tool_resources.execute_code.file_ids",))
NUMBERS = frozenset({"temperature", "topP", "maxTokens", "topK", "presencePenalty", "frequencyPenalty"})
SNAKE = {"topP": "top_p", "maxTokens": "max_tokens", "topK": "top_k",
         "presencePenalty": "presence_penalty", "frequencyPenalty": "frequency_penalty"}  # fmt: skip


def _list_files(document: Document) -> list[Any]:
    return [item for paths in (SEARCH, *CODE) for item in list_file_ids(document, paths) if _is_id(item)]


def _is_id(item: Any) -> bool:
    return item is not None and item != ""


def collect_file_ids(documents: Iterable[Document]) -> set[Any]:
    """Return the UUIDs of all files to which agents refer by `file_id`."""
    return {shared.FILES.uuid(item) for document in documents for item in _list_files(document)}


def collect_source_ids(documents: Iterable[Document]) -> set[Any]:
    """Return the encoded `_id`s of all files to which agents refer by `_id`."""
    return {key for document in documents for item in _list_files(document) for key in encode_source_ids(item)}


def collect_stores(documents: Iterable[Document]) -> set[Any]:
    """Return the vector stores to which agents refer."""
    return {store for document in documents for store in _list_stores(document)}


def _list_stores(document: Document) -> list[str]:
    return [item for item in list_file_ids(document, STORES) if type(item) is str and "\0" not in item]


FILES = Lookup("files", collect_file_ids)
FILES_BY_ID = Lookup("files", collect_source_ids, by="_id")
FILES_BY_STORE = Lookup("files", collect_stores, by="vector_store_id")


def compute_resources(context: Context, resources: Any) -> Any:
    """Return fileSearch and codeInterpreter with the UUIDs of existing files. All other keys go to the residue."""
    if resources is ABSENT or resources is None:
        return None
    if not isinstance(resources, dict):
        context.note("wrong_type", f"tool_resources ({type_name(resources)})")
        return None
    document = {"tool_resources": resources}
    packed: Document = {}
    listed = [_has_list(context, document, paths) for paths in (SEARCH, STORES)]  # each call may note a finding
    if any(listed):
        ids = _find_files(context, document, SEARCH) + _find_files_of_stores(context, document)
        packed["fileSearch"] = {
            "fileIds": list(dict.fromkeys(ids)) if _find_files_of_stores(context, document) else ids
        }
    tools = [paths for paths in CODE if _has_list(context, document, paths)]
    if tools:
        ids = [each for paths in tools for each in _find_files(context, document, paths)]
        packed["codeInterpreter"] = {"fileIds": list(dict.fromkeys(ids)) if len(tools) > 1 else ids}
    if len(tools) > 1:
        context.note("duplicate_field", ", ".join(path.removesuffix(".file_ids") for (path,) in tools))
    return normalize(packed)


def _has_list(context: Context, document: Document, paths: tuple[str, ...]) -> bool:
    value, path = first_at(document, paths)
    if value is not ABSENT and not isinstance(value, list):
        context.note("wrong_type", f"{path} ({type_name(value)})")
    return isinstance(value, list)


def _find_files(context: Context, document: Document, paths: tuple[str, ...]) -> list[str]:
    ids = []
    for place, item in enumerate(list_file_ids(document, paths)):
        if not _is_id(item):
            context.note("dangling_file", f"{paths[0]}.{place} ({type_name(item)})")
            continue
        found = context.find(FILES, shared.FILES.uuid(item)) or find_by_source_id(context, FILES_BY_ID, item)
        if found:
            ids.append(uuid_text(found[0].id))
        else:
            context.note("dangling_file", f"{paths[0]}.{place}")
    return ids


def _find_files_of_stores(context: Context, document: Document) -> list[str]:
    return [uuid_text(found.id) for store in _list_stores(document) for found in context.find(FILES_BY_STORE, store)]


def compute_parameters(context: Context, parameters: Any) -> Any:
    """Return model_parameters with keys in camelCase."""
    if parameters is ABSENT or parameters is None:
        return None
    if not isinstance(parameters, dict):
        context.note("wrong_type", f"model_parameters ({type_name(parameters)})")
        return None
    packed: Document = {}
    for name, value in parameters.items():
        key, path = to_camel_case(name), f"model_parameters.{name}"
        codec = NUMBER if key in NUMBERS and value is not None else JSON
        plain = codec.read(value, context.note, path)
        if plain is UNREADABLE:
            context.note("wrong_type", f"{path} ({type_name(value)})")
        else:
            packed.setdefault(key, plain)
    return normalize(packed)


def to_camel_case(name: str) -> str:
    """Convert a name to camelCase: max_tokens → maxTokens."""
    return re.sub(r"(?<=[a-z0-9])_([a-z])", lambda found: found[1].upper(), name)


def restore_parameters(parameters: Any) -> Any:
    """Return model_parameters with the spelling of LibreChat."""
    return ABSENT if parameters is None else {SNAKE.get(key, key): value for key, value in parameters.items()}


def compute_icon(context: Context, avatar: Any) -> str | None:
    """Return the file path of the avatar. An avatar that is a text is the path itself."""
    value, path = first_at({"avatar": avatar}, ("avatar.filepath", "avatar"))
    if value is ABSENT:
        return None
    if type(value) is str and path == "avatar":
        context.note("coerced", path)
    plain = TEXT.read(value, context.note, path)
    if plain is UNREADABLE:
        context.note("wrong_type", f"{path} ({type_name(value)})")
        return None
    return str(plain)


def compute_version(context: Context, version: Any, versions: Any) -> int:
    """Return `version`, otherwise the number of `versions`, otherwise 1."""
    if version is not ABSENT and version is not None:
        number = INTEGER.read(version, context.note, "version")
        if isinstance(number, int):
            return number
        context.note("wrong_type", f"version ({type_name(version)})")
    return len(versions) if isinstance(versions, list) and versions else 1


def return_version(document: Document, row: Row) -> None:
    """Set the version, also in a document whose version was the number of its `versions`."""
    document["version"] = row["version"]


FILE_LISTS = ("file_ids", "vector_store_ids")


def return_resources(document: Document, row: Row) -> None:
    """Set the files of both tools. Other resources stay."""
    packed, found = row["tool_resources"] or {}, document.get("tool_resources")
    resources = dict(found) if type(found) is dict else {}
    for name, tools in (("fileSearch", ("file_search",)), ("codeInterpreter", ("execute_code", "code_interpreter"))):
        for tool in tools:
            if type(resources.get(tool)) is dict:
                resources[tool] = {
                    k: v for k, v in resources[tool].items() if k not in ("file_ids", "vector_store_ids")
                }
        if name in packed:
            resources[tools[0]] = {**(resources.get(tools[0]) or {}), "file_ids": packed[name].get("fileIds", [])}
    if row["tool_resources"] is None and not any(resources.values()):
        document.pop("tool_resources", None)
    else:
        document["tool_resources"] = resources


def default_name(document: Document, row: Row, context: Context) -> Any:
    """Return the ID as the name of an agent without one."""
    context.note("defaulted", "name")
    return row["id"]


def default_instructions(document: Document, row: Row, context: Context) -> str:
    """Return empty instructions."""
    context.note("defaulted", "instructions")
    return ""


mapping = Collection(
    name="agents",
    table=agents,
    key=Key(path="id", collection="agents", text=True),
    rules=(
        shared.owner("author", column="created_by"),
        map_field("name", "name", TEXT, default_factory=default_name),
        map_field("description", "description", TEXT),
        map_field("instructions", "instructions", TEXT, default_factory=default_instructions),
        Compute(
            columns=("provider",),
            fields=("provider",),
            function=shared.read_provider,
            restores="provider",
            reverse=shared.spelling_of_provider,
            reverse_inputs=("provider",),
        ),
        map_field("model", "model", TEXT, required=True),
        map_field("tools", "tools", JSON_ARRAY, default=[]),
        Compute(
            columns=("tool_resources",),
            fields=("tool_resources",),
            function=compute_resources,
            lookups=(FILES, FILES_BY_ID, FILES_BY_STORE),
        ),
        Compute(
            columns=("parameters",),
            fields=("model_parameters",),
            function=compute_parameters,
            restores="model_parameters",
            reverse=restore_parameters,
            reverse_inputs=("parameters",),
        ),
        Compute(
            columns=("icon",),
            fields=("avatar",),
            function=compute_icon,
            restores="avatar",
            reverse=lambda icon: ABSENT if icon is None else {"filepath": icon},
            reverse_inputs=("icon",),
        ),
        map_field("tier", "tier", TIER, default="free"),
        map_field("published", "published", BOOLEAN, default=False),
        Compute(columns=("version",), fields=("version", "versions"), function=compute_version),
        *shared.dates(),
        imply_field("__v", 0),
    ),
    returns=(Return(("version",), return_version), Return(("tool_resources",), return_resources)),
)
