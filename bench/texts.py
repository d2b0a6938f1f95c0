"""Generator of texts, and of the other contents of a message: parts, files, attachments, errors."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

Document = dict[str, Any]

WORDS = tuple(
    """the of and to in is that it for as with was on be at by this have from or had an they which one you were all
    her she there would their we him been has when who will no more if out so up said what its about than into them
    only other time new some could these two may first then do any like my now over such our man me even most made
    also did many off before must well back through years where much your way down should because long each just can
    state people those too still water air river harbour winter ferry bridge morning engine query index table tree
    answer""".split()  # noqa: SIM905
)
OTHERS = (*WORDS, "Straße", "naïve", "größer", "señal", "Привет", "мир", "データ", "世界", "🙂", "“so”", "—")

FAILURES = (
    '{"type":"token_balance","balance":0,"tokenCost":123,"promptTokens":41,"prev_count":0,"violation_count":1}',
    "Something went wrong. Here's the specific error message we encountered: 429 You exceeded your current quota",
    "terminated",
)


class Texts:
    """Generates the contents of messages from one random generator."""

    def __init__(self, generator: random.Random) -> None:
        self._random = generator
        self._plain, self._other = self._write(WORDS, 150_000), self._write(OTHERS, 50_000)

    def _write(self, words: Sequence[str], count: int) -> str:
        chosen = self._random.choices(words, k=count)
        ends = self._random.choices((" ", ". ", ", ", ".\n\n"), (84, 8, 6, 2), k=count)
        return "".join(word + end for word, end in zip(chosen, ends, strict=True))

    def cut(self, median: int, spread: float, most: int = 20_000) -> str:
        """Return a text of log-normal length, `median` characters; 13 % are not ASCII, as in the real data."""
        source = self._other if self._random.random() < 0.13 else self._plain
        length = min(most, 1 + int(self._random.lognormvariate(math.log(median), spread)))
        start = self._random.randrange(len(source) - length)
        return source[start : start + length].strip() or "?"

    def parts(self) -> list[Document]:
        """Return `content` of an answer, with the kinds and shares of the newer generation of the real data."""
        kinds = self._random.choices(("text", "think", "tool", "think tool"), (50, 22, 20, 8))[0].split()
        parts: list[Document] = [{"type": "think", "think": self.cut(300, 0.7)}] if "think" in kinds else []
        for _ in range(self._random.choice((1, 1, 1, 2)) if "tool" in kinds else 0):
            parts.append({"type": "tool_call", "tool_call": self._tool_call()})
        return [*parts, {"type": "text", "text": self.cut(450, 0.9)}]

    def _tool_call(self) -> Document:
        return {
            "id": f"call_{self._random.getrandbits(96):024x}",
            "name": self._random.choice(("web_search", "execute_code", "read_file_mcp_filesystem")),
            "args": f'{{"query":"{self.cut(60, 0.4)}"}}',
            "type": "tool_call",
            "progress": 1,
            "output": self.cut(500, 0.8),
        }

    def file(self, file_id: str, user: str) -> Document:
        """Return one entry of `files` of a question."""
        return {
            "type": "image/png",
            "file_id": file_id,
            "filepath": f"/images/{user}/{file_id}__notes.png",
            "filename": "notes.png",
            "height": self._random.randrange(100, 3000),
            "width": self._random.randrange(100, 3000),
            "source": "local",
            "bytes": self._random.randrange(10_000, 9_000_000),
            "object": "file",
            "usage": 1,
            "user": user,
            "context": "message_attachment",
        }

    def attachment(self, message: Document) -> Document:
        """Return one entry of `attachments` of an answer: the results of a search."""
        found = [
            {
                "position": place,
                "title": self.cut(25, 0.3),
                "link": "https://example.com/",
                "snippet": self.cut(90, 0.4),
            }
            for place in range(1, 4)
        ]
        return {
            "type": "web_search",
            "web_search": {"turn": 0, "organic": found},
            "toolCallId": f"call_{self._random.getrandbits(96):024x}",
            "messageId": message["messageId"],
            "conversationId": message["conversationId"],
        }

    def failure(self) -> str:
        """Return the text of an error message."""
        return self._random.choice(FAILURES)
