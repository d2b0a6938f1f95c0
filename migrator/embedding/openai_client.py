"""One request to an OpenAI-compatible endpoint, repeated while it may yet succeed; its errors sorted by remedy.

Not here: what an answer is worth, and what can be asked instead of a request that is refused (openai_provider.py).
"""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from migrator.config.models import EmbeddingConfig, address_of
from migrator.embedding.rate_limit import AdaptiveLimiter
from migrator.errors import EmbeddingError, UsageError

FIRST_TRIES = 5  # before anything has succeeded: some three seconds, for then the settings are to blame
TRIES = 8
PATIENCE = 120.0  # seconds without any success, after which a service that was there is given up
LONGEST_WAIT = 300.0  # seconds that a service may ask to wait
TIMEOUT = 120.0
TOO_MANY = 429
AGAIN = "What is done is kept: the same command goes on."
for _name in ("openai", "httpx"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # OPENAI_LOG=debug: what is told differs by version


class RejectedError(Exception):
    """The service does not want this request, now or later; other texts may do. `why` holds nothing of the texts."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(status, code)
        self.status, self.message = status, message
        self.why = f"the service refuses it ({' '.join([str(status), code]).strip()})"


class RetryableError(Exception):
    """The same request may succeed later. `after`: seconds that the service wants us to wait."""

    def __init__(self, why: str, status: int = 0, after: float | None = None) -> None:
        super().__init__(why)
        self.why, self.status, self.after = why, status, after


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the entries as they are, and the tokens that it cost (None where the service does not say)."""

    entries: Any
    tokens: int | None


class Client:
    """`proven` is the moment of the last usable answer, None before the first; whoever judges answers sets it."""

    def __init__(self, settings: EmbeddingConfig, notify: Callable[[str], None]) -> None:
        key = settings.api_key.get_secret_value()
        host = urlsplit(settings.base_url).hostname or ""
        if not key and host.endswith("openai.com"):
            raise UsageError(
                "embedding.api_key is empty", hint='Write "${OPENAI_API_KEY}" there, and set that variable.'
            )
        if not (key.isascii() and key.isprintable()):  # else no header can carry it, and no request is ever sent
            raise UsageError(
                "embedding.api_key holds a character that no key has",
                hint="Copy the key again, without what is around it.",
            )
        self.label = f"the embedding service at {address_of(settings.base_url)}"
        self.pace = AdaptiveLimiter(settings.concurrency)
        self.proven: float | None = None
        self._model, self._dimensions = settings.model, settings.dimensions
        self._asks_dimensions = True
        self._notify = notify
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url, api_key=key or "none", max_retries=0, timeout=TIMEOUT
        )  # fmt: skip

    async def close(self) -> None:
        await self._client.close()

    async def request(self, texts: Sequence[str]) -> Reply:
        """Errors: `RejectedError`; `EmbeddingError` where the service is gone, or lets us in no more."""
        began = time.monotonic()
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RetryableError), reraise=True, wait=_pause,
            stop=lambda state: self._is_enough(state, began), before_sleep=self._say,
        )  # fmt: skip
        try:
            return await retrying(self._once, texts)
        except RetryableError as busy:
            if self._has_succeeded_since(began):
                raise RejectedError(busy.status, busy.why) from busy
            raise EmbeddingError(f"{self.label} does not answer: {busy.why}", hint=self._remedy()) from busy

    def _is_enough(self, state: RetryCallState, began: float) -> bool:
        if self.proven is None:
            return state.attempt_number >= FIRST_TRIES
        busy = state.outcome.exception() if state.outcome else None
        if self._has_succeeded_since(began):  # it is this request's own fault, unless we only have to wait our turn
            return state.attempt_number >= TRIES and not (isinstance(busy, RetryableError) and busy.status == TOO_MANY)
        return time.monotonic() - max(self.proven, began) > PATIENCE

    def _has_succeeded_since(self, moment: float) -> bool:
        return self.proven is not None and self.proven > moment

    def _remedy(self) -> str:
        return AGAIN if self.proven is not None else f"Check embedding.base_url, and whether it is up. {AGAIN}"

    def _say(self, state: RetryCallState) -> None:
        pause = state.next_action.sleep if state.next_action else 0
        if pause >= 5:
            error = state.outcome.exception() if state.outcome else None
            self._notify(f"{self.label}: {error}; asking again in {pause:.0f} s")

    async def _once(self, texts: Sequence[str]) -> Reply:
        """One request; `RetryableError` where it is worth another try."""
        async with self.pace.slot() as number:
            try:
                reply = await self._send(texts)
            except openai.APIStatusError as error:
                raise self._sort(error, number) from error
            except openai.APITimeoutError as error:
                raise RetryableError(f"no answer within {TIMEOUT:.0f} s") from error
            except openai.APIConnectionError as error:
                raise RetryableError(_cause(error)) from error
            self.pace.speed_up()
            return reply

    async def _send(self, texts: Sequence[str]) -> Reply:
        wanted: dict[str, Any] = {"dimensions": self._dimensions} if self._asks_dimensions else {}
        try:
            # The body as it is: the library would make an object of each entry, and take anything for a vector.
            raw = await self._client.embeddings.with_raw_response.create(
                input=list(texts), model=self._model, encoding_format="base64", **wanted
            )
            answer = json.loads(raw.content)
        except ValueError:
            return Reply(None, None)  # a garbled body is an answer, too: one that is wrong for every text
        told = answer if isinstance(answer, dict) else {}
        usage = told.get("usage")
        tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return Reply(told.get("data"), tokens if isinstance(tokens, int) else None)

    def _sort(self, error: openai.APIStatusError, number: int) -> Exception:
        """What a status other than success means for us."""
        status, code = error.status_code, _code(error)
        if status in (401, 403):
            hint = "Check embedding.api_key and what the key may do."
            return EmbeddingError(f"{self.label} refuses access ({status} {code}): {_message(error)}", hint=hint)
        if status == 404:
            hint = "Check embedding.model and embedding.base_url."
            return EmbeddingError(f"{self.label} has no such model or address ({status}): {_message(error)}", hint=hint)
        if code == "insufficient_quota":
            return EmbeddingError(f"{self.label}: the account has no credit left", hint=f"Top it up. {AGAIN}")
        if status in (TOO_MANY, 408, 409, 425) or status >= 500:
            return self._wait(status, code, _retry_after(error.response.headers), number)
        if self._asks_dimensions and self.proven is None and "dimension" in _message(error).lower():
            self._asks_dimensions = False  # a model of one length only; that it is the right one is seen in the answer
            return RetryableError("the model takes no dimensions", status, 0.0)
        return RejectedError(status, code, _message(error))

    def _wait(self, status: int, code: str, after: float | None, number: int) -> Exception:
        if status == TOO_MANY:
            self.pace.back_off(number)
        if after is not None and after > LONGEST_WAIT:
            return EmbeddingError(
                f"{self.label} wants to be left alone for {after:,.0f} s ({status} {code})",
                hint=f"Come back then. {AGAIN}",
            )
        return RetryableError(f"{status} {code}".strip(), status, after)


