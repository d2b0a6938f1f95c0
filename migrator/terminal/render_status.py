"""Formats the status of a run as sentences and tables, for `migrate status` with or without --watch.

Not here: reading the status (monitoring/status.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from migrator.formatting import format_count, format_duration, format_share, shorten
from migrator.terminal.console import Block, Grid
from migrator.terminal.progress import title_of

WIDE = 100  # columns of a terminal that has space for all columns of the table
Status = Mapping[str, Any]


def blocks_of(found: Status, width: int | None = None) -> list[Block]:
    """Returns the blocks to print, none wider than a terminal of `width` columns; None: no terminal.

    The first is the summary, which is the only one printed by --watch without a terminal.
    """
    if found["run"] is None:
        return ["The target contains no migration."]
    parts = list(headline(found))
    if width is None:
        parts += [*map(describe_step, found["current"]), *time_left(found), *found["waiting"]]
    return ["; ".join(parts) + ".", *details(found, width or WIDE)]


def headline(found: Status) -> Iterator[str]:
    """Yields the parts of the first line: run and status, documents, rate."""
    yield f"Run {found['run']}: {found['status']}"
    yield total_documents(found["collections"])
    if found["status"] == "running" and found["documents_per_second"]:
        yield f"{found['documents_per_second']:,} docs/s"
    if found["status"] in ("interrupted", "stopped"):
        yield "`migrate run` resumes it"


def describe_follow(follow: Mapping[str, Any]) -> str:
    """Returns one line about a source that is followed: changes, lags, and what the receiver waits for.

    After the switch: about the changes that return to the source.
    """
    if (back := follow.get("returning")) is not None:
        return (
            f"Changes of PostgreSQL to return to MongoDB: {format_count(back['waiting'], 'rows')} waiting, lag"
            f" {back['lag']:.1f} s; {back['conflicts']:,} conflicts; {format_count(back['unreturned'], 'values')} that"
            " no document can hold"
        )
    parts = [f"{follow['applied']:,} changes applied, {follow['dirty']:,} waiting"]
    parts += [f"{follow['marked']:,} collections to compare"] if follow["marked"] else []
    for name, title in (("receive_lag", "receive lag"), ("apply_lag", "apply lag")):
        if follow[name] is not None:
            parts.append(f"{title} {follow[name]:.1f} s")
    if follow["window_left"] is not None:
        parts.append(f"history of the source lasts {format_duration(follow['window_left'])}")
    if follow["receiver_waiting"]:
        parts.append(f"the receiver waits: {follow['receiver_waiting']}")
    return f"Changes of the source ({follow['state']}): {'; '.join(parts)}"


def describe_cutover(cutover: Mapping[str, Any]) -> str:
    """Returns one line about the latest cutover: what became of it, and its last step."""
    kind = "Rehearsal of a cutover" if cutover["dry_run"] else "Cutover"
    direction = "to PostgreSQL" if cutover["direction"] == "forward" else "back to MongoDB"
    last = cutover["steps"][-1]
    text = (
        f"{kind} {direction} at {cutover['began']}: {cutover['status']}, last step {last['step']!r} ({last['status']})"
    )
    if cutover["status"] == "unfinished":
        return f"{text}. If no process executes it any more, `migrate cutover --undo` undoes it."
    return f"{text}."


def time_left(found: Status) -> list[str]:
    """Returns the estimated time until the source is read; nothing if it is unknown."""
    left = found["seconds_left"]
    return [] if left is None else [f"estimated time remaining: {format_duration(left)}"]


def total_documents(collections: list[Status]) -> str:
    """Returns the documents read so far: '1,200 of 3,219 documents'; without the total if it is unknown."""
    done, total = sum(each["documents"] for each in collections), sum_known(collections, "documents_total")
    # Documents that a followed source got after the load are not part of its size before the run.
    if total is None or done > total:
        return format_count(done, "documents")
    return f"{done:,} of {format_count(total, 'documents')}"


def sum_known(collections: list[Status], key: str) -> int | None:
    """Returns the sum of a figure; None if it is unknown for a collection."""
    values = [each[key] for each in collections]
    return None if None in values else sum(values)


def details(found: Status, width: int) -> Iterator[Block]:
    """Yields what runs now, the waits, the collections in progress, the slowest step and the active process."""
    share = total_share(found["collections"])
    if found["status"] != "done" and share is not None:
        yield "; ".join([f"{bar(share, min(width, WIDE) // 4)} {share:.0%}", *time_left(found)])
    if found.get("follow") is not None:
        yield describe_follow(found["follow"])
    if found.get("cutover") is not None:
        yield describe_cutover(found["cutover"])
    building = {each["index"] for each in found["indexes"]}
    for each in found["current"]:
        if each["step"].removeprefix("build ") not in building:
            yield f"Now: {describe_step(each)}"
    for each in found["indexes"]:
        yield f"Now: {describe_build(each)}"
    for sentence in found["waiting"]:
        yield f"Waiting: {sentence}"
    rows = [collection_row(each, width) for each in found["collections"] if is_shown(each)]
    if rows:
        yield Grid(COLUMNS if width >= WIDE else NARROW_COLUMNS, rows)
    if folded := fold(found["collections"]):
        yield f"Collections: {folded}"
    if found["slowest"] is not None:
        yield f"Slowest step: {title_of(found['slowest']['step'])}, {format_duration(found['slowest']['seconds'])}"
    if found["holder"] is not None:
        yield f"Active process: {found['holder']}"


def describe_step(each: Status) -> str:
    """Returns step, progress and remaining time: 'Loading users 1,200 of 3,219 documents, 8 s left'."""
    if not each["unit"]:  # nothing to count, for example an index build that waits
        return f"{title_of(each['step'])}, running for {format_duration(each['seconds'])}"
    of = "" if each["total"] is None else f" of {each['total']:,}"
    left = "" if each["seconds_left"] is None else f", {format_duration(each['seconds_left'])} left"
    return f"{title_of(each['step'])} {each['done']:,}{of} {each['unit']}{left}"


def describe_build(each: Status) -> str:
    """Returns an index build as PostgreSQL reports it: index, table, phase, its share, duration."""
    share = "" if each["share"] is None else f" {each['share']:.0%}"
    phase = each["phase"].removeprefix("building index: ")
    return f"Building {each['index']} on {each['table']}: {phase}{share}, {format_duration(each['seconds'])}"


def total_share(collections: list[Status]) -> float | None:
    """Returns the share of the source that is read, from 0 to 1, by bytes or by documents; None if it is unknown."""
    for done, total in (("bytes", "bytes_total"), ("documents", "documents_total")):
        size = sum_known(collections, total)
        if size:
            read: int = sum(each[total] if each["complete"] else min(each[done], each[total]) for each in collections)
            return min(1.0, read / size)
    return None


def is_shown(each: Status) -> bool:
    """Whether a collection has a row of its own: it is being read."""
    return bool(each["batches"]) and not each["complete"]


def fold(collections: list[Status]) -> str:
    """Returns how many collections are complete, wait, or are empty: '12 complete, 3 waiting, 20 empty'."""
    kinds = {"complete": 0, "waiting": 0, "empty": 0}
    for each in collections:
        if not is_shown(each):
            empty = each["documents_total"] == 0 or (each["complete"] and not each["documents"])
            kinds["empty" if empty else "complete" if each["complete"] else "waiting"] += 1
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)


COLUMNS = ("collection", "", "read", "documents", "partitions", "docs/s", "time left")
NARROW_COLUMNS = ("collection", "", "read", "documents", "docs/s")
BAR_WIDTH, NAME_WIDTH = 20, {True: 30, False: 22}  # characters


def collection_row(each: Status, width: int) -> tuple[object, ...]:
    """Returns the row of one collection: name, bar, share, documents, partitions, rate, remaining time."""
    is_wide = width >= WIDE
    share = total_share([each])
    name, progress = shorten(each["name"], NAME_WIDTH[is_wide]), bar(share, BAR_WIDTH if is_wide else BAR_WIDTH // 2)
    read = "" if share is None else format_share(round(share * 1000), 1000)
    documents = total_documents([each]).removesuffix(" documents")
    rate = each["documents_per_second"] or None
    if not is_wide:
        return name, progress, read, documents, rate
    parts = f"{each['parts_done']}/{each['parts']}" if each["parts"] else ""
    left = each.get("seconds_left")
    return name, progress, read, documents, parts, rate, "" if left is None else format_duration(left)


def bar(share: float | None, width: int) -> str:
    """Returns a progress bar of `width` characters; empty if the share is unknown."""
    if share is None:
        return ""
    full = int(share * width)
    return "█" * full + "░" * (width - full)
