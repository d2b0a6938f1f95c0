"""The parts of a message without the texts that its row has: exact in both directions."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from mappings.messages import insert_texts, join_texts, remove_texts
from migrator.documents.codec import decode, encode, same
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
    rest = remove_texts(parts, content, "assistant")
    if rest is not None:
        assert same(
            insert_texts(decode(encode({"cut": rest}))["cut"], content, "assistant"), decode(encode({"": parts}))[""]
        )
        assert all(part["text"] is None for part in (rest["in"][place] for place in rest["at"][::2]))


def test_remainder_of_a_usual_answer() -> None:
    """Of an answer with thoughts, a tool call and two texts, only the thoughts and the call remain."""
    parts = [
        {"type": "think", "think": "Hm."},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_call", "tool_call": {"name": "search"}},
        {"type": "text", "text": "Found it."},
    ]
    rest = remove_texts(parts, "Let me look.\n\nFound it.", "assistant")
    assert rest is not None
    assert "Found" not in str(rest)
    assert "look" not in str(rest)
    assert insert_texts(rest, "Let me look.\n\nFound it.", "assistant") == parts


def test_other_texts_are_not_subtracted() -> None:
    """If the column has a different text (edited, or without NUL), nothing is removed."""
    assert remove_texts([{"type": "text", "text": "one"}], "two", "assistant") is None
    assert remove_texts("a text", "a text", "assistant") is None
    assert remove_texts([], "", "assistant") is None
