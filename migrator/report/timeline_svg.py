"""Draws the timeline of a run as inline SVG: throughput, a lane for each stage, a lane for each session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrator.formatting import format_count, format_duration
from migrator.report.components import clean
from migrator.report.content import Throughput, Timeline, TimelineLane, TimelineSpan
from migrator.report.svg import WIDTH, draw_svg, shorten_label

LANE_HEIGHT, NAME_WIDTH = 22, 230
CAPTION_WIDTH = 190  # of the text next to a bar
GRAPH_HEIGHT = 84  # of the throughput
PAUSE_WIDTH = 0.04  # of the width, for a pause of any duration
MAX_TICKS = 6
TICK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


def draw_timeline(timeline: Timeline) -> str:
    """Draw the timeline. A pause is a dashed line. Return '' if nothing was recorded."""
    if not timeline["lanes"]:
        return ""
    clock = Clock(timeline)
    parts: list[str] = []
    top = 0.0
    if any(timeline["throughput"]["documents"]):
        parts += _draw_throughput(timeline["throughput"], clock)
        top = GRAPH_HEIGHT + 26
    parts += [_draw_lane(top + index * LANE_HEIGHT, lane, clock) for index, lane in enumerate(timeline["lanes"])]
    top += len(timeline["lanes"]) * LANE_HEIGHT + 6
    if len(timeline["sessions"]) > 1:
        parts.append(f'<line class="rule" x1="0" x2="{WIDTH}" y1="{top:.1f}" y2="{top:.1f}"/>')
        top += 6
        for number, spans in enumerate(timeline["sessions"]):
            parts.append(_draw_session(top + number * LANE_HEIGHT, number, spans, clock))
        top += len(timeline["sessions"]) * LANE_HEIGHT
    axis = [*_draw_axis(clock, top), *(_draw_pause(at, lasted, clock, top) for at, lasted in timeline["pauses"])]
    return draw_svg(top + 26, "Timeline", [*axis, *parts])


class Clock:
    """Converts seconds since the start of the run to an x coordinate. All pauses have the same width."""

    def __init__(self, timeline: Timeline) -> None:
        self._pauses = timeline["pauses"]
        self.worked = max(timeline["seconds"], 0.001)
        self._cut = min(PAUSE_WIDTH, 0.5 / max(len(self._pauses), 1)) * (WIDTH - NAME_WIDTH)
        self._scale = (WIDTH - NAME_WIDTH - self._cut * len(self._pauses)) / self.worked

    def lasted(self, lane: TimelineLane) -> float:
        """Return the working time of a lane, in seconds."""
        inside = (lasted for at, lasted in self._pauses if lane["began"] <= at and at + lasted <= lane["ended"])
        return lane["ended"] - lane["began"] - sum(inside)

    def place(self, seconds: float) -> float:
        """Return the x coordinate of a moment."""
        x = NAME_WIDTH + seconds * self._scale
        for at, lasted in self._pauses:
            if seconds > at:
                x += self._cut * min((seconds - at) / lasted, 1.0) - min(lasted, seconds - at) * self._scale
        return x

    def place_worked(self, seconds: float) -> float:
        """Return the x coordinate of a moment that is given as working time."""
        for at, lasted in self._pauses:
            if seconds > at:
                seconds += lasted
        return self.place(seconds)


def _draw_throughput(throughput: Throughput, clock: Clock) -> Iterator[str]:
    """Draw documents per second as an area, with maximum and mean as text."""
    width, documents = throughput["bin"], throughput["documents"]
    most = max(documents)
    at = documents.index(most)
    points = [f"{NAME_WIDTH} {GRAPH_HEIGHT}"]
    for place, each in enumerate(documents):
        y = GRAPH_HEIGHT - each / most * (GRAPH_HEIGHT - 8)
        points += (f"{clock.place_worked((place + side) * width):.1f} {y:.1f}" for side in (0, 1))
    points.append(f"{clock.place_worked(len(documents) * width):.1f} {GRAPH_HEIGHT}")
    yield f'<path class="throughput" d="M{"L".join(points)}Z"/>'
    yield f'<text x="{NAME_WIDTH - 10}" y="20" text-anchor="end">documents per second</text>'
    peak = f"max {most / width:,.0f} ({throughput['bytes'][at] / width / 1e6:,.1f} MB/s)"
    yield f'<text class="soft" x="{NAME_WIDTH - 10}" y="38" text-anchor="end">{peak}</text>'
    mean = sum(documents) / max(sum(1 for each in documents if each), 1) / width
    yield f'<text class="soft" x="{NAME_WIDTH - 10}" y="54" text-anchor="end">mean {mean:,.0f} during load</text>'


def _draw_lane(y: float, lane: TimelineLane, clock: Clock) -> str:
    start, end = clock.place(lane["began"]), clock.place(lane["ended"])
    width = max(end - start, 2.0)
    lasted = clock.lasted(lane)
    caption = format_duration(lasted) if lasted >= 0.05 else "< 0.1 s"
    if lane["documents"]:
        caption += f", {format_count(lane['documents'], 'documents')}"
    at, anchor, style = _place_caption(start, start + width)
    return (
        f'<text x="{NAME_WIDTH - 10}" y="{y + 16:.1f}" text-anchor="end">{shorten_label(lane["name"])}</text>'
        f'<rect class="{lane["kind"]}" x="{start:.1f}" y="{y + 5:.1f}" width="{width:.1f}"'
        f' height="{LANE_HEIGHT - 8}" rx="1"/>'
        f'<text class="{style}" x="{at:.1f}" y="{y + 16:.1f}" text-anchor="{anchor}">{caption}</text>'
    )


def _place_caption(start: float, end: float) -> tuple[float, str, str]:
    """Return (x, text anchor, style) of a bar's caption: after the bar if there is space, else before it or on it."""
    if end < WIDTH - CAPTION_WIDTH:
        return end + 6, "start", "soft"
    return (start - 6, "end", "soft") if start > NAME_WIDTH + CAPTION_WIDTH else (start + 8, "start", "on")


