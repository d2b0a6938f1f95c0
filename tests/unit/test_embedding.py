"""Embeddings: packing, answers looked at text by text, a service that fails in every way, the local model."""

from __future__ import annotations

import asyncio
import math
import socket
import time
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


# --- packing ------------------------------------------------------------------------------------------------------


@given(st.lists(st.text()), st.integers(1, 7), st.integers(1, 40))
def test_packing_loses_nothing_and_keeps_limits(texts: list[str], batch: int, tokens: int) -> None:
    """Every text is in one request, in order; none is over a limit unless one text alone is."""
    requests = list(batch_texts(texts, batch, tokens))
    assert [place for request in requests for place in request] == list(range(len(texts)))
    for request in requests:
        assert 0 < len(request) <= batch
        assert len(request) == 1 or sum(estimate_tokens(texts[place]) for place in request) <= tokens


@given(st.text(), st.integers(1, 20))
def test_pieces_are_the_text(text: str, limit: int) -> None:
    """Nothing is left out of a text that is cut, and no piece is empty unless the text is."""
    pieces = split_text(text, limit)
    assert "".join(pieces) == text
    assert all(pieces) or pieces == [""]
    assert "".join(split_evenly(text)) == text


def test_long_text_is_cut_at_blanks() -> None:
    """Words stay whole where there are blanks, and pieces are about as long as each other."""
    pieces = split_text("word " * 1000, 100)
    assert all(piece.strip().split() == ["word"] * len(piece.split()) for piece in pieces)
    assert max(map(len, pieces)) < 1.3 * min(map(len, pieces))


def test_mean_is_weighted_and_of_length_one() -> None:
    """A long piece counts for more than a short one."""
    vector = mean_vector([array("f", [1, 0]), array("f", [0, 1])], [3.0, 4.0])
    assert vector.tolist() == pytest.approx([0.6, 0.8])


# --- answers ------------------------------------------------------------------------------------------------------


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
    """Whatever stands in the place of a vector, its neighbours keep theirs."""
    first, second, third = read_response([entry(0, GOOD), bad, entry(2, GOOD)], 3, 2)
    assert isinstance(first, array)
    assert isinstance(second, str)
    assert isinstance(third, array)


@pytest.mark.parametrize("data", [None, [], {}, "text", 7])
def test_answer_without_vectors(data: Any) -> None:
    """No entries: an error for every text."""
    assert all(isinstance(each, str) for each in read_response(data, 3, 2))


def test_more_vectors_than_texts() -> None:
    """Then nobody knows whose they are."""
    assert all(isinstance(each, str) for each in read_response([entry(0, GOOD), entry(1, GOOD)], 1, 2))


# --- a service ----------------------------------------------------------------------------------------------------

TEXTS = [f"text number {number}" for number in range(40)]


@pytest.mark.parametrize("kind", FAILURES)
def test_every_failure_is_survived(service: Running, kind: str) -> None:
    """Half of the requests fail in one way: in the end each text has its own vector."""
    service.behave(rate=0.5, kinds=[kind], dimensions=DIMENSIONS, pause="0.1")
    check(embed(settings(service, batch=5), TEXTS), TEXTS)
    assert service.stats()["told"][kind] > 0


def test_tokens_are_what_the_service_says(service: Running) -> None:
    """What was paid is counted, repeated requests too."""
    service.behave(dimensions=DIMENSIONS)
    assert embed(settings(service), TEXTS).tokens == sum(len(text) // 4 for text in TEXTS)


def test_text_that_is_refused_fails_alone(service: Running) -> None:
    """One text that the service will not have, among forty: it fails, and says why without quoting itself."""
    service.behave(dimensions=DIMENSIONS)
    texts = [*TEXTS[:17], "POISON", *TEXTS[17:]]
    results = embed(settings(service), texts).results
    failure = results.pop(17)
    assert isinstance(failure, Failure)
    assert "context_length_exceeded" in failure.why
    assert "POISON" not in failure.why
    check(EmbeddingResult(results, 0), TEXTS)


def test_long_text_is_embedded_in_pieces(service: Running) -> None:
    """Over the configured limit: pieces, whose mean is the vector; its neighbours are as ever."""
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
    """The service refuses what we took for short enough: it is halved until it fits, and fails no neighbour."""
    service.behave(dimensions=DIMENSIONS, limit=100)
    texts = [*TEXTS[:3], "long " * 300, *TEXTS[3:]]
    results = embed(settings(service), texts).results
    found = results.pop(3)
    assert isinstance(found, Success)
    assert found.pieces == 4
    check(EmbeddingResult(results, 0), TEXTS)


def test_request_that_is_too_large(service: Running) -> None:
    """The service takes fewer texts at once than we send."""
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
    """What no patience mends ends within seconds, with exit code 7 and a remedy, not as a finding for every text."""
    service.behave(**{"dimensions": DIMENSIONS, **habits})
    began = time.monotonic()
    with pytest.raises(EmbeddingError) as caught:
        embed(settings(service, **more), TEXTS)
    assert told in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 7
    assert time.monotonic() - began < 8


def test_nobody_there() -> None:
    """A refused connection is told with its cause."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(EmbeddingError, match="is unavailable") as caught:
            embed(settings(Running(url)), TEXTS)
    assert "base_url" in caught.value.hint


def test_openai_without_a_key() -> None:
    """Said before anything is sent."""
    with pytest.raises(UsageError, match="api_key"):
        open_provider(EmbeddingConfig(provider="openai"), print)


# --- the local model ----------------------------------------------------------------------------------------------


def test_local_model_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights are in the wheel: near meanings are near, without a socket."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    texts = ["The cat sat on the mat.", "A kitten lies on a rug.", "The invoice is due in March.", " "]
    results = embed(EmbeddingConfig(provider="local"), texts).results
    assert isinstance(results[3], Failure | Success)
    cat, kitten, invoice = (each.vector for each in results[:3] if isinstance(each, Success))
    assert cosine(cat, kitten) > cosine(cat, invoice) + 0.2


def test_local_model_is_that_of_the_package() -> None:
    """Reading the weights ourselves gives what wordllama gives."""
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
    """A key copied with what was around it is the setting's fault, not the service's; and is not repeated."""
    with pytest.raises(UsageError, match="api_key") as caught:
        open_provider(settings(service, api_key=SecretStr(key)), lambda said: None)
    assert key not in str(caught.value)
