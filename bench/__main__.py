"""`python -m bench`: what moving messages costs: step by step, as a whole run, and from a live server.

Where the README's figures come from. Ratios are of the same repetition, things that are compared run in turns: other
work on the machine meets all alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import Figures, measure
from bench.peers import MIGRATE, compare_live
from bench.processes import Series
from bench.residues import Weights
from bench.scaling import ONE, TWO, compare_processes
from bench.stage import set_scene
from bench.whole import RESTORE, compare_restore, run_name

STEPS = {
    "decode_all, all at once": "bson.decode_all of all documents",
    "decode_all, collector on": "the same by batches",
    "decode_all": "the same without the garbage collector",
    "decode_all, our options": "the same with our options",
    "cut": "cutting fields out of raw BSON",
    "compiled": "map + ledger + encode (the compiled function)",
    "interpreted": "map by interpreting the rules, nothing encoded",
    "lookups": "lookups in PostgreSQL, one query a batch and table",
    "the whole translator": "cut + lookups + map + ledger + encode",
    "COPY": "COPY of rows and ledger",
}
BASES = ("decode_all, all at once", "decode_all, collector on", "decode_all")


PARTS = ("steps", "whole", "live")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", default=PARTS, choices=PARTS, help="what to measure; default: all")
    parser.add_argument("--documents", type=int, default=50_000, help="messages for the steps")
    parser.add_argument("--batch", type=int, default=5000, help="documents a batch, for the steps")
    parser.add_argument("--whole", type=int, default=500_000, help="messages for whole runs")
    parser.add_argument("--live", type=int, default=100_000, help="messages for runs from a live server")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    arguments = parser.parse_args()
    figures = scaling = whole = live = None
    if "steps" in arguments.parts:
        with set_scene(arguments.documents, arguments.batch) as scene:
            figures = measure(scene, max(7, arguments.repetitions))
            scaling = compare_processes(scene, max(5, arguments.repetitions))
    if "whole" in arguments.parts:
        with scratch_folder() as folder:
            whole = compare_restore(folder, arguments.whole, arguments.repetitions, [2, 1])
    if "live" in arguments.parts:
        with scratch_folder() as folder:
            live = compare_live(folder, arguments.live, arguments.repetitions, workers=2)
    if arguments.json:
        print(json.dumps(all_as_json(figures, scaling=scaling, whole=whole, live=live), indent=1))
        return
    parts = [as_table(figures)] if figures else []
    parts += ["\n".join(scaling_lines(scaling, arguments.documents))] if scaling else []
    parts += ["\n".join(whole_lines(whole, arguments.whole))] if whole else []
    parts += ["\n".join(live_lines(live, arguments.live))] if live else []
    print("\n\n".join(parts))


@contextmanager
def scratch_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="migrate-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def all_as_json(figures: Figures | None, **timed: Series | None) -> dict[str, object]:
    found: dict[str, object] = {} if figures is None else as_json(figures)
    for name, series in timed.items():
        if series is not None:
            found[name] = {"seconds": series.seconds, "peak_bytes": series.peak}
    return found


def scaling_lines(series: Series, documents: int) -> list[str]:
    """The part that is ours, by one process and by two."""
    return [
        *series.lines(documents),
        f"{'one process ÷ two processes':52}{series.ratio(ONE, TWO):9.2f}",
    ]


def whole_lines(series: Series, documents: int) -> list[str]:
    """A whole run from a dump, and its ratios."""
    two, one = run_name(2), run_name(1)
    return [
        f"{documents:,} messages from a dump, all indexes and keys, ledger included",
        "",
        *series.lines(documents),
        "",
        f"{'two workers ÷ pg_restore -j2':52}{series.ratio(two, RESTORE):9.2f}",
        f"{'one worker ÷ two workers':52}{series.ratio(one, two):9.2f}",
    ]


def live_lines(series: Series, documents: int) -> list[str]:
    """From a live server, and how many times the rows a second of each peer."""
    peers = [name for name in series.seconds if name != MIGRATE]
    return [
        f"{documents:,} messages from a live server; the peers make one flat table without keys and indexes",
        "",
        *series.lines(documents),
        "",
        *(f"{f'rows a second ÷ {peer}':52}{series.ratio(peer, MIGRATE):9.2f}" for peer in peers),
    ]


def as_json(figures: Figures) -> dict[str, object]:
    return {
        "documents": figures.documents,
        "bytes": round(figures.size, 1),
        "microseconds": {
            step: {"cpu": round(figures.median(step), 2), "wall": round(statistics.median(figures.wall[step]), 2)}
            for step in STEPS
        },
        "ratios": {step: round(figures.ratio("compiled", step), 3) for step in BASES},
        "residues": {
            name: {
                "empty": round(weights.empty, 4),
                "smallest": round(weights.smallest, 4),
                "bytes": {field: round(size, 1) for field, size in weights.bytes.items()},
            }
            for name, weights in figures.weights.items()
        },
    }


def as_table(figures: Figures) -> str:
    lines = [f"{figures.documents:,} messages of {figures.size:,.0f} bytes; µs a document, medians", ""]
    lines.append(f"{'':52}{'CPU':>9}{'wall':>9}")
    for step, name in STEPS.items():
        # The server's work is not in our CPU time.
        lines.append(f"{name:52}{figures.median(step):9.2f}{statistics.median(figures.wall[step]):9.2f}")
    lines += [
        "",
        "map + ledger + encode ÷ bson.decode_all:",
        *(f"  {STEPS[step]:50}{figures.ratio('compiled', step):9.2f}" for step in BASES),
        *(line for name, weights in figures.weights.items() for line in residue_lines(name, weights)),
    ]
    return "\n".join(lines)


def residue_lines(name: str, weights: Weights) -> list[str]:
    return [
        "",
        f"{name + ' without residue':52}{weights.empty:9.1%}",
        f"{'  or with the smallest that does':52}{weights.smallest:9.1%}",
        "  bytes a document: " + ", ".join(f"{field} {size:.1f}" for field, size in weights.bytes.items()),
    ]


if __name__ == "__main__":
    main()
