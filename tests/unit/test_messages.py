"""The catalogue of messages is the one that was reviewed: a change of a message shows in the golden file."""

from __future__ import annotations

import re

from tests.messages import GOLDEN, REFRESH, collect


def test_the_messages_are_the_reviewed_ones() -> None:
    """Refresh the file after a change, read the difference, and commit both."""
    assert GOLDEN.read_text(encoding="utf-8") == collect(), f"messages changed; refresh with: {REFRESH}"


def test_a_message_is_not_a_sentence_and_a_hint_is_one() -> None:
    """A message has no full stop at its end; a hint starts with a capital letter, a command or a value."""
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        if line.startswith("    hint: "):
            assert re.match(r"[A-Z`{/]", line.removeprefix("    hint: ")), line
        elif re.match(r"\w+Error: ", line):
            assert not line.endswith("."), line
