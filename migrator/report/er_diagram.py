"""Draws the target's tables and their foreign keys as inline SVG.

Lines to tables that most tables refer to are omitted; the columns name these tables instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from migrator.postgres.entities import Entity
from migrator.report.components import clean
from migrator.report.svg import WIDTH, draw_svg, shorten_label

BOX_COLUMNS = 4
BOX_WIDTH, ROW_HEIGHT, HEADER_HEIGHT, GAP = 206, 15.5, 26, 18
MAX_NAME, MAX_TYPE = 20, 15  # characters of a column's name and type
MIN_HUB_REFERENCES = 4  # a hub is referred to by at least this many tables, and by more than half of all


@dataclass(slots=True)
class Box:
    """The position of a table in the drawing."""

    entity: Entity
    column: int
    top: float

    @property
    def left(self) -> float:
        return self.column * (WIDTH - BOX_WIDTH) / (BOX_COLUMNS - 1)

    @property
    def height(self) -> float:
        return height_of(self.entity)

    def line(self, name: str) -> float:
        """Return the y coordinate of a column."""
        names = [each["name"] for each in self.entity["columns"]]
        return (
            self.top + HEADER_HEIGHT + (names.index(name) + 0.5) * ROW_HEIGHT
            if name in names
            else self.top + HEADER_HEIGHT / 2
        )


def height_of(entity: Entity) -> float:
    """Return the height of a table's box."""
    return HEADER_HEIGHT + len(entity["columns"]) * ROW_HEIGHT + 6


def draw_diagram(entities: Sequence[Entity]) -> str:
    """Draw all tables. Return '' if there are none."""
    if not entities:
        return ""
    hubs = find_hubs(entities)
    boxes = arrange(entities, hubs)
    height = max(box.top + box.height for box in boxes.values()) + 4
    parts = [line for box in boxes.values() for line in _lines(box, boxes, hubs)]
    parts += [_box(box) for box in boxes.values()]
    return draw_svg(height, "Tables of the target and their foreign keys", parts)


def find_hubs(entities: Sequence[Entity]) -> set[str]:
    """Return the tables that more than half of the others refer to."""
    counted = Counter(target for each in entities for target in references(each))
    return {name for name, count in counted.items() if count >= MIN_HUB_REFERENCES and count > (len(entities) - 1) / 2}


def references(entity: Entity) -> set[str]:
    """Return the other tables that a table refers to."""
    return {target_of(each["refers"])[0] for each in entity["columns"] if each["refers"]} - {entity["name"]}


def target_of(refers: str) -> tuple[str, str]:
    """Split 'table.column'."""
    table, _, column = refers.rpartition(".")
    return table, column


def arrange(entities: Sequence[Entity], hubs: set[str]) -> dict[str, Box]:
    """Place tables in columns. A table is to the right of the tables that it refers to, if there is space."""
    ranks = find_ranks(entities, hubs)
    ordered = sorted(entities, key=lambda each: ranks[each["name"]])
    room = sum(height_of(each) + GAP for each in entities) / BOX_COLUMNS
    boxes: dict[str, Box] = {}
    column, top, rank = 0, 0.0, 0
    for place, entity in enumerate(ordered):
        left = sum(height_of(each) + GAP for each in ordered[place:])
        full = top > 0 and top + height_of(entity) / 2 > room
        deeper = ranks[entity["name"]] > rank and top > room / 2
        if column < BOX_COLUMNS - 1 and (full or deeper) and left > 0:
            column, top = column + 1, 0.0
        rank = ranks[entity["name"]]
        boxes[entity["name"]] = Box(entity, column, top)
        top += height_of(entity) + GAP
    return boxes


def find_ranks(entities: Sequence[Entity], hubs: set[str]) -> dict[str, int]:
    """Return the longest path of references from each table. In a cycle it is limited to the number of tables."""
    ranks = dict.fromkeys((each["name"] for each in entities), 0)
    for _ in entities:
        for each in entities:
            above = [ranks[name] + 1 for name in references(each) - hubs if name in ranks]
            ranks[each["name"]] = min(max(above, default=0), len(entities))
    return ranks


def _lines(box: Box, boxes: Mapping[str, Box], hubs: set[str]) -> Iterator[str]:
    for column in box.entity["columns"]:
        if column["refers"] is None:
            continue
        table, key = target_of(column["refers"])
        if table in hubs or table not in boxes:
            continue
        yield _line(box, boxes[table], column["name"], key, boxes)


