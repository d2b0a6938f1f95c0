"""Asks a language model about fields and columns that names do not match. Any OpenAI-compatible service will do.

It gets names, types and counts, never values. What it answers is a proposal: only a pair of an existing field and an
existing column whose types fit is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from migrator.errors import AccessError, UsageError
from migrator.scaffold.existing import ExistingColumn
from migrator.scaffold.statistics import CollectionStatistics, FieldStatistics, dotted

Pairs = list[tuple[str, str]]  # path of a field, name of a column
_TASK = (
    "You match fields of MongoDB documents with columns of a PostgreSQL table. The user names a collection, a table,"
    " and the fields and columns that are left. Answer with one JSON object only:"
    ' {"pairs": [["field", "column"], ...]}. Use each name at most once, exactly as it is given, and leave out what you'
    " are not sure of."
)
_TIMEOUT, _RETRIES = 60.0, 3


@dataclass(frozen=True, slots=True)
class Question:
    """What is left of a collection and of its table."""

    collection: CollectionStatistics
    table: str
    fields: Sequence[FieldStatistics]
    columns: Sequence[ExistingColumn]

    def as_text(self) -> str:
        """Return the question as JSON: names, types and counts."""
        return json.dumps(
            {
                "collection": self.collection.name,
                "documents": self.collection.documents,
                "table": self.table,
                "fields": [
                    {"name": dotted(each.path), "types": each.describe_types(), "documents": each.documents}
                    for each in self.fields
                ],
                "columns": [
                    {"name": each.name, "type": each.kind or "unknown", "nullable": each.nullable}
                    for each in self.columns
                ],
            },
            ensure_ascii=False,
        )


Ask = Callable[[Question], Pairs]


class Advisor:
    """A language model behind an OpenAI-compatible service. Raises: `UsageError` for an unusable URL or key."""

    def __init__(self, url: str, model: str, key: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise UsageError("--ask: the URL must start with https:// or http://", hint="Example: https://HOST/v1")
        if not (key.isascii() and key.isprintable()):  # otherwise it is no valid HTTP header value
            raise UsageError("OPENAI_API_KEY contains an invalid character", hint="Copy the key again.")
        import openai  # takes half a second, which only those who ask need to pay

        self._host, self._model, self._error = urlsplit(url).hostname or url, model, openai.OpenAIError
        self._client = openai.OpenAI(base_url=url, api_key=key or "none", timeout=_TIMEOUT, max_retries=_RETRIES)

    def ask(self, question: Question) -> Pairs:
        """Return the pairs that the model proposes. Raises: `AccessError`."""
        try:
            answer = self._client.chat.completions.create(
                model=self._model,
                temperature=0,
                messages=[{"role": "system", "content": _TASK}, {"role": "user", "content": question.as_text()}],
            )
        except self._error as error:
            status = getattr(error, "status_code", None)
            cause = type(error).__name__ if status is None else f"{type(error).__name__}, status {status}"
            raise AccessError(
                f"the service at {self._host} did not answer ({cause})",
                hint="Check --ask, --ask-model and the environment variable OPENAI_API_KEY, or leave out --ask.",
            ) from error
        choices = answer.choices or []
        return read_pairs(choices[0].message.content or "") if choices else []


def read_pairs(text: str) -> Pairs:
    """Return the pairs in an answer, which may have text around the JSON; none if it has another form."""
    found: Any = None
    with suppress(ValueError, RecursionError):
        found = json.loads(text[text.find("{") : text.rfind("}") + 1])
    pairs = found.get("pairs") if isinstance(found, dict) else None
    return [
        (pair[0], pair[1])
        for pair in (pairs if isinstance(pairs, list) else [])
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, str) for each in pair)
    ]
