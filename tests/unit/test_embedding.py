"""Embeddings: batching, checks of responses, a service that fails in every way, the local model."""

from __future__ import annotations

import asyncio
import math
import socket
from array import array
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from migrator.config.models import EmbeddingConfig
from migrator.embedding import open_provider
from migrator.embedding.batching import batch_texts, estimate_tokens, mean_vector, split_evenly, split_text
from migrator.embedding.provider import EmbeddingResult, Failure, Success
from migrator.embedding.responses import read_response
from migrator.errors import EmbeddingError, UsageError
from tests.embedding_server import FAILURES, Running, serving, vector_of

DIMENSIONS = 8


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between attempts."""
    monkeypatch.setattr("migrator.embedding.openai_client.FIRST_PAUSE", 0.005)  # a slow import: only where it runs


def settings(service: Running, **more: Any) -> EmbeddingConfig:
    chosen = {"provider": "openai", "base_url": service.url, "dimensions": DIMENSIONS, "batch": 10, **more}
    return EmbeddingConfig.model_validate(chosen)


def embed(chosen: EmbeddingConfig, texts: list[str]) -> EmbeddingResult:
    async def ask() -> EmbeddingResult:
        provider = open_provider(chosen, print)
        assert provider is not None
        try:
            return await provider.embed(texts)
        finally:
            await provider.close()

    return asyncio.run(ask())


def check(answer: EmbeddingResult, texts: list[str]) -> None:
    for text, result in zip(texts, answer.results, strict=True):
        assert isinstance(result, Success), (text, result)
        assert result.vector.tobytes() == vector_of(text, DIMENSIONS), text


# --- batching ------------------------------------------------------------------------------------------------------


@given(st.lists(st.text()), st.integers(1, 7), st.integers(1, 40))
def test_packing_loses_nothing_and_keeps_limits(texts: list[str], batch: int, tokens: int) -> None:
    """Every text is in exactly one request, in order. A request exceeds a limit only if a single text does."""
    requests = list(batch_texts(texts, batch, tokens))
    assert [place for request in requests for place in request] == list(range(len(texts)))
    for request in requests:
        assert 0 < len(request) <= batch
        assert len(request) == 1 or sum(estimate_tokens(texts[place]) for place in request) <= tokens


@given(st.text(), st.integers(1, 20))
def test_pieces_are_the_text(text: str, limit: int) -> None:
    """The pieces of a split text make up the whole text, and no piece is empty unless the text is."""
    pieces = split_text(text, limit)
    assert "".join(pieces) == text
    assert all(pieces) or pieces == [""]
    assert "".join(split_evenly(text)) == text


def test_long_text_is_cut_at_blanks() -> None:
    """Texts are split at spaces, into pieces of similar length."""
    pieces = split_text("word " * 1000, 100)
    assert all(piece.strip().split() == ["word"] * len(piece.split()) for piece in pieces)
    assert max(map(len, pieces)) < 1.3 * min(map(len, pieces))


def test_mean_is_weighted_and_of_length_one() -> None:
    """A long piece has more weight than a short one."""
    vector = mean_vector([array("f", [1, 0]), array("f", [0, 1])], [3.0, 4.0])
    assert vector.tolist() == pytest.approx([0.6, 0.8])


# --- responses ------------------------------------------------------------------------------------------------------


def entry(index: Any, embedding: Any) -> dict[str, Any]:
    return {"index": index, "embedding": embedding}


GOOD = [0.5, -1.0]


@pytest.mark.parametrize(
    "bad",
    [
        entry(0, GOOD), entry(2, GOOD), entry(None, GOOD), entry(True, GOOD[:1]), None, {"index": 1},
        entry(1, None), entry(1, "?"), entry(1, "AAAA"), entry(1, [0.5]), entry(1, [0.5, 1.0, 2.0]), entry(1, []),
        entry(1, [math.nan, 1.0]), entry(1, [math.inf, -math.inf]), entry(1, [1e39, 1.0]), entry(1, [0.0, -0.0]),
        entry(1, ["x", "y"]), entry(1, 7), entry(1, [[1.0], [2.0]]),
    ],
)  # fmt: skip
def test_bad_entry_is_an_error_for_its_text_alone(bad: Any) -> None:
    """An invalid vector does not affect the other vectors of the response."""
    first, second, third = read_response([entry(0, GOOD), bad, entry(2, GOOD)], 3, 2)
    assert isinstance(first, array)
    assert isinstance(second, str)
    assert isinstance(third, array)


@pytest.mark.parametrize("data", [None, [], {}, "text", 7])
def test_answer_without_vectors(data: Any) -> None:
    """A response without entries is an error for every text."""
    assert all(isinstance(each, str) for each in read_response(data, 3, 2))


def test_more_vectors_than_texts() -> None:
    """A response with more vectors than texts is an error for every text."""
    assert all(isinstance(each, str) for each in read_response([entry(0, GOOD), entry(1, GOOD)], 1, 2))


# --- a service ----------------------------------------------------------------------------------------------------

TEXTS = [f"text number {number}" for number in range(40)]


@pytest.mark.parametrize("kind", FAILURES)
def test_every_failure_is_survived(service: Running, kind: str) -> None:
    """Half of the requests fail in the same way; in the end every text has its own vector."""
    service.behave(rate=0.5, kinds=[kind], dimensions=DIMENSIONS, pause="0.1")
    check(embed(settings(service, batch=5), TEXTS), TEXTS)
    assert service.stats()["told"][kind] > 0


def test_tokens_are_what_the_service_says(service: Running) -> None:
    """All billed tokens are counted, including those of repeated requests."""
    service.behave(dimensions=DIMENSIONS)
    assert embed(settings(service), TEXTS).tokens == sum(len(text) // 4 for text in TEXTS)


def test_text_that_is_refused_fails_alone(service: Running) -> None:
    """Of forty texts the service rejects one: only this one fails, and its message does not quote the text."""
    service.behave(dimensions=DIMENSIONS)
    texts = [*TEXTS[:17], "POISON", *TEXTS[17:]]
    results = embed(settings(service), texts).results
    failure = results.pop(17)
    assert isinstance(failure, Failure)
    assert "context_length_exceeded" in failure.why
    assert "POISON" not in failure.why
    check(EmbeddingResult(results, 0), TEXTS)


def test_long_text_is_embedded_in_pieces(service: Running) -> None:
    """A text over the configured limit is embedded in pieces; its vector is their mean. Other texts are unaffected."""
    service.behave(dimensions=DIMENSIONS)
    long = "some words " * 200
    results = embed(settings(service, input_tokens=200), [TEXTS[0], long]).results
    check(EmbeddingResult(results[:1], 0), TEXTS[:1])
    found = results[1]
    assert isinstance(found, Success)
    pieces = split_text(long, 200)
    assert found.pieces == len(pieces) == 4
    vectors = [array("f", vector_of(piece, DIMENSIONS)) for piece in pieces]
    assert found.vector.tolist() == pytest.approx(
        mean_vector(vectors, [float(len(p)) for p in pieces]).tolist(), abs=1e-6
    )


def test_limit_that_nobody_told_us(service: Running) -> None:
    """A text that the service rejects as too long is split in half until it fits. Other texts are unaffected."""
    service.behave(dimensions=DIMENSIONS, limit=100)
    texts = [*TEXTS[:3], "long " * 300, *TEXTS[3:]]
    results = embed(settings(service), texts).results
    found = results.pop(3)
    assert isinstance(found, Success)
    assert found.pieces == 4
    check(EmbeddingResult(results, 0), TEXTS)


def test_request_that_is_too_large(service: Running) -> None:
    """The service accepts fewer texts per request than we send."""
    service.behave(dimensions=DIMENSIONS, batch=3)
    check(embed(settings(service), TEXTS), TEXTS)


@pytest.mark.parametrize(
    ("habits", "more", "told"),
    [
        ({"key": "right"}, {"api_key": SecretStr("wrong")}, "denies access (401 invalid_api_key)"),
        ({}, {"model": "missing"}, "model or path not found (404)"),
        ({"dimensions": 5}, {}, "5 dimensions instead of 8"),
        ({"limit": 0}, {}, "rejects every request: 400"),
        ({"rate": 1.0, "kinds": ["no json"]}, {}, "no usable embeddings"),
        ({"rate": 1.0, "kinds": ["503"]}, {}, "is unavailable: 503"),
    ],
)
def test_settings_that_cannot_work_are_told_at_once(
    service: Running, habits: dict[str, Any], more: dict[str, Any], told: str
) -> None:
    """Errors that retries cannot resolve end the command after few requests, with exit code 7 and a hint."""
    service.behave(**{"dimensions": DIMENSIONS, **habits})
    before = sum(service.stats()["told"].values())
    with pytest.raises(EmbeddingError) as caught:
        embed(settings(service, **more), TEXTS)
    assert told in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 7
    from migrator.embedding.openai_client import MAX_FIRST_ATTEMPTS

    assert sum(service.stats()["told"].values()) - before <= 4 * MAX_FIRST_ATTEMPTS


def test_nobody_there() -> None:
    """The message of a refused connection names the cause."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(EmbeddingError, match="is unavailable") as caught:
            embed(settings(Running(url)), TEXTS)
    assert "base_url" in caught.value.hint


