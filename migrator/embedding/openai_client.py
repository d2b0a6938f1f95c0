"""Sends one request to an OpenAI-compatible endpoint, with retries, and finds out whether the service or the texts are
the cause of an error.

Services differ in the parameters that they accept. The first rejection before any success starts a negotiation: a short
text is sent with fewer and fewer parameters until a response has a vector.

Not here: the shapes of error responses (`openai_errors`), and what is sent instead of a rejected request
(`openai_provider`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import openai

from migrator.config.models import EmbeddingConfig
from migrator.documents.vectors import Vector
from migrator.embedding.openai_errors import (
    ACCOUNT,
    DENIED,
    NO_CREDIT,
    TOO_MANY_REQUESTS,
    ErrorResponse,
    RejectedError,
    RetryableError,
    read_error,
    root_cause,
)
from migrator.embedding.provider import PROBE
from migrator.embedding.rate_limit import AdaptiveLimiter
from migrator.embedding.responses import read_response
from migrator.errors import EmbeddingError, UsageError
from migrator.masking import address_of

MAX_FIRST_ATTEMPTS = 5  # before the first success, about three seconds: the likely cause is a wrong setting
SPLIT_ATTEMPTS = 4  # of several texts while the service works; then they are sent in smaller requests
MAX_ATTEMPTS = 8  # of a single text while the service works
RATE_LIMITED_FOR = 600.0  # seconds without a response to one request while others succeed
GIVE_UP_AFTER = 120.0  # seconds without any success
MAX_RETRY_AFTER = 300.0  # seconds that a service may ask to wait
FIRST_PAUSE = 0.2  # seconds before the second attempt; doubled before each further one
TIMEOUT = 120.0  # seconds
RESUME = "Completed work is kept. Run the same command again to resume."
CHECK_SETTINGS = "Check embedding.model, dimensions and base_url."
for _name in ("openai", "httpx"):
    logging.getLogger(_name).setLevel(
        logging.WARNING
    )  # even with OPENAI_LOG=debug: what it logs depends on the version


@dataclass(frozen=True, slots=True)
class RequestForm:
    """The optional parameters that a request has."""

    dimensions: bool
    encoding: str | None


# base64 is a quarter of the size of numbers as text.
ENCODINGS = ("base64", "float", None)
FORMS = tuple(RequestForm(dimensions, encoding) for dimensions in (True, False) for encoding in ENCODINGS)


class UnusableError(Exception):
    """The service responded to a probe without a valid vector."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A response: its unchecked entries, and the number of billed tokens (None if the service does not report it).

    `problem` says why the response has no entries.
    """

    entries: Any
    tokens: int | None
    problem: str = ""

    def read(self, count: int, dimensions: int) -> list[Vector | str]:
        """Return for each of `count` texts its vector, or a message that says what is wrong with it."""
        return [self.problem] * count if self.problem else read_response(self.entries, count, dimensions)


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
        self._form = FORMS[0]
        self._negotiation = asyncio.Lock()
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
        began, attempt = time.monotonic(), 0
        while True:
            attempt, form = attempt + 1, self._form
            try:
                return await self._once(texts)
            except RejectedError as error:
                if self.last_success is None or error.status in ACCOUNT:
                    await self.negotiate(began)
                if form == self._form:
                    raise
            except RetryableError as error:
                if await self._is_caused_by_texts(error, attempt, began, len(texts)):
                    raise error.as_rejection() from error
                await self._pause(error, attempt)

    async def negotiate(self, since: float | None = None) -> None:
        """Check with a short text that the service works; before the first success, find the parameters it accepts.

        Does nothing if a request has succeeded after the time `since`.

        Raises: `EmbeddingError` if the service does not work.
        """
        async with self._negotiation:
            if since is not None and self._has_succeeded_since(since):
                return
            forms = FORMS if self.last_success is None else (self._form,)
            problems: list[Exception] = []
            for self._form in forms:
                try:
                    await self._probe(MAX_FIRST_ATTEMPTS)
                except (RejectedError, RetryableError, UnusableError) as error:
                    problems.append(error)
                    if not _depends_on_parameters(error):
                        break
                else:
                    return
            self._form = forms[0]
            # What a response lacks says more than that other parameters are rejected.
            raise self._explain(next((each for each in problems if isinstance(each, UnusableError)), problems[0]))

    async def _probe(self, attempts: int) -> None:
        """Embed a short text. Raises: `RejectedError`, `RetryableError`, `UnusableError`."""
        for attempt in range(1, attempts + 1):
            try:
                found = (await self._once([PROBE])).read(1, self._dimensions)[0]
            except RetryableError as error:
                if attempt == attempts or (self.last_success is None and error.status >= 500):
                    raise
                await self._pause(error, attempt)
            else:
                if isinstance(found, str):
                    raise UnusableError(found)
                self.last_success = time.monotonic()
                return

    async def _is_caused_by_texts(self, error: RetryableError, attempt: int, began: float, count: int) -> bool:
        """Return whether a request has failed so often while the service works that its texts must be the cause.

        Raises: `EmbeddingError` if the service is unavailable.
        """
        if self.last_success is None:
            if attempt >= MAX_FIRST_ATTEMPTS:
                await self._check_alone(error, began)
            return self.last_success is not None
        if attempt < (MAX_ATTEMPTS if count == 1 or error.status == TOO_MANY_REQUESTS else SPLIT_ATTEMPTS):
            self._check_outage(error, began)
            return False
        if error.status == TOO_MANY_REQUESTS and time.monotonic() - began < RATE_LIMITED_FOR:
            self._check_outage(error, began)
            return False
        if self._has_succeeded_since(began):
            return True
        try:
            await self._probe(1)
        except (RejectedError, RetryableError, UnusableError):
            self._check_outage(error, began)
            return False
        return True

    async def _check_alone(self, error: RetryableError, began: float) -> None:
        """Check before the first success whether a short text succeeds. Raises: `EmbeddingError`."""
        try:
            await self.negotiate(began)
        except EmbeddingError:
            raise self._explain(error) from error

    def _check_outage(self, error: RetryableError, began: float) -> None:
        """Raises: `EmbeddingError` if no request has succeeded for `GIVE_UP_AFTER` seconds."""
        if time.monotonic() - max(self.last_success or began, began) > GIVE_UP_AFTER:
            raise self._explain(error) from error

    def _has_succeeded_since(self, moment: float) -> bool:
        return self.last_success is not None and self.last_success > moment

    def _explain(self, error: Exception) -> EmbeddingError:
        """Return the error of a service that cannot be used."""
        if isinstance(error, RetryableError):
            setting = "" if self.last_success is not None else "Check embedding.base_url, and that the service runs. "
            return EmbeddingError(f"{self.label} is unavailable: {error.why}", hint=f"{setting}{RESUME}")
        if not isinstance(error, RejectedError):
            return EmbeddingError(f"{self.label} returns no usable embeddings: {error}", hint=CHECK_SETTINGS)
        status, code, message = error.status, error.code, error.message
        if code == NO_CREDIT or status == 402:
            return EmbeddingError(f"{self.label}: the account has no credit left", hint=f"Add credit. {RESUME}")
        if status in DENIED:
            hint = f"Check embedding.api_key and the permissions of the key. {RESUME}"
            cause = f"{status} {code}".strip()
            return EmbeddingError(f"{self.label} denies access ({cause}): {message}", hint=hint)
        if status in ACCOUNT:
            hint = "Check embedding.model and embedding.base_url."
            return EmbeddingError(f"{self.label}: model or path not found ({status}): {message}", hint=hint)
        return EmbeddingError(f"{self.label} rejects every request: {status} {message}", hint=CHECK_SETTINGS)

    async def _pause(self, error: RetryableError, attempt: int) -> None:
        """Wait as long as the service asks, otherwise with exponential backoff; both with jitter.

        Raises: `EmbeddingError` if the service asks to wait longer than `MAX_RETRY_AFTER`.
        """
        if error.after is None:
            pause = min(30.0, FIRST_PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
        elif error.after > MAX_RETRY_AFTER:
            raise EmbeddingError(
                f"{self.label} asks to retry after {error.after:,.0f} s ({error.why})",
                hint=f"Wait until then. {RESUME}",
            )
        else:
            pause = error.after + random.uniform(0, min(1.0, error.after / 4))
        if pause >= 5:
            self._notify(f"{self.label}: {error.why}; retrying in {pause:.0f} s")
        await asyncio.sleep(pause)

    async def _once(self, texts: Sequence[str]) -> Reply:
        """Send a request once.

        Raises: `RetryableError` if it may succeed later; `RejectedError` if not.
        """
        async with self.limiter.slot() as number:
            try:
                reply = await self._send(texts)
            except openai.APIStatusError as error:
                response = read_error(error.status_code, error.response.text, error.response.headers)
            except openai.APITimeoutError as error:
                raise RetryableError(f"timed out after {TIMEOUT:.0f} s") from error
            except openai.APIConnectionError as error:
                raise RetryableError(root_cause(error)) from error
            else:
                if isinstance(reply, Reply):
                    self.limiter.increase()
                    return reply
                response = reply
            if response.status == TOO_MANY_REQUESTS:
                self.limiter.back_off(number)
            raise response.as_exception()

    async def _send(self, texts: Sequence[str]) -> Reply | ErrorResponse:
        body: dict[str, Any] = {"input": list(texts), "model": self._model}
        if self._form.dimensions:
            body["dimensions"] = self._dimensions
        if self._form.encoding is not None:
            body["encoding_format"] = self._form.encoding
        try:
            # Not `embeddings.create`: it always sends an encoding_format, and accepts any value as a vector.
            found = await self._client.post("/embeddings", cast_to=object, body=body)
            found = json.loads(found) if isinstance(found, str) else found
        except ValueError:
            return Reply(None, None, "the response is not JSON")
        return read_reply(found)


def read_reply(body: Any) -> Reply | ErrorResponse:
    """Return the entries of a response. Proxies of several services report errors with the status 200, too."""
    if not isinstance(body, dict):
        return Reply(None, None, "the response is not a JSON object")
    error = body.get("error")
    if error and not body.get("data"):
        status = error.get("code") if isinstance(error, dict) else None
        return read_error(
            status if isinstance(status, int) and 400 <= status < 600 else 500, json.dumps({"error": error}), {}
        )
    usage = body.get("usage")
    counts = [usage.get(name) for name in ("prompt_tokens", "total_tokens")] if isinstance(usage, dict) else []
    tokens = next((count for count in counts if type(count) is int and count >= 0), None)
    return Reply(body.get("data"), tokens)


def _depends_on_parameters(error: Exception) -> bool:
    """Return whether the probe may succeed with other parameters."""
    if isinstance(error, RejectedError):
        return error.status not in ACCOUNT and error.code != NO_CREDIT
    # A server that does not know a parameter may fail (500); a proxy reports that it has no server (502 and above).
    return isinstance(error, UnusableError) or (isinstance(error, RetryableError) and error.status in (500, 501))
