"""Hypothesis strategies for BSON: values of every type, and documents as the mappings know them, odd things included.

`documents(name)` starts from the fields an application writes, then puts weird values, unknown fields and gaps in. Ids
are taken from the few below, so that references meet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from hypothesis import strategies as st

Document = dict[str, Any]
Values = st.SearchStrategy[Any]

USERS = [ObjectId(f"65f0c0de00000000000000{n:02x}") for n in range(3)]
COURSES = [ObjectId(f"65f0c0de00000000000100{n:02x}") for n in range(2)]
CONVERSATIONS = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"]
MESSAGES = [f"33333333-3333-4333-8333-3333333333{n:02x}" for n in range(3)]
FILES = ["44444444-4444-4444-8444-444444444444", "file-no-uuid"]
FILE_OID = ObjectId("65f0c0de0000000000020000")
AGENT = "agent_one"
NO_PARENT = "00000000-0000-0000-0000-000000000000"

# --- values ---------------------------------------------------------------------------------------------------------

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(
        [
            "", "\0", "a\0b", "\0\0", "é", "é", "𝔘𝔫𝔦", "\ufeff", "\uffff", "\u202e", " ", "\r\n", "true", "FALSE",
            "1", "-0", "1.50", "1e5",
            "1e999", "Infinity", "NaN", "ADMIN", " pro ", "Straße", "ı", "2024-02-30", "2024-05-01T12:00:00.123Z",
            "20240501", "0000-01-01",
            "+012345-01-01T00:00:00.000Z", "Wed May 01 2024 12:00:00 GMT+0200 (CEST)", "null", "undefined", "[]",
            "{}", "System",
            "65f0c0de0000000000000000", "65F0C0DE0000000000000001", CONVERSATIONS[0].upper(), NO_PARENT,
        ]
    ),
)  # fmt: skip

keys = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
    st.sampled_from(
        ["", "$set", "a.b", "$date", "$ref", "$id", "$db", "$numberLong", "_id", "0", "é", "key", "__proto__"]
    ),
)


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A BSON value that is yet to be made: to Hypothesis Code is a str and Int64 an int, and shrinking fails."""

    make: Callable[..., Any]
    parts: tuple[Any, ...]


def spell(make: Callable[..., Any], *parts: Values) -> Values:
    return st.tuples(*parts).map(lambda drawn: Unbuilt(make, drawn))


def build(value: Any) -> Any:
    """The BSON value that was meant."""
    if isinstance(value, Unbuilt):
        return value.make(*map(build, value.parts))
    if isinstance(value, dict):
        return {key: build(item) for key, item in value.items()}
    return [build(item) for item in value] if isinstance(value, list) else value


def make_regex(pattern: str, flags: set[str]) -> Regex[str]:
    return Regex(pattern, "".join(flags))


int32s = st.one_of(st.integers(-(2**31), 2**31 - 1), st.sampled_from([0, 1, -1, 5, 2**31 - 1, -(2**31)]))
int64s = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 1, 5, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)]))
doubles = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, 5.0, 0.1, 1e15, 1e16, 1e22, 1.5e300, 5e-324, math.nan, math.inf, -math.inf]),
)
DECIMALS = [
    "0", "-0", "0.00", "-0E+3", "0E+6111", "0E-6176", "1", "1.0", "1.10", "1E+3", "1E+400", "1E-400", "NaN", "sNaN",
    "-Infinity",
    "9.999999999999999999999999999999999E+6144", "1E-6176", "12345678901234567890",
    "0.1000000000000000000000000000000001",
]  # fmt: skip
MILLISECONDS = [
    0, 1, -1, 253_402_300_799_999, 253_402_300_800_000, -62_135_596_800_000, -62_135_596_800_001, -210_866_803_200_000,
    -210_866_803_200_001, 2**63 - 1, -(2**63),
]  # fmt: skip
milliseconds = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.integers(0, 2_000_000_000_000), st.sampled_from(MILLISECONDS)
)
patterns = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
subtypes = st.one_of(st.integers(0, 255), st.sampled_from([0, 2, 3, 4, 128]))
uint32s = st.integers(0, 2**32 - 1)

_scalars: Values = st.one_of(
    st.none(),
    st.booleans(),
    spell(int, int32s),
    spell(Int64, int64s),
    spell(float, doubles),
    spell(Decimal128.from_bid, st.binary(min_size=16, max_size=16)),
    spell(Decimal128, st.sampled_from(DECIMALS)),
    spell(str, texts),
    spell(DatetimeMS, milliseconds),
    spell(ObjectId, st.binary(min_size=12, max_size=12)),
    st.sampled_from(USERS),
    spell(make_regex, patterns, st.sets(st.sampled_from("ilmsux"))),
    spell(Binary, st.binary(max_size=20), subtypes),
    spell(Timestamp, uint32s, uint32s),
    spell(Code, texts),
    st.sampled_from([MinKey(), MaxKey()]),
)


