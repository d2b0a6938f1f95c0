"""What a check says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

EXAMPLES = 10  # how many differences a check spells out


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check on one table or collection. `differences` is how many there are, `examples` some of them in words."""

    check: str
    table: str
    expected: Any
    actual: Any
    differences: int = 0
    examples: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        return self.differences == 0

    def as_json(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "table": self.table,
            "ok": self.ok,
            "expected": self.expected,
            "actual": self.actual,
            "differences": self.differences,
            "examples": list(self.examples),
        }


def equal_counts(check: str, table: str, expected: int, actual: int, example: str = "") -> Check:
    """Two numbers that must be the same."""
    differences = abs(expected - actual)
    examples = (example or f"expected {expected:,}, found {actual:,}",) if differences else ()
    return Check(check=check, table=table, expected=expected, actual=actual, differences=differences, examples=examples)
