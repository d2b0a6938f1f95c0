"""Translation: row, ledger entry and residue restore any document, or the original document is kept."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from bson import Code, Decimal128, Int64, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappings import MAPPINGS, shared
from migrator.documents import jsonb
from migrator.documents.codec import Document, decode, encode, same
from migrator.findings import FINDINGS, REASONS
from migrator.mapping.collection import Collection
from migrator.mapping.context import ABSENT, Match
from migrator.mapping.loader import load_settings
from migrator.postgres import copy_format
from migrator.state.tenant import Options
from migrator.translation.interpreter import References, Translation, rebuild, source_id_of
from migrator.translation.outcomes import Archive, Finding, Loaded, Reject, Result
from tests import strategies
from tests.strategies import AGENT, CONVERSATIONS, COURSES, FILE_OID, FILES, MESSAGES, NO_PARENT, USERS

BY_NAME = {mapping.name: mapping for mapping in MAPPINGS}
MINIMAL = '[source]\nurl = "dump:nowhere"\n[target]\nurl = "embedded:nowhere"\n'


def user_id(number: int) -> bytes:
    return shared.USERS.uuid(USERS[number])


def make_references() -> References:
    """Return rows for the IDs of the strategies: three users, two conversations, a course, an agent, a file."""
    users = {user_id(n): (Match(user_id(n), {}),) for n in range(3)}
    carried = {"user_id": user_id(0), "provider": "openai", "agent_id": None}
    agents = {**carried, "agent_id": AGENT, "provider": "anthropic"}
    first, second = (shared.CONVERSATIONS.uuid(each) for each in CONVERSATIONS)
    course, file = shared.COURSES.uuid(COURSES[0]), shared.FILES.uuid(FILES[0])
    return {
        ("users", "id"): users,
        ("conversations", "id"): {first: (Match(first, carried),), second: (Match(second, agents),)},
        ("courses", "id"): {course: (Match(course, {}),)},
        ("agents", "id"): {AGENT: (Match(AGENT, {"provider": "anthropic", "model": "claude-3"}),)},
        ("files", "id"): {file: (Match(file, {"created_at": 0}),)},
        ("files", "_id"): {encode({"_id": FILE_OID}): (Match(file, {"created_at": 0}),)},
        ("files", "vector_store_id"): {"vs": (Match(file, {}),)},
    }


REFERENCES = make_references()


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    return configure(tmp_path_factory, "")


def configure(factory: pytest.TempPathFactory, more: str, adopter: bytes | None = None) -> Options:
    path = factory.mktemp("config") / "migrate.toml"
    path.write_text(MINIMAL + more)
    config = load_settings(path, {})
    return Options(config, config.tenant.id, adopter)


def translate(name: str, document: Document, options: Options, **more: Any) -> tuple[Result, list[Finding]]:
    return Translation(BY_NAME[name], options, REFERENCES, **more).translate(document)


def through_postgres(collection: Collection, row: dict[str, Any]) -> dict[str, Any]:
    """Return the row as PostgreSQL returns it: written as binary COPY, with jsonb in its normal form, and read."""
    kinds = collection.kinds
    data = copy_format.write_row([row.get(name) for name, _ in kinds], [kind for _, kind in kinds])
    fields = [
        reorder(field) if kind == "jsonb" and field is not None else field
        for field, (_, kind) in zip(split_tuple(data), kinds, strict=True)
    ]
    back = copy_format.read_row(fields, [kind for _, kind in kinds])
    carried = {key: row[key] for key, *_ in collection.carried_columns}
    return {**dict(zip((name for name, _ in kinds), back, strict=True)), **carried}


def split_tuple(data: bytes) -> list[bytes | None]:
    count, position = int.from_bytes(data[:2], "big"), 2
    fields: list[bytes | None] = []
    for _ in range(count):
        length = int.from_bytes(data[position : position + 4], "big", signed=True)
        position += 4
        fields.append(None if length < 0 else data[position : position + length])
        position += max(length, 0)
    assert position == len(data)
    return fields


def reorder(field: bytes) -> bytes:
    assert b"\0" not in field
    value = json.loads(field[1:], parse_float=Decimal, parse_int=Decimal)
    return field[:1] + jsonb.to_text(jsonb.normalize(value)).encode()


def assert_same(rebuilt: Document, document: Document) -> None:
    assert rebuilt.keys() == document.keys()
    for name, value in document.items():
        assert same(rebuilt[name], value), f"{name}: {rebuilt[name]!r} is not {value!r}"


def check_promise(name: str, document: Document, options: Options) -> Result:
    """Translate a document, and rebuild it if the result is a row."""
    collection = BY_NAME[name]
    result, findings = translate(name, document, options)
    assert {finding.code for finding in findings} <= FINDINGS.keys()
    assert not any("\0" in finding.detail for finding in findings)
    if isinstance(result, Reject):
        assert result.reason in REASONS
        assert "\0" not in result.detail
    elif isinstance(result, Loaded):
        row = through_postgres(collection, result.row)
        assert_same(rebuild(collection, decode(source_id_of(document)), row, result.residue), document)
    return result


@pytest.mark.parametrize("name", sorted(BY_NAME))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_documents_are_rebuilt(name: str, options: Options, data: st.DataObject) -> None:
    """Any document is rebuilt exactly, with its types, or the original is kept; no exception is raised."""
    document = decode(encode(data.draw(strategies.documents(name))))
    check_promise(name, document, options)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(BY_NAME))
@settings(max_examples=3_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_many_documents_are_rebuilt(name: str, options: Options, data: st.DataObject) -> None:
    """The same with many examples."""
    document = decode(encode(data.draw(strategies.documents(name))))
    check_promise(name, document, options)


# --- every rule of mapping-decisions.md, one sentence each ----------------------------------------------------------

T0, T1 = DatetimeMS(1_700_000_000_123), DatetimeMS(1_700_000_100_000)
DATED = {"createdAt": T0, "updatedAt": T1}
ID = ObjectId("65f0c0dea1b2c3d4e5f60718")
BASE: dict[str, Document] = {
    "users": {"_id": ID, "email": "a@example.org", **DATED},
    "conversations": {"_id": ID, "conversationId": CONVERSATIONS[0], "user": str(USERS[0]), **DATED},
    "messages": {"_id": ID, "messageId": MESSAGES[0], "conversationId": CONVERSATIONS[0], "text": "hello", **DATED},
    "agents": {"_id": ID, "id": AGENT, "author": USERS[0], "provider": "openai", "model": "gpt-4o",
               "name": "N", "instructions": "I", **DATED},
    "files": {"_id": ID, "file_id": FILES[0], "user": USERS[0], "filename": "a.pdf", "type": "application/pdf",
        "bytes": 5,
              "source": "local", "filepath": "/uploads/u/a.pdf", **DATED},
    "courses": {"_id": ID, "title": "T", "instructor": "I", **DATED},
    "modules": {"_id": ID, "courseId": COURSES[0], "title": "T", "order": 1, **DATED},
    "transactions": {"_id": ID, "user": USERS[0], "amount": 999, "status": "completed", "type": "one_time", **DATED},
    "memoryentries": {"_id": ID, "userId": USERS[0], "key": "k", "value": "v", "updated_at": T0},
}  # fmt: skip

MICROS = 1_700_000_000_123_000
SECONDS = int(ID.generation_time.timestamp()) * 1_000_000


def case(name: str, fields: Document, column: str, value: Any, *codes: str, reason: str = "") -> Any:
    return pytest.param(name, fields, column, value, codes, id=f"{name}.{column}: {reason}")


VALUES = [
    case("users", {"createdAt": DatetimeMS(-1)}, "created_at", -1000, reason="milliseconds are kept before 1970 too"),
    case("users", {"createdAt": "2023-11-14T22:13:20.123Z"}, "created_at", MICROS, "date_coerced", reason="ISO text"),
    case("users", {"createdAt": "Tue Nov 14 2023 23:13:20 GMT+0100 (CET)"}, "created_at", MICROS - 123_000,
         "date_coerced", reason="JavaScript's text"),
    case("users", {"createdAt": 1_700_000_000_123.0}, "created_at", MICROS, "date_coerced",
         reason="epoch milliseconds"),
    case("users", {"createdAt": Timestamp(1_700_000_000, 9)}, "created_at", MICROS - 123_000, "date_coerced",
         reason="BSON Timestamp"),
    case("users", {"createdAt": {"$date": T0}}, "created_at", MICROS, "date_coerced", reason="$date"),
    case("users", {"createdAt": {"$date": {"$numberLong": "1700000000123"}}}, "created_at", MICROS, "date_coerced",
         reason="$date of text"),
    case("users", {"createdAt": DatetimeMS(2**60)}, "created_at", SECONDS, "date_out_of_range", "defaulted",
         reason="beyond: the fallback"),
    case("users", {"lastLogin": DatetimeMS(253_402_300_800_000)}, "last_login_at", None, "date_out_of_range",
         reason="year 10000: NULL"),
    case("users", {"createdAt": ABSENT}, "created_at", SECONDS, "defaulted", reason="missing: the ObjectId's second"),
    case("users", {"updatedAt": ABSENT}, "updated_at", MICROS, reason="missing: created_at"),
    case("users", {"name": "a\0b"}, "name", "ab", "nul_removed", reason="NUL is taken out of text"),
    case("users", {"preferences": {"a": ["\0"]}}, "preferences", {"a": [""]}, "nul_removed",
         reason="NUL is taken out of JSON"),
    case("users", {"preferences": {"a": math.nan}}, "preferences", {"a": None}, "non_finite",
         reason="NaN becomes null"),
    case("users", {"preferences": {"a": Int64(2**62 + 1)}}, "preferences", {"a": 2**62 + 1},
         reason="Int64 stays exact"),
    case("users", {"preferences": {"a": Decimal128("1E+400")}}, "preferences", {"a": 10**400},
         reason="Decimal128 stays exact"),
    case("users", {"role": "ADMIN"}, "role", "admin", reason="enums are compared without case"),
    case("users", {"tier": "gold"}, "tier", "free", "unknown_enum", reason="an unknown label: the default"),
    case("users", {"emailVerified": "true"}, "email_verified", True, "coerced", reason="a text of a truth"),
    case("users", {"emailVerified": []}, "email_verified", False, "wrong_type", reason="no reading: the default"),
    case("users", {"name": {}}, "name", None, "wrong_type", reason="no reading and no default: NULL"),
    case("users", {"name": Code("f()")}, "name", "f()", "coerced", reason="code is no text, but reads as one"),
    case("courses", {"order": "12"}, "order", 12, "coerced", reason="a text of a number"),
    case("courses", {"order": 2**40}, "order", 0, "wrong_type", reason="beyond the column"),
]  # fmt: skip

COLUMNS = [
    case("users", {"facebookId": "f", "discordId": "d"}, "provider_id", "f", reason="the first in order"),
    case("users", {"googleId": None, "appleId": "a"}, "provider_id", "a", reason="null is not there"),
    case("users", {"lastLoginAt": T1}, "last_login_at", 1_700_000_100_000_000, reason="lastLoginAt will do"),
    *(case("conversations", {"endpoint": e, "model": "m"}, "provider", p, reason=f"endpoint {e}") for e, p in [
        ("openAI", "openai"), ("assistants", "openai"), ("gptPlugins", "openai"), ("azureOpenAI", "azure"),
        ("azureAssistants", "azure"),
        ("anthropic", "anthropic"), ("google", "google"), ("bedrock", "bedrock"), ("xai", "xai"), ("OpenRouter",
        "openrouter")]),
    *(case("conversations", {"model": m}, "provider", p, reason=f"model {m}") for m, p in [
        ("gpt-4o", "openai"), ("o1-mini", "openai"), ("o3", "openai"), ("chatgpt-4", "openai"), ("claude-3",
        "anthropic"),
        ("gemini-pro", "google"), ("grok-2", "xai")]),
    case("conversations", {"model": "m"}, "provider", "unknown", "provider_unknown", reason="nobody knows"),
    case("conversations", {"endpoint": "agents", "agent_id": AGENT}, "provider", "anthropic", reason="the agent's"),
    case("conversations", {"endpoint": "agents", "agent_id": AGENT}, "model", "claude-3", reason="the agent's"),
    case("conversations", {"endpoint": "xai"}, "model", "unknown", "model_unknown", reason="none"),
    case("conversations", {"endpoint": "xai", "model": "m", "agentId": "gone"}, "agent_id", "gone", "dangling_agent",
         reason="kept"),
    case("conversations", {"endpoint": "xai", "model": "m", "isArchived": True}, "archived", True, reason="isArchived"),
    case("conversations", {"endpoint": "xai", "model": "m", "top_p": 0.5, "maxOutputTokens": 9, "presencePenalty": 1},
         "parameters",
         {"topP": 0.5, "maxTokens": 9, "presencePenalty": 1}, reason="in camelCase"),
    case("messages", {"text": "", "content": [{"type": "text", "text": "a"}, {"type": "x"}, {"type": "text",
         "text": {"value": "b"}}]},
         "content", "a\n\nb", reason="the text parts of content"),
    case("messages", {"text": ABSENT}, "content", "", reason="neither"),
    case("messages", {"isCreatedByUser": True, "sender": "System"}, "role", "user", reason="isCreatedByUser"),
    case("messages", {"sender": "SYSTEM"}, "role", "system", reason="sender System in any case"),
    case("messages", {"sender": "Claude"}, "role", "assistant", reason="anybody else"),
    case("messages", {"endpoint": "agents"}, "provider", "openai", reason="agents: the conversation's"),
    case("messages", {"tokenCount": 7, "isCreatedByUser": True}, "prompt_tokens", 7, reason="tokenCount of a user"),
    case("messages", {"tokenCount": 7}, "completion_tokens", 7, reason="tokenCount of an assistant"),
    case("messages", {"tokenCount": 7, "promptTokens": None}, "completion_tokens", 7,
         reason="null is no field of its own"),
    case("messages", {"tokenCount": 7, "promptTokens": 3}, "completion_tokens", None, reason="own fields win"),
    case("messages", {"error": True}, "error_message", "hello", reason="text of an error"),
    case("messages", {"parentMessageId": MESSAGES[1]}, "parent_id", shared.MESSAGES.uuid(MESSAGES[1]),
         reason="a parent"),
    *(case("messages", {"parentMessageId": p}, "parent_id", None, reason=f"root {p!r}") for p in (NO_PARENT, "", None,
         ABSENT)),
    case("agents", {"name": ABSENT}, "name", AGENT, "defaulted", reason="its id"),
    case("agents", {"instructions": ABSENT}, "instructions", "", "defaulted", reason="empty"),
    case("agents", {"avatar": {"filepath": "/a.png", "source": "s3"}}, "icon", "/a.png", reason="avatar.filepath"),
    case("agents", {"version": 3.0}, "version", 3, reason="a double that is whole"),
    case("agents", {"versions": [{}, {}]}, "version", 2, reason="the number of versions"),
    case("agents", {}, "version", 1, reason="else 1"),
    case("agents", {"tool_resources": {"file_search": {"file_ids": [FILES[0], "gone"], "vector_store_ids": ["vs"]}}},
         "tool_resources",
         {"fileSearch": {"fileIds": [FILES[0]]}}, "dangling_file", reason="files that exist, each once"),
    case("agents", {"tool_resources": {"execute_code": {"file_ids": [FILE_OID]}}}, "tool_resources",
         {"codeInterpreter": {"fileIds": [FILES[0]]}}, reason="by _id"),
    case("agents", {"model_parameters": {"top_p": 0.5, "max_context_tokens": 5}}, "parameters", {"topP": 0.5,
         "maxContextTokens": 5}, reason="camelCase"),
    case("files", {}, "original_name", "a.pdf", reason="the filename"),
    case("files", {"bytes": Int64(2**40)}, "size", 2**31 - 1, "clamped", reason="clamped"),
    case("files", {"bytes": Int64(2**40)}, "metadata", {"sizeBytes": 2**40}, "clamped", reason="exact beside it"),
    case("files", {"metadata": {"a": 1}, "width": 3, "context": "c"}, "metadata", {"a": 1, "width": 3,
         "context": "c"}, reason="and beside"),
    case("files", {}, "storage_key", "/uploads/u/a.pdf", reason="without a rule as it is"),
    case("courses", {"instructor": ABSENT, "thumbnailUrl": "t"}, "instructor", "", "defaulted", reason="empty"),
    case("courses", {"thumbnailUrl": "t"}, "thumbnail", "t", reason="thumbnailUrl"),
    case("modules", {"videoMetadata": {"recordingDate": T0, "isEvergreen": True}, "streamRecordingId": "s"},
         "recording_metadata",
         {"isEvergreen": True, "recordingDate": "2023-11-14T22:13:20.123Z", "streamRecordingId": "s"},
         reason="an ISO date"),
    case("transactions", {"currency": "EUR"}, "currency", "eur", reason="lower case"),
    case("transactions", {}, "currency", "usd", "defaulted", reason="usd"),
    case("memoryentries", {}, "created_at", MICROS, reason="updated_at for both"),
]  # fmt: skip


def with_fields(name: str, fields: Document) -> Document:
    return {key: value for key, value in {**BASE[name], **fields}.items() if value is not ABSENT}


@pytest.mark.parametrize(("name", "fields", "column", "value", "codes"), VALUES + COLUMNS)
def test_column(name: str, fields: Document, column: str, value: Any, codes: tuple[str, ...], options: Options) -> None:
    """The column has this value, the document has these findings, and it is rebuilt."""
    document = decode(encode(with_fields(name, fields)))
    result = check_promise(name, document, options)
    assert isinstance(result, Loaded)
    assert result.row[column] == value
    usual = {(finding.code, finding.detail) for finding in translate(name, BASE[name], options)[1]}
    found = [(finding.code, finding.detail) for finding in translate(name, document, options)[1]]
    assert [code for code, detail in found if code in codes or (code, detail) not in usual] == list(codes)


REJECTED = [
    ("users", {"email": ABSENT}, "missing_required"), ("users", {"email": []}, "wrong_type"),
    ("users", {"email": "x" * 3000}, "too_long"), ("conversations", {"user": str(ID)}, "orphan"),
    ("conversations", {"conversationId": ""}, "missing_required"), ("messages", {"conversationId": "gone"}, "orphan"),
    ("messages", {"conversationId": ABSENT}, "missing_required"), ("messages", {"text": 5.5, "messageId": None},
    "missing_required"),
    ("agents", {"id": 5}, "wrong_type"), ("agents", {"id": "x" * 3000}, "too_long"), ("agents", {"id": Code("a")},
    "wrong_type"),
    ("files", {"bytes": ABSENT}, "missing_required"), ("files", {"bytes": 1.5}, "wrong_type"),
    ("modules", {"courseId": COURSES[1]}, "orphan"), ("transactions", {"amount": 9.5}, "fractional_amount"),
    ("transactions", {"amount": 2**31}, "wrong_type"), ("transactions", {"amount": ABSENT}, "missing_required"),
    ("memoryentries", {"key": "x" * 3000}, "too_long"), ("memoryentries", {"userId": ABSENT}, "orphan"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "reason"), REJECTED)
def test_rejected(name: str, fields: Document, reason: str, options: Options) -> None:
    """A document that cannot become a row is rejected with the reason and without findings."""
    result, findings = translate(name, with_fields(name, fields), options)
    assert isinstance(result, Reject)
    assert (result.reason, findings) == (reason, [])


def test_token_credits_are_archived(options: Options) -> None:
    """A transaction without amount, status and type is archived: it is no payment."""
    document = {"_id": ID, "user": USERS[0], "tokenType": "prompt", "rawAmount": -5}
    result, findings = translate("transactions", document, options)
    assert (result, [finding.code for finding in findings]) == (Archive(), ["not_a_payment"])


@pytest.mark.parametrize(
    ("amount", "currency", "cents"),
    [(19.99, "usd", 1999), ("19.90", "eur", 1990), (500, "JPY", 500), (Decimal128("0.01"), "usd", 1), (1.005, "usd",
    None),
     (Decimal128("0.1000000000000000000000000000000001"), "usd", None)],
)  # fmt: skip
def test_major_units(amount: Any, currency: str, cents: int | None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Amounts in major units are multiplied by 100; yen are not; a fraction of a cent is rejected."""
    options = configure(tmp_path_factory, '[transactions]\namount_unit = "major"\n')
    document = with_fields("transactions", {"amount": amount, "currency": currency})
    result = check_promise("transactions", document, options)
    assert result.row["amount"] == cents if isinstance(result, Loaded) else cents is None


