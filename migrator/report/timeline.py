"""When what was done: lanes by stage and by worker, the pace, and pauses, from moments in the journal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from migrator.report.content import History, Throughput, TimelineLane, TimelineSpan

PAUSE = 600.0  # seconds in which nothing is recorded; less is work that leaves no record of its own
BINS = 160  # of the pace, over the time worked
FINE = 1 / 800  # of the time worked: gaps between pieces of one kind that nobody could see


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One entry of the journal: seconds since the run began, whose lane, which session, what it read."""

    began: float
    ended: float
    lane: str
    kind: str
    worker: int | None = None
    documents: int = 0
    bytes: int = 0


def lay_out(activities: Iterable[Activity]) -> History:
    """Everything on one clock."""
    done = sorted(map(_straight, activities), key=lambda each: each.began)
    pauses = list(find_pauses(done))
    worked = max((each.ended for each in done), default=0.0) - sum(lasted for _, lasted in pauses)
    return History(
        seconds=max(worked, 0.0),
        lanes=gather_lanes(done),
        workers=[join_pieces(lane, worked * FINE) for lane in share_lanes(done)],
        pace=measure_pace(done, pauses, worked),
        pauses=pauses,
    )


def _straight(activity: Activity) -> Activity:
    """A server's clock may be set back."""
    began = max(activity.began, 0.0)
    return replace(activity, began=began, ended=max(activity.ended, began))


def find_pauses(done: list[Activity]) -> Iterator[tuple[float, float]]:
    """From when, how long: stopped in the evening, resumed in the morning."""
    latest = 0.0
    for each in done:
        if each.began - latest > PAUSE:
            yield latest, each.began - latest
        latest = max(latest, each.ended)


def gather_lanes(done: list[Activity]) -> list[TimelineLane]:
    """One for every stage, in the order in which they began."""
    lanes: dict[str, TimelineLane] = {}
    for each in done:
        new = TimelineLane(name=each.lane, kind=each.kind, began=each.began, ended=each.ended, documents=0)
        lane = lanes.setdefault(each.lane, new)
        lane["ended"] = max(lane["ended"], each.ended)
        lane["documents"] += each.documents
    return list(lanes.values())


def share_lanes(done: list[Activity]) -> list[list[Activity]]:
    """One for every session at work; a session that takes over from one that has ended takes its lane."""
    lanes: list[list[Activity]] = []
    of_session: dict[int, int] = {}
    last: dict[int, float] = {}
    for each in done:
        if each.worker is not None:
            last[each.worker] = max(last.get(each.worker, 0.0), each.ended)
    owners: list[int] = []
    for each in done:
        if each.worker is None:
            continue
        if each.worker not in of_session:
            free = next((at for at, owner in enumerate(owners) if last[owner] <= each.began), None)
            if free is None:
                free = len(lanes)
                lanes.append([])
                owners.append(each.worker)
            owners[free] = each.worker
            of_session[each.worker] = free
        lanes[of_session[each.worker]].append(each)
    return lanes


def join_pieces(lane: list[Activity], gap: float) -> list[TimelineSpan]:
    """What follows closely on the same is one piece: thousands of batches are not thousands of boxes."""
    pieces: list[TimelineSpan] = []
    for each in lane:
        before = pieces[-1] if pieces else None
        if before is not None and before["name"] == each.lane and each.began - before["ended"] <= gap:
            before["ended"] = max(before["ended"], each.ended)
            before["documents"] += each.documents
        else:
            piece = TimelineSpan(
                name=each.lane, kind=each.kind, began=each.began, ended=each.ended, documents=each.documents
            )
            pieces.append(piece)
    return pieces


def measure_pace(done: list[Activity], pauses: list[tuple[float, float]], worked: float) -> Throughput:
    """Documents and bytes in each of equal bins of the time worked; a batch counts evenly from its begin to its end."""
    read = [each for each in done if each.documents]
    if not read or worked <= 0:
        return Throughput(bin=0.0, documents=[], bytes=[])
    width = worked / BINS
    documents, sizes = [0.0] * BINS, [0.0] * BINS
    for each in read:
        began, ended = leave_out(each.began, pauses), leave_out(each.ended, pauses)
        first, last = (min(int(moment / width), BINS - 1) for moment in (began, ended))
        for at in range(first, last + 1):
            overlap = min(ended, (at + 1) * width) - max(began, at * width)
            share = overlap / (ended - began) if ended > began else 1 / (last - first + 1)
            documents[at] += each.documents * share
            sizes[at] += each.bytes * share
    return Throughput(
        bin=width, documents=[round(each, 1) for each in documents], bytes=[round(each) for each in sizes]
    )


def leave_out(moment: float, pauses: Iterable[tuple[float, float]]) -> float:
    """Seconds worked until a moment."""
    return moment - sum(min(lasted, moment - at) for at, lasted in pauses if moment > at)
