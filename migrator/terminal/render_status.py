"""Where a run stands, in words and tables: once, or again and again (`status --watch`). Read elsewhere (status.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from migrator.formatting import format_duration
from migrator.terminal.console import Block, Grid

WIDE = 12  # characters of a bar
Status = Mapping[str, Any]


def blocks_of(found: Status) -> list[Block]:
    """The verdict first: it is the line that stays when there is no terminal."""
    if found["run"] is None:
        return ["There is no migration in this target yet."]
    return [headline(found), *details(found)]


def headline(found: Status) -> str:
    """One line: run, status, what it is at, how fast, how long yet, what it waits for."""
    parts = [f"Run {found['run']}: {found['status']}"]
    parts += [step_line(each) for each in found["current"]]
    if found["status"] == "running" and found["documents_per_second"]:
        parts.append(f"{found['documents_per_second']:,} documents a second in the last minute")
    if found["seconds_left"] is not None:
        parts.append(f"all is read in {format_duration(found['seconds_left'])}")
    if found["status"] in ("interrupted", "stopped"):
        parts.append("`migrate run` goes on")
    return "; ".join([*parts, *found["waiting"]]) + "."


def step_line(each: Status) -> str:
    of = "" if each["total"] is None else f" of {each['total']:,}"
    left = "" if each["seconds_left"] is None else f", {format_duration(each['seconds_left'])} left"
    return f"{each['step']} {each['done']:,}{of} {each['unit']}{left}"


def details(found: Status) -> Iterator[Block]:
    rows = [collection_row(each) for each in found["collections"]]
    yield Grid(("collection", "", "documents", "read", "parts", "a second", ""), rows)
    for each in found["indexes"]:
        share = "" if each["share"] is None else f" {each['share']:.0%}"
        seconds = format_duration(each["seconds"])
        yield f"Building {each['index']} on {each['table']}: {each['phase']}{share}, for {seconds}"
    for sentence in found["waiting"]:
        yield f"Waiting: {sentence}"
    if found["slowest"] is not None:
        yield f"Slowest step: {found['slowest']['step']}, {format_duration(found['slowest']['seconds'])}"
    if found["holder"] is not None:
        yield f"At work: {found['holder']}"


def collection_row(each: Status) -> tuple[object, ...]:
    total = each["bytes_total"]
    share = 1.0 if each["complete"] else min(1.0, each["bytes"] / total) if total else None
    state = "complete" if each["complete"] else "reading" if each["batches"] else "waiting"
    parts = f"{each['parts_done']}/{each['parts']}" if each["parts"] else ""
    rate = each["documents_per_second"] or None
    size = f"{each['bytes'] / 1e6:,.1f} MB"
    total = "" if each["documents_total"] is None else f" of {each['documents_total']:,}"
    return each["name"], bar(share), f"{each['documents']:,}{total}", size, parts, rate, state


def bar(share: float | None) -> str:
    """A bar of blocks; empty where the share is not known."""
    if share is None:
        return ""
    full = int(share * WIDE)
    return "█" * full + "░" * (WIDE - full)