def _draw_session(y: float, number: int, spans: Sequence[TimelineSpan], clock: Clock) -> str:
    """Draw the spans of one database session."""
    boxes = []
    for each in spans:
        x, end = clock.place(each["began"]), clock.place(each["ended"])
        tooltip = f"{each['name']}: {format_duration(each['ended'] - each['began'])}"
        tooltip += f", {format_count(each['documents'], 'documents')}" if each["documents"] else ""
        boxes.append(
            f'<rect class="{each["kind"]}" x="{x:.1f}" y="{y + 4:.1f}" width="{max(end - x, 0.7):.1f}"'
            f' height="{LANE_HEIGHT - 8}"><title>{clean(tooltip)}</title></rect>'
        )
    name = f'<text x="{NAME_WIDTH - 10}" y="{y + 15:.1f}" text-anchor="end">session {number + 1}</text>'
    return name + "".join(boxes)


def _draw_axis(clock: Clock, bottom: float) -> Iterator[str]:
    """Draw vertical lines at round moments of the working time."""
    step = next((each for each in TICK_STEPS if clock.worked / each <= MAX_TICKS), TICK_STEPS[-1])
    if clock.worked < MAX_TICKS / 2:
        step = 1 if clock.worked > 2 else 0
    moments = [number * step for number in range(int(clock.worked / step) + 1)] if step else [0.0, clock.worked]
    for moment in moments:
        x = clock.place_worked(moment)
        yield f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom:.1f}"/>'
        anchor = "end" if x > WIDTH - 40 else "middle"
        label = _format_moment(moment)
        yield f'<text class="soft" x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="{anchor}">{label}</text>'


def _format_moment(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 60 else format_duration(seconds)


def _draw_pause(at: float, lasted: float, clock: Clock, bottom: float) -> str:
    x = (clock.place(at) + clock.place(at + lasted)) / 2
    caption = f"paused {format_duration(lasted)}"
    return (
        f'<line class="pause" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom:.1f}"><title>{caption}</title></line>'
        f'<text class="soft" x="{x + 5:.1f}" y="{bottom - 4:.1f}">{caption}</text>'
    )
