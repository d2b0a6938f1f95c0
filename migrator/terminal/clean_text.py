"""Texts that may come from documents, made safe for a terminal and JSON: secrets masked, controls escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# Text of a document may occur in a message. It must not control the terminal or change the direction of text.
_DIRECTION_MARKS = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_CONTROLS |= {code: f"\\u{code:04x}" for code in _DIRECTION_MARKS}
# In JSON they occur in strings only; json.dumps itself escapes those below 32.
CONTROLS_IN_JSON = {code: f"\\u{code:04x}" for code in (*range(127, 160), *_DIRECTION_MARKS)}


def clean(text: str, masked: Callable[[str], str]) -> str:
    """Return a text without secrets and control characters. `masked` masks the secrets."""
    return masked(text).translate(_CONTROLS)


def one_line(text: str, masked: Callable[[str], str]) -> str:
    """Return a clean text on one line: names may contain line breaks."""
    return clean(text, masked).replace("\n", "\\n")


def clean_json(value: Any, masked: Callable[[str], str]) -> Any:
    """Return a value without secrets. Each text is masked, because masking the JSON text could damage its syntax."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {masked(str(key)): clean_json(inner, masked) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(inner, masked) for inner in value]
    return value
