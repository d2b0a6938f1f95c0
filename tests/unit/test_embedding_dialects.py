"""Services that are OpenAI-compatible in their own ways: every text gets its vector or its own failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from migrator.config.models import EmbeddingConfig
from migrator.embedding import open_provider
from migrator.embedding.openai_errors import RejectedError, RetryableError, read_error, read_retry_after
from migrator.embedding.provider import EmbeddingResult, Failure, Success
from migrator.embedding.responses import read_response
from migrator.errors import EmbeddingError
from tests.embedding_server import BODIES, Running, serving, vector_of

if TYPE_CHECKING:
    from migrator.embedding.openai_provider import OpenAIProvider

DIMENSIONS = 8
TEXTS = [f"text number {number}" for number in range(40)]
POISONED = [*TEXTS[:17], "POISON", *TEXTS[17:]]


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between attempts."""
    monkeypatch.setattr("migrator.embedding.openai_client.FIRST_PAUSE", 0.001)  # a slow import: only where it runs


def provider_for(config: EmbeddingConfig) -> OpenAIProvider:
    from migrator.embedding.openai_provider import OpenAIProvider

    return OpenAIProvider(config, print)


def embed(service: Running, texts: list[str], **more: Any) -> EmbeddingResult:
    chosen = {"provider": "openai", "base_url": service.url, "dimensions": DIMENSIONS, "batch": 50, **more}

    async def ask() -> EmbeddingResult:
        provider = open_provider(EmbeddingConfig.model_validate(chosen), print)
        assert provider is not None
        try:
            return await provider.embed(texts)
        finally:
            await provider.close()

    return asyncio.run(ask())


def check(results: list[Any], texts: list[str]) -> None:
    for text, result in zip(texts, results, strict=True):
        assert isinstance(result, Success), (text, result)
        assert result.vector.tobytes() == vector_of(text, DIMENSIONS), text


@pytest.mark.parametrize(
    "habits",
    [
        *({"index": index} for index in ("missing", "zero", "one", "text", "null")),
        {"vector": "floats"},
        {"vector": "floats", "forbids": ["encoding_format"]},
        {"vector": "floats", "forbidden": ["base64"], "body": "details"},
        {"forbids": ["dimensions"]},
        {"forbids": ["dimensions", "encoding_format"], "body": "detail", "index": "missing", "usage": False},
        {"forbids": ["dimensions"], "body": "html"},
        *({"batch": 7, "body": body} for body in BODIES),
        {"batch": 1, "large": 422, "body": "details"},
        {"batch": 32, "large": 400, "index": "zero"},
        {"request_tokens": 30, "large": 413, "body": "html"},
        {"request_tokens": 30, "large": 400, "body": "string"},
        *({"rate": 0.5, "kinds": [kind], "body": "html"} for kind in ("500", "502", "503", "html", "error")),
        *({"rate": 0.5, "kinds": [kind]} for kind in ("empty", "null")),
        {"rate": 0.3, "kinds": ["429"], "pause": "date", "body": "html"},
        {"rate": 0.5, "kinds": ["429"], "pause": "0", "body": "text"},
    ],
    ids=str,
)
def test_every_dialect_gives_every_vector(service: Running, habits: dict[str, Any]) -> None:
    """Whatever a service leaves out, adds or limits, every text gets its own vector."""
    service.behave(**{"dimensions": DIMENSIONS, **habits})
    check(embed(service, TEXTS).results, TEXTS)


@pytest.mark.parametrize("first", [0, 17, 40])
@pytest.mark.parametrize("poison", ["400", "422", "403", "404", "500", "503", "cut", "empty", "html", "error"])
def test_poisoned_text_fails_alone(service: Running, poison: str, first: int) -> None:
    """A text that always fails, in whatever way and place, gets a failure that does not quote it; the others go on."""
    service.behave(dimensions=DIMENSIONS, poison=poison)
    texts = [*TEXTS[:first], "POISON", *TEXTS[first:]]
    results = embed(service, texts).results
    failure = results.pop(first)
    assert isinstance(failure, Failure), failure
    assert failure.why
    assert "POISON" not in failure.why
    check(results, TEXTS)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("poison", ["403", "422"])
def test_poisoned_text_in_every_body(service: Running, body: str, poison: str) -> None:
    """The shape of the error response does not matter, and no part of a text gets into the message."""
    service.behave(dimensions=DIMENSIONS, poison=poison, body=body)
    results = embed(service, POISONED).results
    failure = results.pop(17)
    assert isinstance(failure, Failure)
    assert poison in failure.why
    assert "POISON" not in failure.why
    check(results, TEXTS)


