"""Sends one request to an OpenAI-compatible endpoint, with retries, and classifies its errors by remedy.

Not here: the check of a response, and what is sent instead of a rejected request (`openai_provider`).
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

MAX_FIRST_ATTEMPTS = 5  # before the first success, about three seconds: the likely cause is a wrong setting
MAX_ATTEMPTS = 8
GIVE_UP_AFTER = 120.0  # seconds without any success
MAX_RETRY_AFTER = 300.0  # seconds that a service may ask to wait
TIMEOUT = 120.0  # seconds
TOO_MANY_REQUESTS = 429
RESUME = "Completed work is kept. Run the same command again to resume."
for _name in ("openai", "httpx"):
    logging.getLogger(_name).setLevel(
        logging.WARNING
    )  # even with OPENAI_LOG=debug: what it logs depends on the version


class RejectedError(Exception):
    """The service rejects this request permanently; other texts may succeed. `why` contains nothing of the texts."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(status, code)
        self.status, self.message = status, message
        self.why = f"rejected by the service ({' '.join([str(status), code]).strip()})"


class RetryableError(Exception):
    """The same request may succeed later. `after`: the number of seconds that the service asks to wait."""

    def __init__(self, why: str, status: int = 0, after: float | None = None) -> None:
        super().__init__(why)
        self.why, self.status, self.after = why, status, after


@dataclass(frozen=True, slots=True)
class Reply:
    """A response: its unchecked entries, and the number of billed tokens (None if the service does not report it)."""

    entries: Any
    tokens: int | None