def _branches(children: Values) -> Values:
    inner = st.dictionaries(keys, children, max_size=3)
    named = children.filter(lambda value: value is not None)
    return st.one_of(
        st.lists(children, max_size=3),
        inner,
        spell(Code, texts, inner),
        spell(DBRef, patterns, named, st.one_of(st.none(), patterns)),
    )


scalars: Values = _scalars.map(build)
values: Values = st.recursive(_scalars, _branches, max_leaves=8).map(build)


objectids = st.one_of(st.sampled_from(USERS), st.binary(min_size=12, max_size=12).map(ObjectId))


@st.composite
def nests(draw: st.DrawFn) -> Any:
    """A value under as many documents and arrays as the server allows, and some more."""
    value = draw(scalars)
    for number in range(draw(st.integers(20, 120))):
        value = {"n": value} if number % 2 else [value]
    return value


# --- documents ------------------------------------------------------------------------------------------------------

moments = st.integers(1_600_000_000_000, 1_750_000_000_000).map(DatetimeMS)
words = st.sampled_from(["", "one", "two words", "Ünïcode", "x" * 300])
users = st.sampled_from(USERS)
user_texts = users.map(str)
truths = st.booleans()
numbers = st.sampled_from([0, 1, 0.5, 1.0, 100, Int64(7)])
DATES: dict[str, Values] = {"createdAt": moments, "updatedAt": moments, "__v": st.just(0)}
MODELS = st.sampled_from(["gpt-4o", "claude-3-opus", "gemini-pro", "grok-2", "o1", "mystery", None])
ENDPOINTS = st.sampled_from(
    ["openAI", "azureOpenAI", "anthropic", "google", "agents", "OpenRouter", "assistants", "", None]
)
PARTS = st.lists(
    st.sampled_from([{"type": "text", "text": "part"}, {"type": "text", "text": {"value": "v"}}, {"type": "think"},
    "x"]),
    max_size=3,
)  # fmt: skip
FILE_LISTS = st.lists(st.sampled_from([*FILES, FILE_OID, str(FILE_OID), "gone", "", 5]), max_size=3)

