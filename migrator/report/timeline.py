"""Computes the timeline of a run from times in the journal: lanes by stage and session, throughput, pauses. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from migrator.report.content import Throughput, Timeline, TimelineLane, TimelineSpan

MIN_PAUSE = 600.0  # seconds without a record; shorter gaps are work that is not recorded
BINS = 160  # of the throughput, over the working time
MAX_GAP = 1 / 800  # of the working time; shorter gaps between spans are invisible


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One entry of the journal: seconds since the start of the run, stage, session, and what was read."""

    began: float
    ended: float
    lane: str
    kind: str
    worker: int | None = None
    documents: int = 0
    bytes: int = 0


def build_timeline(activities: Iterable[Activity]) -> Timeline:
    """Build the timeline; all times are seconds since the start of the run."""
    done = sorted(map(_correct_clock, activities), key=lambda each: each.began)
    pauses = list(find_pauses(done))
    worked = max((each.ended for each in done), default=0.0) - sum(lasted for _, lasted in pauses)
    return Timeline(
        seconds=max(worked, 0.0),
        lanes=group_by_stage(done),
        sessions=[merge_spans(lane, worked * MAX_GAP) for lane in assign_sessions(done)],
        throughput=measure_throughput(done, pauses, worked),
        pauses=pauses,
    )


def _correct_clock(activity: Activity) -> Activity:
    """Return the activity with valid times. The server's clock may have been set back."""
    began = max(activity.began, 0.0)
    return replace(activity, began=began, ended=max(activity.ended, began))


def find_pauses(done: list[Activity]) -> Iterator[tuple[float, float]]:
    """Yield (start, duration) of pauses, such as those between an interruption and the next run."""
    latest = 0.0
    for each in done:
        if each.began - latest > MIN_PAUSE:
            yield latest, each.began - latest
        latest = max(latest, each.ended)


def group_by_stage(done: list[Activity]) -> list[TimelineLane]:
    """Return one lane per stage, in the order of their start."""
    lanes: dict[str, TimelineLane] = {}
    for each in done:
        new = TimelineLane(name=each.lane, kind=each.kind, began=each.began, ended=each.ended, documents=0)
        lane = lanes.setdefault(each.lane, new)
        lane["ended"] = max(lane["ended"], each.ended)
        lane["documents"] += each.documents
    return list(lanes.values())


def assign_sessions(done: list[Activity]) -> list[list[Activity]]:
    """Return one lane per session. A session that starts after another has ended reuses its lane."""
    last_ended: dict[int, float] = {}
    for each in done:
        if each.worker is not None:
            last_ended[each.worker] = max(last_ended.get(each.worker, 0.0), each.ended)
    lanes: list[list[Activity]] = []
    owners: list[int] = []
    lane_of: dict[int, int] = {}
    for each in done:
        if each.worker is None:
            continue
        if each.worker not in lane_of:
            free = next((at for at, owner in enumerate(owners) if last_ended[owner] <= each.began), None)
            if free is None:
                free = len(lanes)
                lanes.append([])
                owners.append(each.worker)
            owners[free] = each.worker
            lane_of[each.worker] = free
        lanes[lane_of[each.worker]].append(each)
    return lanes


def merge_spans(lane: list[Activity], gap: float) -> list[TimelineSpan]:
    """Merge activities of the same stage whose distance is at most `gap`. Thousands of batches become a few spans."""
    spans: list[TimelineSpan] = []
    for each in lane:
        before = spans[-1] if spans else None
        if before is not None and before["name"] == each.lane and each.began - before["ended"] <= gap:
            before["ended"] = max(before["ended"], each.ended)
            before["documents"] += each.documents
        else:
            span = TimelineSpan(
                name=each.lane, kind=each.kind, began=each.began, ended=each.ended, documents=each.documents
            )
            spans.append(span)
    return spans


def measure_throughput(done: list[Activity], pauses: list[tuple[float, float]], worked: float) -> Throughput:
    """Return documents and bytes per bin of working time. A batch is spread evenly over its duration."""
    read = [each for each in done if each.documents]
    if not read or worked <= 0:
        return Throughput(bin=0.0, documents=[], bytes=[])
    width = worked / BINS
    documents, sizes = [0.0] * BINS, [0.0] * BINS
    for each in read:
        began, ended = subtract_pauses(each.began, pauses), subtract_pauses(each.ended, pauses)
        first, last = (min(int(moment / width), BINS - 1) for moment in (began, ended))
        for at in range(first, last + 1):
            overlap = min(ended, (at + 1) * width) - max(began, at * width)
            share = overlap / (ended - began) if ended > began else 1 / (last - first + 1)
            documents[at] += each.documents * share
            sizes[at] += each.bytes * share
    return Throughput(
        bin=width, documents=[round(each, 3) for each in documents], bytes=[round(each) for each in sizes]
    )


def subtract_pauses(moment: float, pauses: Iterable[tuple[float, float]]) -> float:
    """Return the working time until a moment, in seconds."""
    return moment - sum(min(lasted, moment - at) for at, lasted in pauses if moment > at)