class Client:
    """Sends requests to one endpoint.

    `last_success`: the time (monotonic) of the last usable response, None before the first. The caller sets it, because
    it checks the responses.
    """

    def __init__(self, settings: EmbeddingConfig, notify: Callable[[str], None]) -> None:
        key = settings.api_key.get_secret_value()
        host = urlsplit(settings.base_url).hostname or ""
        if not key and host.endswith("openai.com"):
            raise UsageError(
                "embedding.api_key is empty", hint='Set it to "${OPENAI_API_KEY}" and set this environment variable.'
            )
        if not (key.isascii() and key.isprintable()):  # otherwise it is no valid HTTP header value
            raise UsageError(
                "embedding.api_key contains an invalid character",
                hint="Copy the key again, without any surrounding characters.",
            )
        self.label = f"the embedding service at {address_of(settings.base_url)}"
        self.limiter = AdaptiveLimiter(settings.concurrency)
        self.last_success: float | None = None
        self._model, self._dimensions = settings.model, settings.dimensions
        self._sends_dimensions = True
        self._notify = notify
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url, api_key=key or "none", max_retries=0, timeout=TIMEOUT
        )  # fmt: skip

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def request(self, texts: Sequence[str]) -> Reply:
        """Send a request and retry it while it may succeed.

        Raises: `RejectedError` if only this request fails; `EmbeddingError` if the service is unavailable or denies
        access.
        """
        began = time.monotonic()
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RetryableError), reraise=True, wait=_pause,
            stop=lambda state: self._gives_up(state, began), before_sleep=self._notify_retry,
        )  # fmt: skip
        try:
            return await retrying(self._once, texts)
        except RetryableError as error:
            if self._has_succeeded_since(began):
                raise RejectedError(error.status, error.why) from error
            raise EmbeddingError(f"{self.label} is unavailable: {error.why}", hint=self._remedy()) from error

    def _gives_up(self, state: RetryCallState, began: float) -> bool:
        if self.last_success is None:
            return state.attempt_number >= MAX_FIRST_ATTEMPTS
        error = state.outcome.exception() if state.outcome else None
        if self._has_succeeded_since(began):  # other requests succeed: this one is the cause, unless it is rate-limited
            is_rate_limited = isinstance(error, RetryableError) and error.status == TOO_MANY_REQUESTS
            return state.attempt_number >= MAX_ATTEMPTS and not is_rate_limited
        return time.monotonic() - max(self.last_success, began) > GIVE_UP_AFTER

    def _has_succeeded_since(self, moment: float) -> bool:
        return self.last_success is not None and self.last_success > moment

    def _remedy(self) -> str:
        if self.last_success is not None:
            return RESUME
        return f"Check embedding.base_url, and whether the service is running. {RESUME}"

    def _notify_retry(self, state: RetryCallState) -> None:
        pause = state.next_action.sleep if state.next_action else 0
        if pause >= 5:
            error = state.outcome.exception() if state.outcome else None
            self._notify(f"{self.label}: {error}; retrying in {pause:.0f} s")

    async def _once(self, texts: Sequence[str]) -> Reply:
        """Send a request once.

        Raises: `RetryableError` if it may succeed later; `RejectedError` or `EmbeddingError` if not.
        """
        async with self.limiter.slot() as number:
            try:
                reply = await self._send(texts)
            except openai.APIStatusError as error:
                raise self._classify(error, number) from error
            except openai.APITimeoutError as error:
                raise RetryableError(f"timed out after {TIMEOUT:.0f} s") from error
            except openai.APIConnectionError as error:
                raise RetryableError(_root_cause(error)) from error
            self.limiter.increase()
            return reply

    async def _send(self, texts: Sequence[str]) -> Reply:
        wanted: dict[str, Any] = {"dimensions": self._dimensions} if self._sends_dimensions else {}
        try:
            # The raw body: the library would create an object for each entry and accept any value as a vector.
            raw = await self._client.embeddings.with_raw_response.create(
                input=list(texts), model=self._model, encoding_format="base64", **wanted
            )
            body = json.loads(raw.content)
        except ValueError:
            return Reply(None, None)  # an unreadable body counts as a response that is wrong for every text
        body = body if isinstance(body, dict) else {}
        usage = body.get("usage")
        tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        return Reply(body.get("data"), tokens if isinstance(tokens, int) else None)

    def _classify(self, error: openai.APIStatusError, number: int) -> Exception:
        """Return the exception for an error status of request `number`."""
        status, code = error.status_code, _code(error)
        if status in (401, 403):
            hint = "Check embedding.api_key and the permissions of the key."
            return EmbeddingError(f"{self.label} denies access ({status} {code}): {_message(error)}", hint=hint)
        if status == 404:
            hint = "Check embedding.model and embedding.base_url."
            return EmbeddingError(f"{self.label}: model or path not found ({status}): {_message(error)}", hint=hint)
        if code == "insufficient_quota":
            return EmbeddingError(f"{self.label}: the account has no credit left", hint=f"Add credit. {RESUME}")
        if status in (TOO_MANY_REQUESTS, 408, 409, 425) or status >= 500:
            return self._retry_later(status, code, _retry_after(error.response.headers), number)
        if self._sends_dimensions and self.last_success is None and "dimension" in _message(error).lower():
            # The model has a fixed number of dimensions. Whether it is the configured one is checked in the response.
            self._sends_dimensions = False
            return RetryableError("the model does not support the parameter dimensions", status, 0.0)
        return RejectedError(status, code, _message(error))

    def _retry_later(self, status: int, code: str, after: float | None, number: int) -> Exception:
        if status == TOO_MANY_REQUESTS:
            self.limiter.back_off(number)
        if after is not None and after > MAX_RETRY_AFTER:
            return EmbeddingError(
                f"{self.label} asks to retry after {after:,.0f} s ({status} {code})",
                hint=f"Wait until then. {RESUME}",
            )
        return RetryableError(f"{status} {code}".strip(), status, after)


def _pause(state: RetryCallState) -> float:
    """Return the seconds to wait: as the service asks, otherwise exponential backoff; both with jitter."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, RetryableError) and error.after is not None:
        return error.after + random.uniform(0, min(1.0, error.after / 4))
    return float(min(30.0, 0.2 * 2 ** (state.attempt_number - 1)) * random.uniform(0.5, 1.0))


def _retry_after(headers: Any) -> float | None:
    """Return the seconds from the header `retry-after-ms`, or from `retry-after` as a number or a date."""
    with suppress(ValueError):
        return max(0.0, float(headers.get("retry-after-ms") or "-") / 1000)
    value = headers.get("retry-after") or ""
    with suppress(ValueError):
        return max(0.0, float(value))
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return None


def _code(error: openai.APIStatusError) -> str:
    """Return the service's error code if it is a single word; anything else might quote a text."""
    names = (str(value) for value in (error.code, error.type) if value)
    return next((name for name in names if re.fullmatch(r"\w{1,60}", name)), "")


def _message(error: openai.APIStatusError) -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(message or error.message).split())[:300]


def _root_cause(error: BaseException) -> str:
    """Return the message of the first cause of a connection error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__} {error}".strip()
