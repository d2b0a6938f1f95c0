"""Where documents go, as inline SVG: ribbons from collections to tables, rejects and archive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from migrator.report.components import clean
from migrator.report.content import Entry
from migrator.report.svg import draw_svg, shorten_label

MOST = 12  # collections that are drawn one by one; the smaller ones share a ribbon
HIGH, GAP, THIN = 320, 20, 2.0  # height of all documents, between nodes, the thinnest ribbon
LEFT, RIGHT, THICK = 250, 750, 10  # where ribbons begin and end; the width of a node

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
    return draw_svg(height, "Where the documents go", parts)


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
        f'<text x="{at}" y="{middle:.1f}" text-anchor="{anchor}">{shorten_label(label)}'
        f'<tspan class="soft" dx="7">{node.documents:,}</tspan></text>'
    )