@pytest.mark.parametrize("body", BODIES)
def test_refusal_of_everything_is_an_error_with_the_message_of_the_service(service: Running, body: str) -> None:
    """A service that rejects the shortest text, too, ends the command; its message is shown in one line."""
    service.behave(dimensions=DIMENSIONS, key="other", body=body)
    with pytest.raises(EmbeddingError, match="denies access") as caught:
        embed(service, TEXTS)
    assert "\n" not in caught.value.message
    assert "<" not in caught.value.message
    if body not in ("null", "nothing"):
        assert "his is refused" in caught.value.message
    assert "api_key" in caught.value.hint


def test_batch_limit_is_learned(service: Running) -> None:
    """After one request that is too large, the following requests have a size that the service accepts."""
    service.behave(dimensions=DIMENSIONS, batch=10)

    async def ask() -> tuple[EmbeddingResult, int]:
        chosen = {"provider": "openai", "base_url": service.url, "dimensions": DIMENSIONS, "batch": 64}
        provider = provider_for(EmbeddingConfig.model_validate(chosen))
        try:
            await provider.embed(TEXTS)
            before = service.stats()["told"]["413"]
            found = await provider.embed(TEXTS)
            assert service.stats()["told"]["413"] == before
            return found, provider.batch
        finally:
            await provider.close()

    found, batch = asyncio.run(ask())
    check(found.results, TEXTS)
    assert 5 <= batch <= 10


def test_access_that_is_revoked_later_ends_the_command(service: Running) -> None:
    """A 403 for every text, after successes, is not the fault of the texts."""
    service.behave(dimensions=DIMENSIONS)

    async def ask() -> None:
        chosen = {"provider": "openai", "base_url": service.url, "dimensions": DIMENSIONS, "api_key": "right"}
        provider = provider_for(EmbeddingConfig.model_validate(chosen))
        try:
            await provider.embed(TEXTS)
            service.behave(dimensions=DIMENSIONS, key="other")
            with pytest.raises(EmbeddingError, match="denies access"):
                await provider.embed(TEXTS)
        finally:
            await provider.close()

    asyncio.run(ask())


def test_wrong_dimensions_are_named(service: Running) -> None:
    """A model with other dimensions than configured is an error that names both numbers."""
    for forbids in ([], ["dimensions"]):
        service.behave(dimensions=5, forbids=forbids)
        with pytest.raises(EmbeddingError, match="5 dimensions instead of 8") as caught:
            embed(service, TEXTS)
        assert "dimensions" in caught.value.hint


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "DATE GMT"}, 60),
        ({"retry-after": "DATE -0000"}, 60),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float) -> None:
    """The header is a number of seconds or a date."""
    date = formatdate(time.time() + 60, usegmt=True).removesuffix(" GMT")
    found = read_retry_after({name: value.replace("DATE", date) for name, value in headers.items()})
    assert found == pytest.approx(seconds, abs=5 if seconds > 7 else 0)


@pytest.mark.parametrize("value", ["", "0", "-1", "nan", "inf", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "32 Foo"])
def test_retry_after_without_a_time(value: str) -> None:
    """A value that is no time from now on means the usual backoff, and never a loop without a pause."""
    assert read_retry_after({"retry-after": value}) is None


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 429, 500, 503])
@pytest.mark.parametrize("body", [*BODIES.values(), "[]", "{}", "[[[[[[]]]]]]", '{"error": {"error": null}}', "7", "{"])
def test_any_error_response_is_read(status: int, body: str) -> None:
    """Every status with every body is classified; a code is one word, and the message is one line."""
    found = read_error(status, body, {})
    assert " " not in found.code
    assert "\n" not in found.message
    kind = RetryableError if status in (429, 500, 503) else RejectedError
    assert isinstance(found.as_exception(), kind)


@pytest.mark.parametrize("indexes", [[0, 2, 1], [0, 0, 2], [2, 2, None], [5, 6, 7]])
def test_contradicting_indexes_are_not_trusted(indexes: list[int | None]) -> None:
    """An entry whose index contradicts its position is requested again."""
    found = read_response([{"index": index, "embedding": [1.0, 2.0]} for index in indexes], 3, 2)
    assert [isinstance(each, str) for each in found] == [index != place for place, index in enumerate(indexes)]


def test_missing_entries_without_an_index() -> None:
    """If entries are missing and none has an index, no entry can be assigned to a text."""
    assert all(isinstance(each, str) for each in read_response([{"embedding": [1.0, 2.0]}] * 2, 3, 2))