def _pause(state: RetryCallState) -> float:
    """As long as the service says, else longer from try to try; never the same for all who wait."""
    busy = state.outcome.exception() if state.outcome else None
    if isinstance(busy, RetryableError) and busy.after is not None:
        return busy.after + random.uniform(0, min(1.0, busy.after / 4))
    return float(min(30.0, 0.2 * 2 ** (state.attempt_number - 1)) * random.uniform(0.5, 1.0))


def _retry_after(headers: Any) -> float | None:
    """Seconds: from `retry-after-ms`, or `retry-after` as a number or a date."""
    with suppress(ValueError):
        return max(0.0, float(headers.get("retry-after-ms") or "-") / 1000)
    told = headers.get("retry-after") or ""
    with suppress(ValueError):
        return max(0.0, float(told))
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds())
    return None


def _code(error: openai.APIStatusError) -> str:
    """The service's name for the error, if it looks like one; texts may hold what they refuse."""
    names = (str(value) for value in (error.code, error.type) if value)
    return next((name for name in names if re.fullmatch(r"\w{1,60}", name)), "")


def _message(error: openai.APIStatusError) -> str:
    body = error.body
    told = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(told or error.message).split())[:300]


def _cause(error: BaseException) -> str:
    """What the network said, by its first cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__} {error}".strip()
