"""`python -m bench` measures the migration of messages: single steps, complete runs, and runs from a live server.

The figures of the README come from here. Candidates run alternately, and ratios are computed per repetition, so that
other load on the machine affects all of them equally.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from bench.parts import PARTS, Measured
from bench.results import ratios_of


def main() -> None:
    """Parse the command line, measure and print."""
    options = parse()
    found = [part.measure(options) for part in PARTS if part.name in options.parts]
    text = json.dumps(as_json(found), indent=1)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(f"{text}\n")
    print(text if options.json else "\n\n".join("\n".join(each.lines) for each in found))


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    usual, names = [each.name for each in PARTS if not each.separate], [each.name for each in PARTS]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", default=usual, choices=names, help="what to measure")
    parser.add_argument("--documents", type=int, default=50_000, help="messages for the single steps")
    parser.add_argument("--batch", type=int, default=5000, help="documents per batch, for the single steps")
    parser.add_argument("--whole", type=int, default=500_000, help="messages for complete runs")
    parser.add_argument("--commands", type=int, default=200_000, help="messages for all commands of a migration")
    parser.add_argument("--orders", type=int, default=200_000, help="orders with items that become rows")
    parser.add_argument("--live", type=int, default=100_000, help="messages for runs from a live server")
    parser.add_argument("--followed", type=int, default=100_000, help="messages for changes that are followed")
    parser.add_argument("--seconds", type=float, default=30, help="of writes, for the lag of following")
    parser.add_argument("--scale", type=int, default=10_000_000, help="messages for the one large run")
    parser.add_argument("--folder", type=Path, help="of the large run, where its dump stays")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of tables")
    parser.add_argument("--out", type=Path, help="also write the JSON document to a file: see bench.results")
    options = parser.parse_args()
    if "scale" in options.parts and options.folder is None:
        parser.error("scale needs --folder")
    return options


def as_json(found: Iterable[Measured]) -> dict[str, object]:
    """Return the measurements of all parts as a JSON object, with the ratios that `bench.results` compares."""
    answer: dict[str, object] = {}
    ratios: dict[str, float] = {}
    for each in found:
        answer |= each.values
        answer |= {name: {"seconds": series.seconds, "peak_bytes": series.peak} for name, series in each.series.items()}
        ratios |= ratios_of(each.series)
    return answer | {"ratios": ratios}


if __name__ == "__main__":
    main()
