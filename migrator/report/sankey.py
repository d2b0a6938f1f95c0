"""The Sankey diagram of the document flow, as inline SVG: ribbons from collections to tables, rejects and archive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from migrator.report.components import clean
from migrator.report.content import CollectionSummary
from migrator.report.svg import draw_svg, shorten_label

MAX_COLLECTIONS = 12  # drawn one by one; the smaller collections share a ribbon
HEIGHT, GAP, MIN_THICKNESS = 320, 20, 2.0  # of all documents; between nodes; of a ribbon
LEFT, RIGHT, NODE_WIDTH = 250, 750, 10  # x coordinates where ribbons begin and end; width of a node

Link = tuple[str, str, str, int]  # from, to, kind, documents


@dataclass(slots=True)
class Node:
    """A box on one side. `used` is the part of its height that ribbons occupy already."""

    top: float
    height: float
    documents: int
    kind: str
    used: float = 0.0


def draw_flow(collections: Sequence[CollectionSummary]) -> str:
    """Draw ribbons whose thickness is proportional to the number of documents. Return '' if there are no documents."""
    links = list(_links(collections))
    if not links:
        return ""
    scale = HEIGHT / sum(link[3] for link in links)
    starts = _stack(((link[0], "source", link[3]) for link in links), scale)
    ends = _stack(((link[1], link[2], link[3]) for link in _by_kind(links)), scale)
    height = max(node.top + node.height for node in (*starts.values(), *ends.values())) + GAP / 2
    parts = [_ribbon(link, starts[link[0]], ends[link[1]], scale) for link in links]
    parts += [_box(label, node, LEFT, "end") for label, node in starts.items()]
    parts += [_box(label, node, RIGHT, "start") for label, node in ends.items()]
    return draw_svg(height, "Document flow", parts)


def _links(collections: Sequence[CollectionSummary]) -> Iterator[Link]:
    """Yield the largest collections with a table, then the smaller ones together, then those without a table."""
    mapped = sorted((e for e in collections if e["table"] and e["documents"]), key=lambda e: -e["documents"])
    without_table = [e for e in collections if not e["table"] and e["documents"]]
    for entry in mapped[:MAX_COLLECTIONS]:
        yield from _outcomes(entry["name"], f"table {entry['table']}", [entry])
    yield from _outcomes(f"{len(mapped[MAX_COLLECTIONS:])} smaller", "other tables", mapped[MAX_COLLECTIONS:])
    yield from _outcomes(f"{len(without_table)} without a table", "", without_table)


def _outcomes(label: str, table: str, collections: Sequence[CollectionSummary]) -> Iterator[Link]:
    ends = (
        (table, "loaded", sum(e["loaded"] for e in collections)),
        ("rejected", "rejected", sum(e["rejected"] for e in collections)),
        ("archive", "archived", sum(e["archived"] for e in collections)),
    )
    yield from ((label, end, kind, count) for end, kind, count in ends if count)


def _by_kind(links: Iterable[Link]) -> list[Link]:
    """Sort links: tables first, then rejects, then the archive."""
    return sorted(links, key=lambda link: ("loaded", "rejected", "archived").index(link[2]))


def _stack(items: Iterable[tuple[str, str, int]], scale: float) -> dict[str, Node]:
    """Place boxes below each other. The height of a box is the sum of its ribbons."""
    nodes: dict[str, Node] = {}
    for label, kind, count in items:
        node = nodes.setdefault(label, Node(0.0, 0.0, 0, kind))
        node.height += max(count * scale, MIN_THICKNESS)
        node.documents += count
    top = GAP / 2
    for node in nodes.values():
        node.top = top
        top += node.height + GAP
    return nodes


def _ribbon(link: Link, start: Node, end: Node, scale: float) -> str:
    label, target, kind, count = link
    thickness = max(count * scale, MIN_THICKNESS)
    y1, y2 = start.top + start.used + thickness / 2, end.top + end.used + thickness / 2
    start.used += thickness
    end.used += thickness
    middle = (LEFT + RIGHT) / 2
    path = f"M{LEFT + NODE_WIDTH} {y1:.1f}C{middle:.0f} {y1:.1f} {middle:.0f} {y2:.1f} {RIGHT} {y2:.1f}"
    tooltip = f"{clean(label)} → {clean(target)}: {count:,}"
    return f'<path class="flow {kind}" d="{path}" stroke-width="{thickness:.1f}"><title>{tooltip}</title></path>'


def _box(label: str, node: Node, x: int, anchor: str) -> str:
    at = x - 8 if anchor == "end" else x + NODE_WIDTH + 8
    middle = node.top + node.height / 2 + 4.5
    return (
        f'<rect class="{node.kind}" x="{x}" y="{node.top:.1f}" width="{NODE_WIDTH}" height="{node.height:.1f}"/>'
        f'<text x="{at}" y="{middle:.1f}" text-anchor="{anchor}">{shorten_label(label)}'
        f'<tspan class="soft" dx="7">{node.documents:,}</tspan></text>'
    )
