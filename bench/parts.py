"""The parts of the bench: each measures one thing, and gives its lines, its series of times and further values."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bench.commands import command_lines, compare_commands
from bench.database import open_database
from bench.elements import compare_elements, element_lines
from bench.follow.applying import applying_lines, measure_applying
from bench.follow.live import live_follow_lines, measure_live
from bench.follow.returning import measure_returning, returning_lines
from bench.full_run import compare_with_restore, whole_lines
from bench.machines import compare_machines, machine_lines
from bench.measure import measure
from bench.peers import compare_with_peers, live_lines
from bench.processes import Series, temporary_folder
from bench.scale import measure_scale, scale_lines
from bench.scaling import compare_processes, scaling_lines
from bench.steps import as_json, as_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a part has measured. `series`: times by their names in the JSON document; `values`: all other figures."""

    lines: list[str]
    series: dict[str, Series] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the bench. `separate`: it is measured only if it is named: hours, gigabytes, or the rights of root."""

    name: str
    measure: Callable[[Namespace], Measured]
    separate: bool = False


def measure_steps(options: Namespace) -> Measured:
    """Measure the steps of the loader, and translation with one process and with two."""
    with open_database(options.documents, options.batch) as data:
        figures = measure(data, max(7, options.repetitions))
        scaling = compare_processes(data, max(5, options.repetitions))
    lines = [*as_table(figures).splitlines(), "", *scaling_lines(scaling, options.documents)]
    return Measured(lines=lines, series={"scaling": scaling}, values=as_json(figures))


def measure_whole(options: Namespace) -> Measured:
    """Measure complete runs from a dump, and pg_restore."""
    with temporary_folder() as folder:
        series = compare_with_restore(folder, options.whole, options.repetitions, [2, 1])
    return Measured(lines=whole_lines(series, options.whole), series={"whole": series})


def measure_commands(options: Namespace) -> Measured:
    """Measure all commands of a migration."""
    with temporary_folder() as folder:
        elapsed, cpu = compare_commands(folder, options.commands, max(5, options.repetitions), workers=2)
    lines = command_lines(elapsed, cpu, options.commands)
    return Measured(lines=lines, series={"commands": elapsed, "commands_cpu": cpu})


def measure_elements(options: Namespace) -> Measured:
    """Measure a run with rows of elements, and pg_restore."""
    with temporary_folder() as folder:
        elapsed, cpu = compare_elements(folder, options.orders, options.repetitions)
    lines = element_lines(elapsed, cpu, options.orders)
    return Measured(lines=lines, series={"elements": elapsed, "elements_cpu": cpu})


def measure_peers(options: Namespace) -> Measured:
    """Measure runs from a live server, and other tools."""
    with temporary_folder() as folder:
        series, replay = compare_with_peers(folder, options.live, options.repetitions, workers=2)
    lines = live_lines(series, replay, options.live)
    return Measured(lines=lines, series={"live": series}, values={"live_replay_cpu": replay.seconds})


def measure_following(options: Namespace) -> Measured:
    """Measure how changes are applied, how soon they are visible, and how they return."""
    with temporary_folder() as folder:
        applied = measure_applying(folder, options.followed)
    with temporary_folder() as folder:
        followed = measure_live(folder, options.followed // 5, options.seconds)
    with temporary_folder() as folder:
        returned = measure_returning(folder, options.followed // 5)
    return Measured(
        lines=[*applying_lines(applied), "", *live_follow_lines(followed), "", *returning_lines(returned)],
        values={
            "follow": {name: rate.as_json() for name, rate in applied.items()} | {"live": followed.as_json()},
            "return": {name: rate.as_json() for name, rate in returned.items()},
        },
    )


def measure_large(options: Namespace) -> Measured:
    """Measure the one large run."""
    return Measured(lines=scale_lines(measure_scale(options.folder, options.scale)))


def measure_machines(options: Namespace) -> Measured:
    """Measure a cluster of two workers, and of one."""
    with temporary_folder() as folder:
        series = compare_machines(folder, options.whole, options.repetitions)
    return Measured(lines=machine_lines(series, options.whole))


PARTS: Final = (
    Part(name="steps", measure=measure_steps),
    Part(name="whole", measure=measure_whole),
    Part(name="commands", measure=measure_commands),
    Part(name="elements", measure=measure_elements),
    Part(name="live", measure=measure_peers),
    Part(name="follow", measure=measure_following),
    Part(name="scale", measure=measure_large, separate=True),
    Part(name="machines", measure=measure_machines, separate=True),
)
