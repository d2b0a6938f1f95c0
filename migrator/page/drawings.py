"""The two drawings of a page, as inline SVG: where documents go, and what was worked on when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from migrator.page.content import Entry, Lane
from migrator.page.parts import clean
from migrator.progress import format_duration

WIDTH = 1000
MOST = 12  # collections that are drawn one by one; the smaller ones share a ribbon
HIGH, GAP, THIN = 320, 20, 2.0  # of the flow: height of all documents, between nodes, the thinnest ribbon
LEFT, RIGHT, THICK = 250, 750, 10  # of the flow: where ribbons begin and end; the width of a node
LANE, LABEL = 22, 230  # of the timeline: a lane's height, the room for its name
ROOM = 190  # for the words on a bar
LONGEST = 28  # characters of a label
PAUSED = 0.04  # of the timeline's width, for every pause however long

Link = tuple[str, str, str, int]  # from, to, kind, documents


@dataclass(slots=True)
class Node:
    """A box at either side; `used` is how much of its height ribbons have taken."""

    top: float
    height: float
    documents: int
    kind: str
    used: float = 0.0


def draw_flow(entries: Sequence[Entry]) -> str:
    """Ribbons from collections to tables, rejects and archive, as thick as they have documents; '' for none."""
    links = list(_links(entries))
    if not links:
        return ""
    scale = HIGH / sum(link[3] for link in links)
    starts = _stack(((link[0], "source", link[3]) for link in links), scale)
    ends = _stack(((link[1], link[2], link[3]) for link in _by_kind(links)), scale)
    height = max(node.top + node.height for node in (*starts.values(), *ends.values())) + GAP / 2
    parts = [_ribbon(link, starts[link[0]], ends[link[1]], scale) for link in links]
    parts += [_box(label, node, LEFT, "end") for label, node in starts.items()]
    parts += [_box(label, node, RIGHT, "start") for label, node in ends.items()]
    return _svg(height, "Where the documents go", parts)


def _links(entries: Sequence[Entry]) -> Iterator[Link]:
    """The largest collections with a table, one by one; then what is left of them; then those without."""
    mapped = sorted((e for e in entries if e["table"] and e["documents"]), key=lambda e: -e["documents"])
    whole = [e for e in entries if not e["table"] and e["documents"]]
    for entry in mapped[:MOST]:
        yield from _outcomes(entry["name"], f"table {entry['table']}", [entry])
    yield from _outcomes(f"{len(mapped[MOST:])} smaller", "other tables", mapped[MOST:])
    yield from _outcomes(f"{len(whole)} without a table", "", whole)


def _outcomes(label: str, table: str, entries: Sequence[Entry]) -> Iterator[Link]:
    ends = (
        (table, "loaded", sum(e["loaded"] for e in entries)),
        ("rejected", "rejected", sum(e["rejected"] for e in entries)),
        ("archive", "archived", sum(e["archived"] for e in entries)),
    )
    yield from ((label, end, kind, count) for end, kind, count in ends if count)


def _by_kind(links: Iterable[Link]) -> list[Link]:
    """Tables first, then rejects, then the archive."""
    return sorted(links, key=lambda link: ("loaded", "rejected", "archived").index(link[2]))


def _stack(items: Iterable[tuple[str, str, int]], scale: float) -> dict[str, Node]:
    """Boxes one below the other, each as high as its ribbons together."""
    nodes: dict[str, Node] = {}
    for label, kind, count in items:
        node = nodes.setdefault(label, Node(0.0, 0.0, 0, kind))
        node.height += max(count * scale, THIN)
        node.documents += count
    top = GAP / 2
    for node in nodes.values():
        node.top = top
        top += node.height + GAP
    return nodes


def _ribbon(link: Link, start: Node, end: Node, scale: float) -> str:
    label, target, kind, count = link
    thick = max(count * scale, THIN)
    y1, y2 = start.top + start.used + thick / 2, end.top + end.used + thick / 2
    start.used += thick
    end.used += thick
    middle = (LEFT + RIGHT) / 2
    path = f"M{LEFT + THICK} {y1:.1f}C{middle:.0f} {y1:.1f} {middle:.0f} {y2:.1f} {RIGHT} {y2:.1f}"
    told = f"{clean(label)} → {clean(target)}: {count:,}"
    return f'<path class="flow {kind}" d="{path}" stroke-width="{thick:.1f}"><title>{told}</title></path>'


def _box(label: str, node: Node, x: int, anchor: str) -> str:
    at = x - 8 if anchor == "end" else x + THICK + 8
    middle = node.top + node.height / 2 + 4.5
    return (
        f'<rect class="{node.kind}" x="{x}" y="{node.top:.1f}" width="{THICK}" height="{node.height:.1f}"/>'
        f'<text x="{at}" y="{middle:.1f}" text-anchor="{anchor}">{_label(label)}'
        f'<tspan class="soft" dx="7">{node.documents:,}</tspan></text>'
    )


def _label(text: str) -> str:
    return clean(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def draw_timeline(lanes: Sequence[Lane], pauses: Sequence[tuple[float, float]]) -> str:
    """A lane for everything that was committed, on one clock; a pause is a dashed line, however long it was."""
    if not lanes:
        return ""
    clock = Clock(max(lane["ended"] for lane in lanes), pauses)
    height = (len(lanes) + 1) * LANE + 8
    parts = [_lane(index, lane, clock) for index, lane in enumerate(lanes)]
    parts += [_pause(at, lasted, clock, height) for at, lasted in pauses]
    parts.append(f'<line class="rule" x1="{LABEL}" x2="{WIDTH}" y1="{height - LANE}" y2="{height - LANE}"/>')
    parts.append(f'<text class="soft" x="{LABEL}" y="{height - 6}">0 s</text>')
    total = format_duration(clock.worked)
    parts.append(f'<text class="soft" x="{WIDTH}" y="{height - 6}" text-anchor="end">{total} of work</text>')
    return _svg(height, "What was worked on when", parts)


class Clock:
    """Seconds since the beginning to a place on the line, with pauses cut to a fixed width."""

    def __init__(self, end: float, pauses: Sequence[tuple[float, float]]) -> None:
        self._pauses = pauses
        self.worked = max(end - sum(lasted for _, lasted in pauses), 0.001)
        self._cut = min(PAUSED, 0.5 / max(len(pauses), 1))
        self._scale = (WIDTH - LABEL) * (1 - self._cut * len(pauses)) / self.worked

    def lasted(self, lane: Lane) -> float:
        """Seconds of work on a lane, pauses left out."""
        inside = (lasted for at, lasted in self._pauses if lane["began"] <= at and at + lasted <= lane["ended"])
        return lane["ended"] - lane["began"] - sum(inside)

    def place(self, seconds: float) -> float:
        x = LABEL + seconds * self._scale
        for at, lasted in self._pauses:
            if seconds > at:
                x += (WIDTH - LABEL) * self._cut - lasted * self._scale
        return x


def _lane(index: int, lane: Lane, clock: Clock) -> str:
    y = index * LANE
    start, end = clock.place(lane["began"]), clock.place(lane["ended"])
    wide = max(end - start, 2.0)
    told = format_duration(clock.lasted(lane)) + (f", {lane['documents']:,} documents" if lane["documents"] else "")
    kind = "loaded" if lane["kind"] == "load" else "step"
    at, anchor, style = _beside(start, start + wide)
    return (
        f'<text x="{LABEL - 10}" y="{y + 16}" text-anchor="end">{_label(lane["name"])}</text>'
        f'<rect class="{kind}" x="{start:.1f}" y="{y + 5}" width="{wide:.1f}" height="{LANE - 8}" rx="1"/>'
        f'<text class="{style}" x="{at:.1f}" y="{y + 16}" text-anchor="{anchor}">{told}</text>'
    )


def _beside(start: float, end: float) -> tuple[float, str, str]:
    """Where the words on a bar go: after it, else before it, else on it."""
    if end < WIDTH - ROOM:
        return end + 6, "start", "soft"
    return (start - 6, "end", "soft") if start > LABEL + ROOM else (start + 8, "start", "on")


def _pause(at: float, lasted: float, clock: Clock, height: int) -> str:
    x = (clock.place(at) + clock.place(at + lasted)) / 2
    told = f"paused {format_duration(lasted)}"
    return (
        f'<line class="pause" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - LANE}"><title>{told}</title></line>'
        f'<text class="soft" x="{x:.1f}" y="{height - 6}" text-anchor="middle">{told}</text>'
    )


def _svg(height: float, label: str, parts: Iterable[str]) -> str:
    opening = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{label}">'
    return f'<div class="scroll">{opening}\n' + "\n".join(parts) + "\n</svg></div>"


def draw_bar(counts: Mapping[str, int]) -> str:
    """Shares of one collection, side by side."""
    whole = sum(counts.values())
    if not whole:
        return ""
    parts = (f'<i class="{kind}" style="flex:{count}"></i>' for kind, count in counts.items() if count)
    return f'<div class="bar">{"".join(parts)}</div>'
