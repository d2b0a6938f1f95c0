"""The promise: whatever a document holds, its row, its ledger entry and its residue give it back, or it is kept whole."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappings import MAPPINGS, shared
from migrator import jsonb, rows
from migrator.config import load_config
from migrator.exact import Document, decode, encode, same
from migrator.findings import FINDINGS, REASONS
from migrator.handover import Finding, Loaded, Reject, Result
from migrator.mapping import Collection, Found
from migrator.tenancy import Options
from migrator.translate import References, Translation, rebuild, source_id_of
from tests import strategies
from tests.strategies import AGENT, CONVERSATIONS, COURSES, FILE_OID, FILES, USERS

BY_NAME = {mapping.name: mapping for mapping in MAPPINGS}
MINIMAL = '[source]\nurl = "dump:nowhere"\n[target]\nurl = "embedded:nowhere"\n'


def user_id(number: int) -> bytes:
    return shared.USERS.uuid(USERS[number])


def make_references() -> References:
    """Rows that the strategies' ids lead to: three users, two conversations, a course, an agent, a file."""
    users = {user_id(n): (Found(user_id(n), {}),) for n in range(3)}
    carried = {"user_id": user_id(0), "provider": "openai", "agent_id": None}
    agents = {**carried, "agent_id": AGENT, "provider": "anthropic"}
    first, second = (shared.CONVERSATIONS.uuid(each) for each in CONVERSATIONS)
    course, file = shared.COURSES.uuid(COURSES[0]), shared.FILES.uuid(FILES[0])
    return {
        ("users", "id"): users,
        ("conversations", "id"): {first: (Found(first, carried),), second: (Found(second, agents),)},
        ("courses", "id"): {course: (Found(course, {}),)},
        ("agents", "id"): {AGENT: (Found(AGENT, {"provider": "anthropic", "model": "claude-3"}),)},
        ("files", "id"): {file: (Found(file, {}),)},
        ("files", "_id"): {encode({"_id": FILE_OID}): (Found(file, {}),)},
        ("files", "vector_store_id"): {"vs": (Found(file, {}),)},
    }


REFERENCES = make_references()


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    return configure(tmp_path_factory, "")


def configure(factory: pytest.TempPathFactory, more: str, adopter: bytes | None = None) -> Options:
    path = factory.mktemp("config") / "migrate.toml"
    path.write_text(MINIMAL + more)
    config = load_config(path, {})
    return Options(config, config.tenant.id, adopter)


def translate(name: str, document: Document, options: Options, **more: Any) -> tuple[Result, list[Finding]]:
    return Translation(BY_NAME[name], options, REFERENCES, **more).translate(document)


def through_postgres(collection: Collection, row: dict[str, Any]) -> dict[str, Any]:
    """The row as PostgreSQL gives it back: written as binary COPY, jsonb in its normal form, read again."""
    kinds = rows.kinds_of_table(collection.table)
    data = rows.write_row([row.get(name) for name, _ in kinds], [kind for _, kind in kinds])
    fields = [
        reorder(field) if kind == "jsonb" and field is not None else field
        for field, (_, kind) in zip(split_tuple(data), kinds, strict=True)
    ]
    back = rows.read_row(fields, [kind for _, kind in kinds])
    carried = {key: row[key] for key, *_ in collection.carried}
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
    """Translates, and rebuilds where that gave a row."""
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
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_document_comes_back(name: str, options: Options, data: st.DataObject) -> None:
    """Any document comes back as it was, types included, or is kept whole; nothing is raised."""
    document = decode(encode(data.draw(strategies.documents(name))))
    check_promise(name, document, options)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(BY_NAME))
@settings(max_examples=3_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_document_comes_back_at_length(name: str, options: Options, data: st.DataObject) -> None:
    """The same with many more documents."""
    document = decode(encode(data.draw(strategies.documents(name))))
    check_promise(name, document, options)
