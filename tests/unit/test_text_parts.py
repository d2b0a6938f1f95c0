"""The parts of a message without the texts that its row has: exact in both directions, decoded or as BSON."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from bson import ObjectId
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import UUID

from mappings.messages import PARTS as FORM
from mappings.messages import join_texts
from migrator.documents.codec import decode, encode, same
from migrator.documents.native import BsonParts
from migrator.errors import UsageError
from migrator.mapping.collection import Collection, Rule
from migrator.mapping.references import Key
from migrator.mapping.rules import Compute, Variants
from migrator.mapping.text_parts import TextParts
from migrator.mapping.validation import validate
from migrator.translation.projection import Projection, SlotType, projector_of
from tests.strategies import values

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
PARTS = st.lists(
    st.one_of(
        st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
        st.builds(lambda text, more: {"x": more, "text": text, "type": "text"}, TEXTS, values),
        st.builds(lambda text: {"type": "think", "think": text}, TEXTS),
        st.builds(lambda value: {"type": "text", "text": value}, values),
        values,
    ),
    max_size=5,
)


class Silent:
    """A `Context` that ignores findings."""

    options: Any = None

    def note(self, code: str, detail: str) -> None: ...


@given(PARTS)
@example([{"type": "text", "text": "a\n\nb"}, {"type": "tool_call"}, {"type": "text", "text": "\n\nc"}])
@example([{"type": "text", "text": ""}, {"type": "text", "text": "𝄞"}])
def test_subtracted_texts_are_restored(parts: list[Any]) -> None:
    """For any parts, the removed texts are restored exactly, also after encoding the remainder as BSON."""
    content = join_texts(Silent(), parts)  # type: ignore[arg-type]
    rest = FORM.subtract(parts, content)
    if rest is not None:
        assert same(FORM.restore(decode(encode({"cut": rest}))["cut"], content), decode(encode({"": parts}))[""])
        assert all(part["text"] is None for part in (rest["in"][place] for place in rest["at"][::2]))


def test_remainder_of_a_usual_answer() -> None:
    """Of an answer with thoughts, a tool call and two texts, only the thoughts and the call remain."""
    parts = [
        {"type": "think", "think": "Hm."},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_call", "tool_call": {"name": "search"}},
        {"type": "text", "text": "Found it."},
    ]
    rest = FORM.subtract(parts, "Let me look.\n\nFound it.")
    assert rest is not None
    assert "Found" not in str(rest)
    assert "look" not in str(rest)
    assert FORM.restore(rest, "Let me look.\n\nFound it.") == parts


def test_other_texts_are_not_subtracted() -> None:
    """If the column has a different text (edited, or without NUL), nothing is removed."""
    assert FORM.subtract([{"type": "text", "text": "one"}], "two") is None
    assert FORM.subtract("a text", "a text") is None
    assert FORM.subtract([], "") is None


# The usual form, one with names that are parts of these, and one with names of other lengths.
FORMS = (FORM, TextParts("typ", "tex", "text", ""), TextParts("is", "é", "type", " 𝄞 "))
USUAL = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {}, optional={"type": st.sampled_from(["text", "é", "think", ""]), "text": TEXTS, "is": st.just("é")}
        ),
        st.fixed_dictionaries({"text": TEXTS, "x": values, "type": st.sampled_from(["text", "tool_call"])}),
        st.fixed_dictionaries({"is": st.sampled_from(["é", "e"]), "type": st.one_of(TEXTS, values)}),
    ),
    max_size=12,
)


def in_bson(form: TextParts, parts: list[Any]) -> Any:
    """Return the parts as the compiled function gets them; None if it does not get their document."""
    slots = (("parts", SlotType.PARTS),)
    projector = projector_of(Projection(frozenset(), (), slots, parts={"parts": form}))
    projected = projector.project(encode({"_id": ObjectId(), "parts": parts, "after": "x"}), 0, 1).tuples[0]
    return None if projected is None else projected[3]


@pytest.mark.skipif(BsonParts is None, reason="built without a C compiler")
@pytest.mark.parametrize("form", FORMS, ids=["usual", "short names", "other names"])
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=st.one_of(USUAL, PARTS), other=st.one_of(USUAL, PARTS))
@example(parts=[{"type": "text", "text": f"{number}é"} for number in range(12)], other=[])
@example(parts=[{"type": "text", "text": ""}], other=[{"text": "", "type": "text"}])
@example(parts=[{"type": "text", "text": "a"}], other=[{"type": "text", "text": "a", "x": 1}])
@example(parts=[{"type": "text", "text": "a", "x": 1}], other=[{"type": "text", "text": "a", "x": 1}])
@example(parts=[{"type": "text", "text": "a\0"}], other=[])
def test_parts_in_bson_are_read_like_decoded_ones(form: TextParts, parts: list[Any], other: list[Any]) -> None:
    """Joined texts, remainders and comparisons are the same; parts of another form are decoded."""
    parts, other = (decode(encode({"": each}))[""] for each in (parts, other))
    found, text = in_bson(form, parts), form.join(form.read(parts))
    assume(found is not None)
    assert form.join(found) == text
    assert (type(found) is BsonParts) == (text is not None)
    for column in (text or "", "another"):
        one, two = form.subtract(parts, column), form.subtract(found, column)
        assert (one is None) == (two is None)
        assert one is None or (two if isinstance(two, bytes) else encode(two)) == encode(one)
        assert one is None or same(form.restore(decode(encode(one)), column), parts)
    compared: list[Any] = [parts, other, parts[:-1], [*parts, {}], None, {}]
    for value in compared:
        assert same(value, found) == same(value, parts)
        variants = Variants("content", (str, partial(deepcopy, value), lambda: parts), (), parts=FORM)
        assert variants.find_variant(found) == variants.find_variant(parts)


BODY = TextParts(kind="p")
REFUSED: dict[str, tuple[Rule, ...]] = {
    "two rules read content with different `TextParts`": (
        Compute(columns=("body",), fields=("content",), function=str, parts={"content": FORM}),
        Variants("content", (str,), ("body",), parts=BODY),
    ),
    "a rule has the parts of content, but not the field": (
        Compute(columns=("body",), fields=("text",), function=str, parts={"content": FORM}),
    ),
    "content has parts, but no column with their texts": (Variants("content", (list,), (), parts=FORM),),
}


@pytest.mark.parametrize("message", REFUSED)
def test_parts_that_cannot_be_used_are_refused_by_name(message: str) -> None:
    """Before anything is read."""
    columns = (sa.Column("id", UUID, primary_key=True), sa.Column("body", sa.Text))
    table = sa.Table("posts", sa.MetaData(), *columns)
    mapping = Collection(name="posts", table=table, key=Key(path="_id", collection="posts"), rules=REFUSED[message])
    with pytest.raises(UsageError) as caught:
        validate({"posts": mapping}, table.metadata)
    assert message in caught.value.message
