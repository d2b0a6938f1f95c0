"""Formats the status of a run as sentences and tables, for `migrate status` with or without --watch.

Not here: reading the status (monitoring/status.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from migrator.formatting import format_duration
from migrator.terminal.console import Block, Grid
from migrator.terminal.progress import title_of

BAR_WIDTH = 12  # characters
Status = Mapping[str, Any]


def blocks_of(found: Status) -> list[Block]:
    """Returns the blocks to print. The first is the summary, which is the only one printed without a terminal."""
    if found["run"] is None:
        return ["The target contains no migration."]
    return [headline(found), *details(found)]


def headline(found: Status) -> str:
    """Returns one line: run, status, current steps, rate, remaining time, waits."""
    parts = [f"Run {found['run']}: {found['status']}"]
    parts += [describe_step(each) for each in found["current"]]
    if found["status"] == "running" and found["documents_per_second"]:
        parts.append(f"{found['documents_per_second']:,} docs/s in the last minute")
    if found["seconds_left"] is not None:
        parts.append(f"estimated time remaining: {format_duration(found['seconds_left'])}")
    if found["status"] in ("interrupted", "stopped"):
        parts.append("`migrate run` resumes it")
    return "; ".join([*parts, *found["waiting"]]) + "."


def describe_step(each: Status) -> str:
    """Returns step, progress and remaining time: 'Loading users 1,200 of 3,219 documents, 8 s left'."""
    of = "" if each["total"] is None else f" of {each['total']:,}"
    left = "" if each["seconds_left"] is None else f", {format_duration(each['seconds_left'])} left"
    return f"{title_of(each['step'])} {each['done']:,}{of} {each['unit']}{left}"


def details(found: Status) -> Iterator[Block]:
    """Yields the collections, index builds, waits, the slowest step and the active process."""
    rows = [collection_row(each) for each in found["collections"]]
    yield Grid(("collection", "", "documents", "read", "partitions", "docs/s", "state"), rows)
    for each in found["indexes"]:
        share = "" if each["share"] is None else f" {each['share']:.0%}"
        seconds = format_duration(each["seconds"])
        yield f"Building {each['index']} on {each['table']}: {each['phase']}{share}, running for {seconds}"
    for sentence in found["waiting"]:
        yield f"Waiting: {sentence}"
    if found["slowest"] is not None:
        yield f"Slowest step: {title_of(found['slowest']['step'])}, {format_duration(found['slowest']['seconds'])}"
    if found["holder"] is not None:
        yield f"Active process: {found['holder']}"


def collection_row(each: Status) -> tuple[object, ...]:
    """Returns the row of one collection: name, bar, documents, bytes, partitions, rate, state."""
    total = each["bytes_total"]
    share = 1.0 if each["complete"] else min(1.0, each["bytes"] / total) if total else None
    state = "complete" if each["complete"] else "reading" if each["batches"] else "waiting"
    parts = f"{each['parts_done']}/{each['parts']}" if each["parts"] else ""
    rate = each["documents_per_second"] or None
    size = f"{each['bytes'] / 1e6:,.1f} MB"
    total = "" if each["documents_total"] is None else f" of {each['documents_total']:,}"
    return each["name"], bar(share), f"{each['documents']:,}{total}", size, parts, rate, state


def bar(share: float | None) -> str:
    """Returns a progress bar; empty if the share is unknown."""
    if share is None:
        return ""
    full = int(share * BAR_WIDTH)
    return "█" * full + "░" * (BAR_WIDTH - full)
