"""Fields that are lists of parts, of which some have a text: `[{"type": "text", "text": "…"}, {"type": "image", …}]`.

A `Compute` can make a column of the joined texts, and a `Variants` keep in the residue what is left of the parts. Their
compiled versions do not decode a list in which every part has the usual form.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from migrator.documents.codec import Document
from migrator.documents.native import BsonParts


@dataclass(frozen=True, slots=True)
class DecodedParts:
    """A list of parts of the usual form: their joined texts."""

    text: str


@dataclass(frozen=True, slots=True)
class TextParts:
    """The form of parts: those with `kind` in the field `kind_field` have a text in the field `text_field`.

    `separator`: between the texts in the column.
    """

    kind_field: str = "type"
    kind: str = "text"
    text_field: str = "text"
    separator: str = "\n\n"

    def __post_init__(self) -> None:
        if self.kind_field == self.text_field:
            raise ValueError(f"kind and text of a part are in the same field, {self.text_field!r}")

    def read(self, value: Any) -> Any:
        """Return what a rule gets for the value of a field: `DecodedParts` if all parts have this form, else the value.

        A part without a kind has another form, and so has a text that is no string or contains U+0000.
        """
        texts = []
        for part in value if type(value) is list else ():
            kind = part.get(self.kind_field) if type(part) is dict else None
            if type(kind) is not str:
                return value
            if kind == self.kind:
                text = part.get(self.text_field)
                if type(text) is not str or "\0" in text:
                    return value
                texts.append(text)
        return DecodedParts(self.separator.join(filter(None, texts))) if type(value) is list else value

    def join(self, value: Any) -> str | None:
        """Return the joined texts of what `read` has returned, or of the same in BSON; None for any other value."""
        return value.text if value.__class__ is BsonParts or value.__class__ is DecodedParts else None

    def subtract(self, value: Any, text: str, *columns: Any) -> Any:
        """Return the parts without the texts that a column contains; None if these are not its texts.

        The result is a document, or its BSON if the parts are BSON.
        `in` are the parts, `at` is a list: the position of each part with a text, each but the last followed by the
        length of its text in characters. The last text extends to the end of the column.
        """
        if value.__class__ is BsonParts:
            return value.subtract(text)
        parts, at, texts = [], [], []
        for place, part in enumerate(value if type(value) is list else ()):
            found = part.get(self.text_field) if type(part) is dict and part.get(self.kind_field) == self.kind else None
            if type(found) is str and found:
                at += [place, len(found)]
                texts.append(found)
                part = {**part, self.text_field: None}
            parts.append(part)
        return {"in": parts, "at": at[:-1]} if texts and self.separator.join(texts) == text else None

    def restore(self, remainder: Document, text: str, *columns: Any) -> Any:
        """Return the parts with their texts: the reverse of `subtract`."""
        parts, at, start = list(remainder["in"]), remainder["at"], 0
        for place, length in zip_longest(at[::2], at[1::2]):
            end = None if length is None else start + length
            parts[place] = {**parts[place], self.text_field: text[start:end]}
            start = (end or 0) + len(self.separator)
        return parts