def test_orphans_get_the_configured_owner(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With policies.orphan_owner, documents without owner belong to that user."""
    options = configure(tmp_path_factory, "", user_id(2))
    for name, field, column in (("conversations", "user", "user_id"), ("agents", "author", "created_by")):
        result = check_promise(name, with_fields(name, {field: ID}), options)
        assert isinstance(result, Loaded)
        assert result.row[column] == user_id(2)


def test_storage_rules(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The first storage rule that matches determines provider, key and URL."""
    rule = '[[storage]]\nsource = "local"\nprovider = "r2"\nmatch = "^/uploads/(.*)$"\nkey = "u/$1"\nurl = "https://c/$1"\n'
    result = check_promise("files", BASE["files"], configure(tmp_path_factory, rule))
    assert isinstance(result, Loaded)
    stored = [result.row[column] for column in ("storage_provider", "storage_key", "url")]
    assert stored == ["r2", "u/u/a.pdf", "https://c/u/a.pdf"]


def test_module_takes_the_course_that_lists_it(options: Options) -> None:
    """A module without courseId and order belongs to the course that lists it."""
    document = with_fields("modules", {"courseId": ABSENT, "order": ABSENT})
    course = shared.COURSES.uuid(COURSES[0])
    result, _ = translate("modules", document, options, listed={shared.MODULES.uuid(ID): ((course, 4),)})
    assert isinstance(result, Loaded)
    assert (result.row["course_id"], result.row["order"]) == (course, 4)


@pytest.mark.parametrize("value", [{"$ref": "a", "$id": 1, "$db": None}, {"$id": 1, "x": Regex("a"), "$ref": "a"}])
def test_fields_that_look_like_a_reference(value: Document, options: Options) -> None:
    """$ref and $id as top-level fields remain fields."""
    check_promise("users", {**BASE["users"], **value}, options)


def nest(depth: int) -> Any:
    value: Any = 1
    for number in range(depth):
        value = {"n": value} if number % 3 else [value]
    return value


@pytest.mark.parametrize("name", sorted(BASE))
def test_deep_documents(name: str, options: Options) -> None:
    """A value nested as deeply as a server can be configured to allow (250) is rebuilt in any field."""
    for field in strategies.USUAL[name]:
        check_promise(name, decode(encode({**BASE[name], field: nest(240)})), options)


@pytest.mark.parametrize("depth", [300, 400, 600, 900])
def test_too_deep_documents(depth: int, options: Options) -> None:
    """A value nested more deeply than the stack of Python allows raises no exception."""
    for name, base in BASE.items():
        for field in strategies.USUAL[name]:
            result, _ = translate(name, {**base, field: nest(depth)}, options)
            assert not isinstance(result, Reject) or result.reason in REASONS