# What the application writes, by collection. Names that are not in `MAY_LACK` are nearly always there.
USUAL: dict[str, dict[str, Values]] = {
    "users": {
        "email": st.sampled_from(["a@example.org", "B@example.org"]), "emailVerified": truths, "password": words,
        "name": words,
        "username": words, "avatar": words, "tier": st.sampled_from(["free", "pro", "PRO", "gold"]),
        "role": st.sampled_from(["USER", "ADMIN", "user"]), "provider": st.sampled_from(["local", "google", "github"]),
        "googleId": words, "githubId": words, "preferences": st.dictionaries(words, numbers, max_size=2),
        "lastLogin": moments, "lastLoginAt": moments, **DATES,
    },
    "files": {
        "file_id": st.sampled_from(FILES), "user": users, "filename": words, "filepath": words, "file_path": words,
        "type": words,
        "bytes": st.sampled_from([0, 10, 5.0, Int64(2**40)]), "source": st.sampled_from(["local", "s3"]),
        "embedded": truths,
        "vectorStoreId": words, "context": words, "width": numbers, "height": numbers, "object": st.just("file"),
        "metadata": st.dictionaries(st.sampled_from(["fileIdentifier", "sizeBytes", "context", "x"]), numbers,
        max_size=2), **DATES,
    },
    "agents": {
        "id": st.just(AGENT), "author": users, "name": words, "description": words, "instructions": words,
        "provider": words,
        "model": words, "tools": st.lists(words, max_size=2), "avatar": st.sampled_from([None, "a", {"filepath": "/a",
        "source": "s3"}, {}]),
        "tool_resources": st.fixed_dictionaries({}, optional={
            "file_search": st.fixed_dictionaries({}, optional={"file_ids": FILE_LISTS,
            "vector_store_ids": st.just(["vs"])}),
            "code_interpreter": st.fixed_dictionaries({"file_ids": FILE_LISTS}),
            "execute_code": st.fixed_dictionaries({"file_ids": FILE_LISTS}),
        }),
        "model_parameters": st.dictionaries(
            st.sampled_from(["temperature", "top_p", "topP", "max_tokens", "stop_words", "topK"]), numbers, max_size=3
        ),
        "version": st.sampled_from([1, 2.0, Int64(3)]), "versions": st.lists(st.just({}), max_size=2),
        "tier": st.sampled_from(["free", "pro"]), "published": truths, **DATES,
    },
    "conversations": {
        "conversationId": st.sampled_from(CONVERSATIONS), "user": user_texts, "title": words, "endpoint": ENDPOINTS,
        "model": MODELS, "agentId": st.just(AGENT), "agent_id": st.sampled_from([AGENT, "agent_gone"]),
        "temperature": numbers,
        "topP": numbers, "top_p": numbers, "maxTokens": numbers, "max_tokens": numbers, "presence_penalty": numbers,
        "frequencyPenalty": numbers, "promptPrefix": words, "chatGptLabel": words, "modelLabel": words,
        "isArchived": truths,
        "isTemporary": st.just(False), "tags": st.just([]), "files": st.just([]), **DATES,
    },
    "messages": {
        "messageId": st.sampled_from(MESSAGES), "conversationId": st.sampled_from(CONVERSATIONS), "user": user_texts,
        "text": words, "content": PARTS, "sender": st.sampled_from(["User", "Claude", "System", "Agent", "GPT-4o"]),
        "isCreatedByUser": truths, "parentMessageId": st.sampled_from([*MESSAGES, NO_PARENT, "", None]),
        "model": MODELS,
        "endpoint": ENDPOINTS, "finish_reason": words, "tokenCount": numbers, "promptTokens": numbers,
        "completionTokens": numbers,
        "error": truths, "unfinished": st.just(False), "isTemporary": st.just(False), "_meiliIndex": st.just(True),
        "children": st.lists(st.sampled_from(MESSAGES), max_size=2), **DATES,
    },
    "memoryentries": {"userId": users, "key": words, "value": words, "updated_at": moments, "createdAt": moments,
        "__v": st.just(0)},
    "transactions": {
        "user": users, "amount": st.sampled_from([999, 1999.0, "1999", 19.99]), "currency": st.sampled_from(["usd",
        "EUR", "JPY"]),
        "status": words, "type": words, "stripeSessionId": words, "stripeCustomerId": words, "productId": words,
        **DATES,
    },
    "courses": {
        "title": words, "description": words, "instructor": words, "instructorBio": words, "thumbnailUrl": words,
        "tier": st.sampled_from(["free", "pro"]), "published": truths, "order": numbers,
        "modules": st.lists(objectids, max_size=2), **DATES,
    },
    "modules": {
        "courseId": st.sampled_from(COURSES), "title": words, "description": words, "videoUrl": words,
        "videoProvider": words,
        "streamRecordingId": words, "duration": numbers, "thumbnail": words, "transcript": words,
        "transcriptUrl": words,
        "videoMetadata": st.fixed_dictionaries({}, optional={"recordingDate": moments, "isEvergreen": truths,
        "storage": words}),
        "published": truths, "order": numbers, **DATES,
    },
    "document_chunks": {
        "file_id": st.sampled_from([*FILES, FILE_OID, str(FILE_OID), "gone", "", None]),
        "position": st.sampled_from([0, 1, 2, 3, 4, 5, -1, 1.0, "1", Int64(6)]), "content": words,
        "metadata": st.fixed_dictionaries({}, optional={"page": numbers, "section": words, "start_index": numbers,
        "endIndex": numbers, "user_id": words}), "created_at": moments, "custom_id": words,
    },
}  # fmt: skip


@st.composite
def documents(draw: st.DrawFn, name: str) -> Document:
    """A document of collection `name`: usual fields, weird values in up to three of them, gaps, unknown fields."""
    usual = USUAL[name]
    names = sorted(usual)
    gaps = draw(st.sets(st.sampled_from(names), max_size=len(names) // 3))
    weird = draw(st.dictionaries(st.sampled_from(names), values, max_size=3))
    document = {"_id": draw(st.one_of(objectids, objectids, objectids, values))}
    for field in names:
        if field in weird:
            document[field] = weird[field]
        elif field not in gaps:
            document[field] = draw(usual[field])
    document.update(
        (key, value) for key, value in draw(st.dictionaries(keys, values, max_size=2)).items() if key != "_id"
    )
    if draw(st.integers(0, 9)) == 0:
        document = dict(sorted(document.items(), reverse=True))
    if draw(st.integers(0, 19)) == 0:
        del document["_id"]
    return document
