"""Ratios of a run of the bench, and their comparison with those of an earlier one: `python -m bench.results OLD NEW`.

Seconds depend on the machine; the ratio of two commands that ran alternately hardly does. Every ratio is ours divided
by a reference, so that less is better.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.commands import RUN
from bench.full_run import RESTORE
from bench.peers import LOAD, MIGRATE
from bench.processes import Series
from bench.scaling import ONE

TOLERANCE = 0.15  # by which a ratio may be worse: what two runs on one machine differ by
REFERENCES = {
    "scaling": ONE, "whole": RESTORE, "elements": RESTORE, "elements_cpu": RESTORE,
    "commands": RUN, "commands_cpu": RUN,
}  # fmt: skip


def ratios_of(series: Mapping[str, Series]) -> dict[str, float]:
    """Return the ratios of the measurements that were made."""
    found: dict[str, float] = {}
    for part, each in series.items():
        for one, other in pairs_of(part, each):
            found[f"{part}: {one} ÷ {other}"] = round(each.ratio(one, other), 3)
    return found


def pairs_of(part: str, series: Series) -> Iterator[tuple[str, str]]:
    """Yield (ours, reference)."""
    if LOAD in series.seconds:
        ours = (MIGRATE, LOAD)
        yield from ((each, name) for each in ours for name in series.seconds if name not in ours)
    elif (reference := REFERENCES.get(part)) in series.seconds:
        yield from ((name, str(reference)) for name in series.seconds if name != reference)


def compare(old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float) -> tuple[list[str], list[str]]:
    """Return one line per ratio that both have, and those of the lines that are worse than the tolerance."""
    lines, worse = [], []
    for name in sorted(old["ratios"].keys() & new["ratios"].keys()):
        before, after = old["ratios"][name], new["ratios"][name]
        change = after / before - 1 if before else 0.0
        line = f"{name:100}{before:9.2f}{after:9.2f}{change:+9.0%}"
        lines.append(line)
        worse += [line] if change > tolerance else []
    return lines, worse


def main() -> None:
    """Compare two files of `python -m bench --out`; exit code 1 if a ratio is worse."""
    parser = argparse.ArgumentParser(prog="python -m bench.results")
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="by which a ratio may be worse")
    arguments = parser.parse_args()
    old, new = (json.loads(path.read_text()) for path in (arguments.old, arguments.new))
    lines, worse = compare(old, new, arguments.tolerance)
    if not lines:
        sys.exit("the two files have no ratio in common")
    print("\n".join(lines))
    if worse:
        print(f"\nworse by more than {arguments.tolerance:.0%}:")
        print("\n".join(worse))
        sys.exit(1)


if __name__ == "__main__":
    main()
