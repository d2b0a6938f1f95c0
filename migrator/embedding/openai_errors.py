"""Reads the error responses of OpenAI-compatible services, whatever their shape, and classifies them by remedy.

Not here: sending requests and deciding whether a text or the service is the cause (`openai_client`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

TOO_MANY_REQUESTS = 429
RETRYABLE = frozenset({408, 409, 425, TOO_MANY_REQUESTS})
DENIED = frozenset({401, 403})
ACCOUNT = frozenset({401, 402, 403, 404, 405, 410})  # seldom caused by a text; other parameters cannot help
TOO_LARGE = frozenset({400, 413, 422})  # a request with fewer or shorter texts may succeed
NO_CREDIT = "insufficient_quota"
MAX_MESSAGE = 300  # characters

# The names that services use, most specific first.
_MESSAGES = ("message", "msg", "detail", "details", "error", "errors", "error_message", "reason", "title")
_CODES = ("code", "type", "error_type", "error_code", "reason")


class RejectedError(Exception):
    """The service rejects this request permanently; other texts may succeed. `why` contains nothing of the texts."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(status, code)
        self.status, self.code, self.message = status, code, message
        cause = " ".join(str(part) for part in (status, code) if part) or message
        self.why = f"rejected by the service ({cause})"


class RetryableError(Exception):
    """The same request may succeed later. `after`: the number of seconds that the service asks to wait."""

    def __init__(self, why: str, status: int = 0, code: str = "", after: float | None = None) -> None:
        super().__init__(why)
        self.why, self.status, self.code, self.after = why, status, code, after

    def as_rejection(self) -> RejectedError:
        """Return the error of a request that fails while others succeed."""
        return RejectedError(self.status, self.code, self.why)


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error response. `code`: a single word, because anything else might quote a text; `message` may quote it."""

    status: int
    code: str
    message: str
    after: float | None  # seconds

    @property
    def is_retryable(self) -> bool:
        return (self.status in RETRYABLE or self.status >= 500) and self.code != NO_CREDIT

    def as_exception(self) -> RejectedError | RetryableError:
        """Return `RetryableError` if the same request may succeed later, else `RejectedError`."""
        if self.is_retryable:
            return RetryableError(f"{self.status} {self.code}".strip(), self.status, self.code, self.after)
        return RejectedError(self.status, self.code, self.message)


def read_error(status: int, text: str, headers: Mapping[str, str]) -> ErrorResponse:
    """Return the parts of an error response: JSON of any shape, an HTML page or plain text."""
    body: Any = text
    with suppress(ValueError, RecursionError):
        body = json.loads(text)
    return ErrorResponse(status, _find_code(body), find_message(body), read_retry_after(headers))


def find_message(body: Any, depth: int = 4) -> str:
    """Return the message in the body of an error response, in one line; "" if there is none."""
    if isinstance(body, str):
        return _shorten(_title_of(body) if body.lstrip().startswith("<") else body)
    if isinstance(body, list) and depth:
        return _shorten("; ".join(filter(None, (find_message(item, depth - 1) for item in body[:3]))))
    if isinstance(body, dict) and depth:
        found = (find_message(body[name], depth - 1) for name in _MESSAGES if body.get(name))
        message = next(filter(None, found), "")
        place = body.get("loc")  # pydantic: where the error is
        return _shorten(f"{'.'.join(map(str, place))}: {message}") if isinstance(place, list) else message
    return ""


def _find_code(body: Any, depth: int = 4) -> str:
    """Return the first error code that is a single word; "" if there is none."""
    if isinstance(body, list) and body and depth:
        return _find_code(body[0], depth - 1)
    if not isinstance(body, dict) or not depth:
        return ""
    nested = next((_find_code(body[name], depth - 1) for name in ("error", "detail") if name in body), "")
    own = (str(body[name]) for name in _CODES if isinstance(body.get(name), str | int) and body[name])
    return nested or next((name for name in own if re.fullmatch(r"\w{1,60}", name)), "")


def _title_of(page: str) -> str:
    title = re.search(r"<title[^>]*>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    return f"an HTML page, {title[1].strip()}" if title and title[1].strip() else "an HTML page"


def _shorten(text: str) -> str:
    return " ".join(text.split())[:MAX_MESSAGE]


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds from the header `retry-after-ms`, or from `retry-after` as a number or a date.

    None if neither has a value that is a time from now on.
    """
    seconds = _number(headers.get("retry-after-ms"), 1000)
    value = headers.get("retry-after") or ""
    if seconds is None:
        seconds = _number(value, 1)
    if seconds is None:
        with suppress(ValueError, TypeError):
            moment = parsedate_to_datetime(value)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            seconds = (moment - datetime.now(UTC)).total_seconds()
    return seconds if seconds is not None and seconds > 0 else None


def _number(value: str | None, divisor: int) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number / divisor if math.isfinite(number) else None


def root_cause(error: BaseException) -> str:
    """Return the message of the first cause of a connection error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__} {error}".strip()
