"""Removes secrets from text: by patterns in any text, by exact values for a known configuration.

Not here: where text is masked (the console, and the modules that write reports and the journal).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

HIDDEN = "***"

# With each pattern what every match contains, in small letters: most texts are printed without a search by pattern.
_PATTERNS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    # Greedy up to the last '@', so that the rest of a password with an unescaped '@' or '/' does not leak.
    # The word PASSWORD is a placeholder in hints of this tool.
    ("://", re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://[^:/?#\s@\"']*:)(?!PASSWORD@)[^\s\"'<>]*@"), rf"\1{HIDDEN}@"),
    (
        "=",
        re.compile(
            r"(?i)\b([a-z]*password|passwd|api[_-]?key|(?:access|auth|session)_token)(\s*=\s*)('[^']*'|[^\s&;,]+)"
        ),
        rf"\1\2{HIDDEN}",
    ),
    ("bearer", re.compile(r"(?i)\b(bearer)\s+[^\s\"',;]+"), rf"\1 {HIDDEN}"),
    ("sk-", re.compile(r"\bsk-[A-Za-z0-9_-]{12,}"), HIDDEN),
)
_URL_PASSWORD = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^:/?#\s@]*:(.*)@")
_URL_TOKEN = re.compile(r"^https?://([^:/?#\s@]*)@")  # some services expect the key in place of the user
# `sslkey` is the path of a file, not a secret.
_QUERY_PASSWORD = re.compile(r"(?i)[?&][a-z0-9_.-]*(?:password|token|secret|(?<!ssl)key|code|sig|signature)=([^&#]*)")
_SESSION_TOKEN = re.compile(r"(?i)AWS_SESSION_TOKEN(?::|%3A)([^,&#]*)")  # among MongoDB's authMechanismProperties
_SHORTEST = 4  # shorter values occur in ordinary words; in a URL the patterns still find them


def mask(text: str) -> str:
    """Replaces passwords in URLs and connection strings, bearer tokens and API keys."""
    lower = text.lower()
    for part, pattern, replacement in _PATTERNS:
        if part in lower:
            text = pattern.sub(replacement, text)
    return text


def url_secrets(url: str) -> list[str]:
    """Returns the passwords, keys and tokens in a URL, as written."""
    patterns = (_URL_PASSWORD, _URL_TOKEN, _QUERY_PASSWORD, _SESSION_TOKEN)
    found = [secret for pattern in patterns for secret in pattern.findall(url)]
    return [secret for secret in found if secret]


def address_of(url: str) -> str:
    """Returns a URL without user, password and parameters, which do not change the data behind it."""
    if "://" not in url:
        return url
    scheme, rest = url.split("://", 1)
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


class Secrets:
    """Masks exact values, in all URL-escaped forms, and everything that `mask` masks."""

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
