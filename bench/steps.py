"""The figures of single steps of the loader, as a table and as JSON."""

from __future__ import annotations

import statistics

from bench.measure import Measurements
from bench.residue_sizes import ResidueSizes

STEPS = {
    "decode_all, one call": "bson.decode_all of all documents",
    "decode_all, with gc": "the same per batch",
    "decode_all": "the same without garbage collection",
    "decode_all, our options": "the same with the codec options of migrate",
    "projection": "projection of fields from raw BSON",
    "compiled": "mapping + ledger + encoding (compiled function)",
    "interpreted": "mapping by the interpreter, without encoding",
    "lookups": "lookups in PostgreSQL, one query per batch and table",
    "translator": "projection + lookups + mapping + ledger + encoding",
    "COPY": "COPY of rows and ledger",
}
BASES = ("decode_all, one call", "decode_all, with gc", "decode_all")


def as_json(figures: Measurements) -> dict[str, object]:
    """Return the measurements of the single steps as a JSON object."""
    return {
        "documents": figures.documents,
        "bytes": round(figures.size, 1),
        "microseconds": {
            step: {"cpu": round(figures.median(step), 2), "wall": round(statistics.median(figures.wall[step]), 2)}
            for step in STEPS
        },
        "step_ratios": {step: round(figures.ratio("compiled", step), 3) for step in BASES},
        "residues": {
            name: {
                "empty": round(weights.empty, 4),
                "smallest": round(weights.smallest, 4),
                "bytes": {field: round(size, 1) for field, size in weights.bytes.items()},
            }
            for name, weights in figures.residues.items()
        },
    }


def as_table(figures: Measurements) -> str:
    """Return the measurements of the single steps as a table."""
    lines = [f"{figures.documents:,} messages of {figures.size:,.0f} bytes; µs per document, medians", ""]
    lines.append(f"{'':52}{'CPU':>9}{'wall':>9}")
    for step, name in STEPS.items():
        # CPU time is that of this process, without the server.
        lines.append(f"{name:52}{figures.median(step):9.2f}{statistics.median(figures.wall[step]):9.2f}")
    lines += [
        "",
        "mapping + ledger + encoding ÷ bson.decode_all:",
        *(f"  {STEPS[step]:50}{figures.ratio('compiled', step):9.2f}" for step in BASES),
        *(line for name, weights in figures.residues.items() for line in residue_lines(name, weights)),
    ]
    return "\n".join(lines)


def residue_lines(name: str, weights: ResidueSizes) -> list[str]:
    """Return the lines on the residues of one collection."""
    return [
        "",
        f"{name + ' without residue':52}{weights.empty:9.1%}",
        f"{'  or with a minimal residue':52}{weights.smallest:9.1%}",
        "  bytes per document: " + ", ".join(f"{field} {size:.1f}" for field, size in weights.bytes.items()),
    ]