def _gaps(boxes: Mapping[str, Box], column: int) -> list[float]:
    """Return the y coordinates at which a line can cross a column: between boxes, and below the last."""
    inside = sorted(box.top + box.height for box in boxes.values() if box.column == column)
    return [bottom + GAP / 2 for bottom in inside] or [GAP / 2]


def _line(box: Box, target: Box, name: str, key: str, boxes: Mapping[str, Box]) -> str:
    """Draw a line around boxes. Lines through the same gap are slightly shifted."""
    y1, y2 = box.line(name), target.line(key)
    if box.column == target.column:  # in the space next to the column
        side, x1 = (-1, box.left) if box.column else (1, box.left + BOX_WIDTH)
        x2 = x1
        path = f"M{x1:.1f} {y1:.1f}C{x1 + side * 26:.1f} {y1:.1f} {x1 + side * 26:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    else:
        left = target.column < box.column
        x1, x2 = (box.left, target.left + BOX_WIDTH) if left else (box.left + BOX_WIDTH, target.left)
        points = [(x1, y1), *_crossings(box, target, y2, boxes, sum(map(ord, name)) % 5 * 2.5 - 5), (x2, y2)]
        path = f"M{x1:.1f} {y1:.1f}" + "".join(map(_bend, points[::2], points[1::2], [*points[2::2], points[-1]]))
    tooltip = clean(f"{box.entity['name']}.{name} → {target.entity['name']}.{key}")
    return (
        f'<path class="link" d="{path}"><title>{tooltip}</title></path>'
        f'<circle class="end" cx="{x2:.1f}" cy="{y2:.1f}" r="3"/>'
    )


def _crossings(
    box: Box, target: Box, y: float, boxes: Mapping[str, Box], shift: float
) -> Iterator[tuple[float, float]]:
    """Yield the points at which a line enters and leaves each column between two boxes, by the gap nearest to `y`."""
    step = -1 if target.column < box.column else 1
    for column in range(box.column + step, target.column, step):
        gap = min(_gaps(boxes, column), key=lambda each: abs(each - y)) + shift
        left = Box(box.entity, column, 0.0).left
        yield from ((x, gap) for x in ((left + BOX_WIDTH, left) if step < 0 else (left, left + BOX_WIDTH)))


def _bend(start: tuple[float, float], end: tuple[float, float], after: tuple[float, float]) -> str:
    """Return a path: curved between two columns, then straight across a column."""
    middle = (start[0] + end[0]) / 2
    curve = f"C{middle:.1f} {start[1]:.1f} {middle:.1f} {end[1]:.1f} {end[0]:.1f} {end[1]:.1f}"
    return curve if after == end else f"{curve}L{after[0]:.1f} {after[1]:.1f}"


def _box(box: Box) -> str:
    x, y, name = box.left, box.top, box.entity["name"]
    right, line = x + BOX_WIDTH, y + HEADER_HEIGHT
    size = f'width="{BOX_WIDTH - 1}" height="{box.height - 1:.1f}"'
    parts = [
        f'<rect class="box" x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" {size}/>',
        f'<text class="head" x="{x + 10:.1f}" y="{y + 18:.1f}">{shorten_label(name, 26)}</text>',
        f'<line class="rule" x1="{x:.1f}" x2="{right:.1f}" y1="{line:.1f}" y2="{line:.1f}"/>',
    ]
    for column in box.entity["columns"]:
        at = box.line(column["name"]) + 4
        style = "pk" if column["key"] else "row" if column["required"] else "row optional"
        kind = f"→ {target_of(column['refers'])[0]}" if column["refers"] else column["type"]
        tooltip = clean(f"{column['name']} {column['type']}" + (f" → {column['refers']}" if column["refers"] else ""))
        parts.append(
            f'<text class="{style}" x="{x + 10:.1f}" y="{at:.1f}">{shorten_label(column["name"], MAX_NAME)}'
            f"<title>{tooltip}</title></text>"
            f'<text class="type" x="{x + BOX_WIDTH - 8:.1f}" y="{at:.1f}" text-anchor="end">'
            f"{shorten_label(kind, MAX_TYPE)}</text>"
        )
    return "".join(parts)