def test_openai_without_a_key() -> None:
    """A missing key is reported before anything is sent."""
    with pytest.raises(UsageError, match="api_key"):
        open_provider(EmbeddingConfig(provider="openai"), print)


# --- the local model ----------------------------------------------------------------------------------------------


def test_local_model_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights are in the package: similar texts have similar vectors, without a connection."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    texts = ["The cat sat on the mat.", "A kitten lies on a rug.", "The invoice is due in March.", " "]
    results = embed(EmbeddingConfig(provider="local"), texts).results
    assert isinstance(results[3], Failure | Success)
    cat, kitten, invoice = (each.vector for each in results[:3] if isinstance(each, Success))
    assert cosine(cat, kitten) > cosine(cat, invoice) + 0.2


def test_local_model_is_that_of_the_package() -> None:
    """Our vectors equal those that wordllama computes."""
    from safetensors.numpy import load_file
    from wordllama.inference import WordLlamaInference

    from migrator.embedding.local import LocalProvider, _folder

    ours = LocalProvider()
    texts = ["short", "a rather longer text, with commas", "ünïcödé 漢字 🚀"]
    results = asyncio.run(ours.embed(texts)).results
    weights = load_file(_folder() / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
    theirs = WordLlamaInference(weights, ours._tokenizer).embed(texts)
    for result, expected in zip(results, theirs, strict=True):
        assert isinstance(result, Success)
        assert result.vector.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def cosine(one: array[float], other: array[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / math.hypot(*one) / math.hypot(*other)


@pytest.mark.parametrize("key", ["sk-ä", "sk-1\n", "sk\u200b-1"])
def test_a_key_that_no_header_can_carry_is_said(key: str, service: Running) -> None:
    """A key with surrounding characters is reported as an invalid setting, and not printed."""
    with pytest.raises(UsageError, match="api_key") as caught:
        open_provider(settings(service, api_key=SecretStr(key)), lambda said: None)
    assert key not in str(caught.value)
