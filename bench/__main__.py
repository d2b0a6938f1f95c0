"""`python -m bench` measures the migration of messages: single steps, complete runs, and runs from a live server.

The figures of the README come from here. Candidates run alternately, and ratios are computed per repetition, so that
other load on the machine affects all of them equally.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.commands import command_lines, compare_commands
from bench.database import open_database
from bench.elements import compare_elements, element_lines
from bench.follow.applying import applying_lines, measure_applying
from bench.follow.live import live_follow_lines, measure_live
from bench.follow.returning import measure_returning, returning_lines
from bench.full_run import RESTORE, compare_with_restore, run_name
from bench.machines import compare_machines, machine_lines
from bench.measure import Measurements, measure
from bench.peers import LOAD, MIGRATE, compare_with_peers
from bench.processes import Series
from bench.residue_sizes import ResidueSizes
from bench.results import ratios_of
from bench.scale import measure_scale, scale_lines
from bench.scaling import ONE, TWO, compare_processes

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


PARTS = ("steps", "whole", "commands", "elements", "live", "follow")
SEPARATE = ("scale", "machines")  # hours and gigabytes; the rights of root


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", default=PARTS, choices=[*PARTS, *SEPARATE], help="what to measure")
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
    arguments = parser.parse_args()
    if "scale" in arguments.parts:
        if arguments.folder is None:
            parser.error("scale needs --folder")
        print("\n".join(scale_lines(measure_scale(arguments.folder, arguments.scale))))
    if "machines" in arguments.parts:
        with temporary_folder() as folder:
            machines = compare_machines(folder, arguments.whole, arguments.repetitions)
        print("\n".join(machine_lines(machines, arguments.whole)))
    figures = scaling = whole = live = None
    if "steps" in arguments.parts:
        with open_database(arguments.documents, arguments.batch) as data:
            figures = measure(data, max(7, arguments.repetitions))
            scaling = compare_processes(data, max(5, arguments.repetitions))
    if "whole" in arguments.parts:
        with temporary_folder() as folder:
            whole = compare_with_restore(folder, arguments.whole, arguments.repetitions, [2, 1])
    if "live" in arguments.parts:
        with temporary_folder() as folder:
            live = compare_with_peers(folder, arguments.live, arguments.repetitions, workers=2)
    commands = None
    if "commands" in arguments.parts:
        with temporary_folder() as folder:
            commands = compare_commands(folder, arguments.commands, max(5, arguments.repetitions), workers=2)
    elements = None
    if "elements" in arguments.parts:
        with temporary_folder() as folder:
            elements = compare_elements(folder, arguments.orders, arguments.repetitions)
    applied = followed = returned = None
    if "follow" in arguments.parts:
        with temporary_folder() as folder:
            applied = measure_applying(folder, arguments.followed)
        with temporary_folder() as folder:
            followed = measure_live(folder, arguments.followed // 5, arguments.seconds)
        with temporary_folder() as folder:
            returned = measure_returning(folder, arguments.followed // 5)
    if arguments.json or arguments.out:
        seconds, cpu = elements or (None, None)
        series = {"scaling": scaling, "whole": whole, "live": live, "elements": seconds, "elements_cpu": cpu}
        series |= {"commands": commands and commands[0], "commands_cpu": commands and commands[1]}
        found = all_as_json(figures, **series) | {"ratios": ratios_of(series)}
        if applied and followed and returned:
            found["follow"] = {name: rate.as_json() for name, rate in applied.items()} | {"live": followed.as_json()}
            found["return"] = {name: rate.as_json() for name, rate in returned.items()}
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")
        if arguments.json:
            print(json.dumps(found, indent=1))
            return
    parts = [as_table(figures)] if figures else []
    parts += ["\n".join(scaling_lines(scaling, arguments.documents))] if scaling else []
    parts += ["\n".join(whole_lines(whole, arguments.whole))] if whole else []
    parts += ["\n".join(command_lines(*commands, arguments.commands))] if commands else []
    parts += ["\n".join(element_lines(*elements, arguments.orders))] if elements else []
    parts += ["\n".join(live_lines(live, arguments.live))] if live else []
    parts += ["\n".join(applying_lines(applied))] if applied else []
    parts += ["\n".join(live_follow_lines(followed))] if followed else []
    parts += ["\n".join(returning_lines(returned))] if returned else []
    print("\n\n".join(parts))


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that PostgreSQL may enter; it is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="migrate-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def all_as_json(figures: Measurements | None, **timed: Series | None) -> dict[str, object]:
    """Return all measurements as a JSON object."""
    found: dict[str, object] = {} if figures is None else as_json(figures)
    for name, series in timed.items():
        if series is not None:
            found[name] = {"seconds": series.seconds, "peak_bytes": series.peak}
    return found


def scaling_lines(series: Series, documents: int) -> list[str]:
    """Return the lines on translation with one process and with two."""
    return [
        *series.lines(documents),
        f"{'one process ÷ two processes':52}{series.ratio(ONE, TWO):9.2f}",
    ]


def whole_lines(series: Series, documents: int) -> list[str]:
    """Return the lines on complete runs from a dump, with their ratios."""
    two, one = run_name(2), run_name(1)
    return [
        f"{documents:,} messages from a dump, with all indexes, keys and the ledger",
        "",
        *series.lines(documents),
        "",
        f"{'two workers ÷ pg_restore -j2':52}{series.ratio(two, RESTORE):9.2f}",
        f"{'one worker ÷ two workers':52}{series.ratio(one, two):9.2f}",
    ]


def live_lines(series: Series, documents: int) -> list[str]:
    """Return the lines on runs from a live server, with the ratio to each other tool."""
    peers = [name for name in series.seconds if name not in (MIGRATE, LOAD)]
    return [
        f"{documents:,} messages from a live server; the other tools write one flat table without keys and indexes",
        "",
        *series.lines(documents),
        "",
        *(f"{f'rows/s of the load ÷ {peer}':52}{series.ratio(peer, LOAD):9.2f}" for peer in peers),
        *(f"{f'complete run ÷ {peer}':52}{series.ratio(MIGRATE, peer):9.2f}" for peer in peers),
    ]


def as_json(figures: Measurements) -> dict[str, object]:
    """Return the measurements of the single steps as a JSON object."""
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


if __name__ == "__main__":
    main()
