"""What the drawings have in common: a frame of one width, and labels that fit."""

from __future__ import annotations

from collections.abc import Iterable

from migrator.report.components import clean

WIDTH = 1000
LONGEST = 28  # characters of a label


def draw_svg(height: float, label: str, parts: Iterable[str]) -> str:
    """A drawing that scales with the page; `label` is for who cannot see it."""
    opening = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{clean(label)}">'
    return f'<div class="scroll">{opening}\n' + "\n".join(parts) + "\n</svg></div>"


def shorten_label(text: str, longest: int = LONGEST) -> str:
    return clean(text if len(text) <= longest else f"{text[: longest - 1]}…")
