"""What the documents of a batch refer to is looked up at once, before they are translated a few at a time."""

from __future__ import annotations

from collections.abc import Iterable
from unittest.mock import patch
from uuid import UUID

import pytest
from bson import ObjectId

from mappings import MAPPINGS
from migrator.documents import native
from migrator.documents.codec import Document, encode
from migrator.mapping.collection import Collection
from migrator.mapping.context import Match
from migrator.state.tenant import Options
from migrator.translation import translator
from migrator.translation.interpreter import References
from migrator.translation.translator import Translator
from tests.elements import Known, by_document

MESSAGES = next(each for each in MAPPINGS if each.name == "messages")
COUNT = 50


CARRIED = {"user_id": bytes(16), "provider": "openai"}


class Counting(Known):
    """Finds a row for every key; counts the questions, and the keys of the first one."""

    def __init__(self) -> None:
        self.questions, self.first = 0, 0

    def references(self, collection: Collection, documents: Iterable[Document]) -> References:
        found = list(documents)
        keys = {lookup.name: (lookup, lookup.keys(found)) for lookup in collection.lookups}
        self.questions += 1
        self.first = self.first or sum(len(wanted) for _, wanted in keys.values())
        return {
            name: {key: (Match(key, {each: CARRIED.get(each) for each in lookup.carry}),) for key in wanted}
            for name, (lookup, wanted) in keys.items()
        }


def make(number: int, conversation: object) -> bytes:
    return encode(
        {"_id": ObjectId(), "messageId": str(UUID(int=number + 1)), "conversationId": conversation, "text": "x"}
    )


@pytest.mark.skipif(native.FieldCounter is None, reason="built without a C compiler")
@pytest.mark.parametrize(
    ("conversations", "questions", "first"),
    [
        ([str(UUID(int=number // 4)) for number in range(COUNT)], 1 + 8, 13),
        (["", None, *map(str, range(COUNT - 2))], 1 + 8, COUNT - 2),
        ([*map(str, range(COUNT - 1)), 1], 1, COUNT),  # a number is an unusual reference
    ],
)
def test_rows_are_looked_up_ahead(conversations: list[object], questions: int, first: int, options: Options) -> None:
    """The output is the same as of all documents at once."""
    data = b"".join(make(number, each) for number, each in enumerate(conversations))
    lookups = Counting()
    with patch.object(translator, "FEW_DOCUMENTS", 7):
        few, offsets = Translator(MESSAGES, options, lookups).translate(data)
    assert (lookups.questions, lookups.first) == (questions, first)
    with patch.object(Translator, "_look_up_ahead", lambda *arguments: False):
        many, expected = Translator(MESSAGES, options, Counting()).translate(data)
    assert (by_document(few), offsets) == (by_document(many), expected)
