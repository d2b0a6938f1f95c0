"""A message's parts without the texts that its row has: exact both ways, and never kept twice."""

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
    """A `Context` whose findings nobody wants."""

    options: Any = None

    def note(self, code: str, detail: str) -> None: ...


@given(PARTS)
@example([{"type": "text", "text": "a\n\nb"}, {"type": "tool_call"}, {"type": "text", "text": "\n\nc"}])
@example([{"type": "text", "text": ""}, {"type": "text", "text": "𝄞"}])
def test_gives_back_what_was_cut(parts: list[Any]) -> None:
    """Whatever the parts are: what was cut out comes back to the byte, after a round through BSON as well."""
    content = join_texts(Silent(), parts)  # type: ignore[arg-type]
    rest = remove_texts(parts, content, "assistant")
    if rest is not None:
        assert same(
            insert_texts(decode(encode({"cut": rest}))["cut"], content, "assistant"), decode(encode({"": parts}))[""]
        )
        assert all(part["text"] is None for part in (rest["in"][place] for place in rest["at"][::2]))


def test_cuts_the_usual_answer() -> None:
    """Of an answer with thoughts, a tool call and two texts, only thoughts and call are left."""
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


def test_keeps_what_the_row_does_not_have() -> None:
    """Where the column has another text (an edited one, one without NUL), nothing is cut."""
    assert remove_texts([{"type": "text", "text": "one"}], "two", "assistant") is None
    assert remove_texts("a text", "a text", "assistant") is None
    assert remove_texts([], "", "assistant") is None
