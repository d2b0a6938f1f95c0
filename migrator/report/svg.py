"""What all diagrams share: a frame of fixed width, and labels that fit."""

from __future__ import annotations

from collections.abc import Iterable

from migrator.report.components import clean

WIDTH = 1000
MAX_LABEL = 28  # characters


def draw_svg(height: float, label: str, parts: Iterable[str]) -> str:
    """Return a drawing that scales with the page. `label` is read by screen readers."""
    opening = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{clean(label)}">'
    return f'<div class="scroll">{opening}\n' + "\n".join(parts) + "\n</svg></div>"


def shorten_label(text: str, longest: int = MAX_LABEL) -> str:
    """Cut a label to a maximum length and escape it."""
    return clean(text if len(text) <= longest else f"{text[: longest - 1]}…")
