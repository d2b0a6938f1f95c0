"""The diagrams of a page: consistent times, correct sums, nothing outside the frame."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from migrator.postgres.entities import Attribute, Entity
from migrator.report.content import Timeline
from migrator.report.er_diagram import BOX_COLUMNS, arrange, draw_diagram, find_hubs
from migrator.report.timeline import BINS, Activity, build_timeline
from migrator.report.timeline_svg import draw_timeline
from tests.unit.test_page import Reader


def batch(began: float, ended: float, lane: str = "load a", worker: int = 1, documents: int = 10) -> Activity:
    return Activity(began=began, ended=ended, lane=lane, kind="load", worker=worker, documents=documents, bytes=1000)


def step(began: float, ended: float, lane: str) -> Activity:
    return Activity(began=began, ended=ended, lane=lane, kind="step")


def numbers(drawn: str, name: str) -> Iterator[float]:
    return map(float, re.findall(rf' {name}="([-\d.]+)"', drawn))


def test_timeline_distinguishes_pauses_from_work() -> None:
    """A gap of hours between two batches is a pause; an index build of hours is work."""
    timeline = build_timeline([batch(0, 5), batch(30_005, 30_006), step(30_006, 40_006, "indexes")])
    assert timeline["pauses"] == [(5, 30_000)]
    assert timeline["seconds"] == pytest.approx(10_006)
    assert [(each["name"], each["began"], each["ended"], each["documents"]) for each in timeline["lanes"]] == [
        ("load a", 0, 30_006, 20),
        ("indexes", 30_006, 40_006, 0),
    ]
    drawn = draw_timeline(timeline)
    assert "paused 8 h 20 min" in drawn
    assert ">6.0 s, 20 documents<" in drawn


@pytest.mark.parametrize("lasted", [0.0, 0.01, 1.7, 45, 3601, 200_000])
def test_timeline_stays_in_frame(lasted: float) -> None:
    """For any duration, nothing is drawn outside the frame or with a negative width."""
    activities = [batch(0, lasted / 3), batch(lasted / 4, lasted / 2, worker=2), step(lasted / 2, lasted, "b")]
    drawn = draw_timeline(build_timeline(activities))
    Reader(drawn)
    assert all(0 <= x <= 1000 for x in (*numbers(drawn, "x"), *numbers(drawn, "x1"), *numbers(drawn, "x2")))
    assert all(width > 0 for width in numbers(drawn, "width"))


def test_clock_set_back() -> None:
    """An end before its start, or a start before the run, is drawn with minimal width."""
    drawn = draw_timeline(build_timeline([batch(-5, 3), batch(9, 2, worker=2), step(4, 1, "c")]))
    assert all(width > 0 for width in numbers(drawn, "width"))


def test_throughput_adds_up() -> None:
    """All documents and bytes are in exactly one bin, and pauses have no bins."""
    activities = [batch(n * 0.7, n * 0.7 + 1.9, worker=n % 3, documents=n + 1) for n in range(200)]
    activities.append(batch(5000, 5001, documents=77))
    throughput = build_timeline(activities)["throughput"]
    assert len(throughput["documents"]) == BINS
    assert sum(throughput["documents"]) == pytest.approx(sum(range(201)) + 77, abs=BINS * 0.06)
    assert sum(throughput["bytes"]) == pytest.approx(201_000, abs=BINS)


@pytest.mark.parametrize(("documents", "has_throughput"), [(1, True), (0, False)])
def test_throughput_of_few_documents(documents: int, has_throughput: bool) -> None:
    """One document in a batch that lasts as long as the run is drawn; no documents have no throughput."""
    drawn = draw_timeline(build_timeline([batch(0, 5, documents=documents)]))
    assert ("documents per second" in drawn) == has_throughput


def test_sessions_reuse_lanes() -> None:
    """Two parallel sessions have two lanes; a session after a kill reuses a free lane."""
    timeline = build_timeline(
        [batch(0, 4, worker=1), batch(1, 5, worker=2), batch(6, 8, worker=3), batch(6.5, 9, worker=4)]
    )
    assert [[piece["began"] for piece in lane] for lane in timeline["sessions"]] == [[0, 6], [1, 6.5]]


def test_thousands_of_batches_are_few_spans() -> None:
    """Consecutive batches form one span with the sum of their documents."""
    timeline = build_timeline(batch(n, n + 0.999, worker=n % 2, documents=5) for n in range(20_000))
    assert sum(map(len, timeline["sessions"])) == 2
    assert sum(piece["documents"] for lane in timeline["sessions"] for piece in lane) == 100_000
    assert len(draw_timeline(timeline)) < 50_000


def test_empty_timeline() -> None:
    """A run that was interrupted at once has no timeline."""
    timeline: Timeline = build_timeline([])
    assert timeline["seconds"] == 0
    assert draw_timeline(timeline) == ""
    assert draw_diagram([]) == ""


def make_table(name: str, *refers: str, columns: int = 3) -> Entity:
    plain = [Attribute(name=f"c{n}", type="text", key=n == 0, required=n < 2, refers=None) for n in range(columns)]
    links = [Attribute(name=f"{to}_id", type="uuid", key=False, required=True, refers=f"{to}.c0") for to in refers]
    return Entity(name=name, columns=plain + links)


def test_diagram_draws_foreign_keys() -> None:
    """Every foreign key is a line with a tooltip, and an arrow in the column; boxes do not overlap."""
    tables = [make_table("a"), make_table("b", "a", columns=20), make_table("c", "b", "a"), make_table("d", "d")]
    drawn = draw_diagram(tables)
    read = Reader(drawn)
    assert drawn.count('class="link"') == 4
    for text in ("b.a_id → a.c0", "c.b_id → b.c0", "d.d_id → d.c0", "→ a"):
        assert text in read.text
    boxes = list(arrange(tables, set()).values())
    for box in boxes:
        below = [b for b in boxes if b.column == box.column and b is not box and b.top >= box.top]
        assert all(b.top >= box.top + box.height for b in below)
        assert 0 <= box.column < BOX_COLUMNS


def test_diagram_omits_lines_to_hubs() -> None:
    """Lines to a table that most tables refer to are omitted; the column names the table."""
    tables = [make_table("tenants"), *(make_table(f"t{n}", "tenants") for n in range(6)), make_table("last", "t1")]
    assert find_hubs(tables) == {"tenants"}
    drawn = draw_diagram(tables)
    assert drawn.count('class="link"') == 1
    assert Reader(drawn).text.count("→ tenants") >= 6


def test_diagram_of_cycles_and_unknown_tables() -> None:
    """Tables with cyclic references, and references to unknown tables, are drawn."""
    tables = [make_table("a", "b"), make_table("b", "c"), make_table("c", "a", "elsewhere")]
    assert draw_diagram(tables).count('class="link"') == 3
