"""Keeping secrets out of everything that is printed or written: patterns for any text, exact values for a known config.

Not here: where masking happens (console.py and whoever writes a report or the journal call it at their boundary).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

HIDDEN = "***"

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Greedy up to the last '@': a password with an unescaped '@' or '/' must not leak its second half.
    # The word PASSWORD itself is how our own hints spell a URL.
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://[^:/?#\s@\"']*:)(?!PASSWORD@)[^\s\"'<>]*@"), rf"\1{HIDDEN}@"),
    (
        re.compile(
            r"(?i)\b([a-z]*password|passwd|api[_-]?key|(?:access|auth|session)_token)(\s*=\s*)('[^']*'|[^\s&;,]+)"
        ),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"(?i)\b(bearer)\s+[^\s\"',;]+"), rf"\1 {HIDDEN}"),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{12,}"), HIDDEN),
)
_URL_PASSWORD = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^:/?#\s@]*:(.*)@")
_URL_TOKEN = re.compile(r"^https?://([^:/?#\s@]*)@")  # a service's key in the place of a user
# `sslkey` is a path, which messages should name.
_QUERY_PASSWORD = re.compile(r"(?i)[?&][a-z0-9_.-]*(?:password|token|secret|(?<!ssl)key|code|sig|signature)=([^&#]*)")
_SESSION_TOKEN = re.compile(r"(?i)AWS_SESSION_TOKEN(?::|%3A)([^,&#]*)")  # among MongoDB's authMechanismProperties
_SHORTEST = 4  # below that an exact value would hit ordinary words; the patterns still find it in a URL


def mask(text: str) -> str:
    """The text without passwords in URLs and connection strings, bearer tokens and API keys."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def url_secrets(url: str) -> list[str]:
    """The passwords, keys and tokens a URL carries, as written; empty where it carries none."""
    patterns = (_URL_PASSWORD, _URL_TOKEN, _QUERY_PASSWORD, _SESSION_TOKEN)
    found = [secret for pattern in patterns for secret in pattern.findall(url)]
    return [secret for secret in found if secret]


class Secrets:
    """Exact values to hide wherever they turn up, however they are escaped. Also does what `mask` does."""

    def __init__(self, values: Iterable[str]) -> None:
        spellings = {form for value in values for form in (value, unquote(value), quote(value, safe=""))}
        longest_first = sorted((s for s in spellings if len(s) >= _SHORTEST), key=lambda s: (-len(s), s))
        # Whole words only: the password 'postgres' must not turn 'postgresql' into '***ql'.
        union = "|".join(re.escape(spelling) for spelling in longest_first)
        self._exact = re.compile(rf"(?<!\w)(?:{union})(?!\w)") if union else None

    def mask(self, text: str) -> str:
        masked = mask(text)
        return self._exact.sub(HIDDEN, masked) if self._exact else masked

    def __repr__(self) -> str:
        return "Secrets(…)"
