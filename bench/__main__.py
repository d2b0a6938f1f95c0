"""`python -m bench`: what moving messages costs, step by step. Where the README's figures come from.

The bar: mapping, ledger and encoding together (the compiled function) cost no more CPU than `bson.decode_all`.
"""

from __future__ import annotations

import argparse
import json
import statistics

from bench.measure import Figures, measure
from bench.residues import Weights
from bench.stage import set_scene

STEPS = {
    "decode_all, all at once": "bson.decode_all of all documents",
    "decode_all, collector on": "the same by batches",
    "decode_all": "the same without the garbage collector",
    "decode_all, our options": "the same with our options",
    "compiled": "map + ledger + encode (the compiled function)",
    "interpreted": "map by interpreting the rules, nothing encoded",
    "lookups": "lookups in PostgreSQL, one query a batch and table",
    "the whole translator": "decode + check + lookups + map + ledger + encode",
    "COPY": "COPY of rows and ledger",
}
BASES = ("decode_all, all at once", "decode_all, collector on", "decode_all")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=50_000, help="messages to make")
    parser.add_argument("--batch", type=int, default=5000, help="documents a batch")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    arguments = parser.parse_args()
    with set_scene(arguments.documents, arguments.batch) as scene:
        figures = measure(scene, arguments.repetitions)
    print(json.dumps(as_json(figures), indent=1) if arguments.json else as_table(figures))


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
