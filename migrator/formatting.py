"""Formats numbers with their units, durations, sizes and percentages for display."""

from __future__ import annotations

MAX_LENGTH = 120  # characters of an `_id` or a path, which may have any length in the data
IRREGULAR = {"indexes": "index", "policies": "policy", "entries": "entry"}


def format_count(number: int, plural: str) -> str:
    """Formats a number with its noun, which is given in the plural: 1 document, 3,219 documents."""
    return f"{number:,} {(IRREGULAR.get(plural) or plural.removesuffix('s')) if number == 1 else plural}"


def format_duration(seconds: float) -> str:
    """Formats seconds: 4.0 s, 12 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def format_size(size: float) -> str:
    """Formats bytes in the unit that has one to three digits before the decimal point."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def format_share(part: int, whole: int) -> str:
    """Formats a percentage. 100 means all and 0 means none: everything else is rounded to 0.1 … 99.9."""
    if not whole or part in (0, whole):
        return f"{100 if whole and part else 0} %"
    return f"{min(max(100 * part / whole, 0.1), 99.9):.1f} %"


def shorten(text: str, longest: int = MAX_LENGTH) -> str:
    """Cuts a text to a maximum length."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
