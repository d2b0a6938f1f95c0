"""What was done when, as inline SVG on one clock: the pace, a lane for every stage, one for every session at work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrator.formatting import format_duration
from migrator.report.components import clean
from migrator.report.content import History, Throughput, TimelineLane, TimelineSpan
from migrator.report.svg import WIDTH, draw_svg, shorten_label

LANE, LABEL = 22, 230  # a lane's height, the room for its name
ROOM = 190  # for the words on a bar
HIGH = 84  # of the pace
PAUSED = 0.04  # of the width, for every pause however long
TICKS = 6  # at most so many between begin and end
ROUND = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


def draw_timeline(history: History) -> str:
    """'' where nothing was recorded; a pause is a dashed line, however long it was."""
    if not history["lanes"]:
        return ""
    clock = Clock(history)
    parts: list[str] = []
    top = 0.0
    if history["pace"]["documents"]:
        parts += _pace(history["pace"], clock)
        top = HIGH + 26
    parts += [_lane(top + index * LANE, lane, clock) for index, lane in enumerate(history["lanes"])]
    top += len(history["lanes"]) * LANE + 6
    if len(history["workers"]) > 1:
        parts.append(f'<line class="rule" x1="0" x2="{WIDTH}" y1="{top:.1f}" y2="{top:.1f}"/>')
        top += 6
        parts += [_session(top + at * LANE, at, pieces, clock) for at, pieces in enumerate(history["workers"])]
        top += len(history["workers"]) * LANE
    axis = [*_axis(clock, top), *(_pause(at, lasted, clock, top) for at, lasted in history["pauses"])]
    return draw_svg(top + 26, "What was done when", [*axis, *parts])


class Clock:
    """Seconds since the beginning to a place on the line, with pauses cut to a fixed width."""

    def __init__(self, history: History) -> None:
        self._pauses = history["pauses"]
        self.worked = max(history["seconds"], 0.001)
        self._cut = min(PAUSED, 0.5 / max(len(self._pauses), 1)) * (WIDTH - LABEL)
        self._scale = (WIDTH - LABEL - self._cut * len(self._pauses)) / self.worked

    def lasted(self, lane: TimelineLane) -> float:
        """Seconds of work on a lane, pauses left out."""
        inside = (lasted for at, lasted in self._pauses if lane["began"] <= at and at + lasted <= lane["ended"])
        return lane["ended"] - lane["began"] - sum(inside)

    def place(self, seconds: float) -> float:
        x = LABEL + seconds * self._scale
        for at, lasted in self._pauses:
            if seconds > at:
                x += self._cut * min((seconds - at) / lasted, 1.0) - min(lasted, seconds - at) * self._scale
        return x

    def place_worked(self, seconds: float) -> float:
        """The same for seconds of work, pauses not counted."""
        for at, lasted in self._pauses:
            if seconds > at:
                seconds += lasted
        return self.place(seconds)


def _pace(pace: Throughput, clock: Clock) -> Iterator[str]:
    """An area as high as documents a second; beside it, the most and what that was in bytes."""
    width, documents = pace["bin"], pace["documents"]
    most = max(documents)
    at = documents.index(most)
    points = [f"{LABEL} {HIGH}"]
    for place, each in enumerate(documents):
        y = HIGH - each / most * (HIGH - 8)
        points += (f"{clock.place_worked((place + side) * width):.1f} {y:.1f}" for side in (0, 1))
    points.append(f"{clock.place_worked(len(documents) * width):.1f} {HIGH}")
    yield f'<path class="pace" d="M{"L".join(points)}Z"/>'
    yield f'<text x="{LABEL - 10}" y="20" text-anchor="end">documents a second</text>'
    told = f"at most {most / width:,.0f}, {pace['bytes'][at] / width / 1e6:,.1f} MB"
    yield f'<text class="soft" x="{LABEL - 10}" y="38" text-anchor="end">{told}</text>'
    mean = sum(documents) / max(sum(1 for each in documents if each), 1) / width
    yield f'<text class="soft" x="{LABEL - 10}" y="54" text-anchor="end">while loading {mean:,.0f}</text>'


def _lane(y: float, lane: TimelineLane, clock: Clock) -> str:
    start, end = clock.place(lane["began"]), clock.place(lane["ended"])
    wide = max(end - start, 2.0)
    lasted = clock.lasted(lane)
    told = format_duration(lasted) if lasted >= 0.05 else "< 0.1 s"
    if lane["documents"]:
        told += f", {lane['documents']:,} documents"
    at, anchor, style = _beside(start, start + wide)
    return (
        f'<text x="{LABEL - 10}" y="{y + 16:.1f}" text-anchor="end">{shorten_label(lane["name"])}</text>'
        f'<rect class="{lane["kind"]}" x="{start:.1f}" y="{y + 5:.1f}" width="{wide:.1f}" height="{LANE - 8}" rx="1"/>'
        f'<text class="{style}" x="{at:.1f}" y="{y + 16:.1f}" text-anchor="{anchor}">{told}</text>'
    )


def _beside(start: float, end: float) -> tuple[float, str, str]:
    """Where the words on a bar go: after it, else before it, else on it."""
    if end < WIDTH - ROOM:
        return end + 6, "start", "soft"
    return (start - 6, "end", "soft") if start > LABEL + ROOM else (start + 8, "start", "on")


def _session(y: float, number: int, pieces: Sequence[TimelineSpan], clock: Clock) -> str:
    """One session with the server: which stage it was at, piece by piece."""
    boxes = []
    for each in pieces:
        x, end = clock.place(each["began"]), clock.place(each["ended"])
        told = f"{each['name']}: {format_duration(each['ended'] - each['began'])}"
        told += f", {each['documents']:,} documents" if each["documents"] else ""
        boxes.append(
            f'<rect class="{each["kind"]}" x="{x:.1f}" y="{y + 4:.1f}" width="{max(end - x, 0.7):.1f}"'
            f' height="{LANE - 8}"><title>{clean(told)}</title></rect>'
        )
    name = f'<text x="{LABEL - 10}" y="{y + 15:.1f}" text-anchor="end">session {number + 1}</text>'
    return name + "".join(boxes)


def _axis(clock: Clock, bottom: float) -> Iterator[str]:
    """Round moments of the time worked, ruled through everything."""
    step = next((each for each in ROUND if clock.worked / each <= TICKS), ROUND[-1])
    if clock.worked < TICKS / 2:
        step = 1 if clock.worked > 2 else 0
    moments = [number * step for number in range(int(clock.worked / step) + 1)] if step else [0.0, clock.worked]
    for moment in moments:
        x = clock.place_worked(moment)
        yield f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom:.1f}"/>'
        anchor = "end" if x > WIDTH - 40 else "middle"
        yield f'<text class="soft" x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="{anchor}">{_moment(moment)}</text>'


def _moment(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 60 else format_duration(seconds)


def _pause(at: float, lasted: float, clock: Clock, bottom: float) -> str:
    x = (clock.place(at) + clock.place(at + lasted)) / 2
    told = f"paused {format_duration(lasted)}"
    return (
        f'<line class="pause" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom:.1f}"><title>{told}</title></line>'
        f'<text class="soft" x="{x + 5:.1f}" y="{bottom - 4:.1f}">{told}</text>'
    )
