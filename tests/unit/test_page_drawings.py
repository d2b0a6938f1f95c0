"""The drawings of a page: on one clock, in one frame, and right in their sums."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from migrator.postgres.entities import Attribute, Entity
from migrator.report.content import History
from migrator.report.er_diagram import ACROSS, arrange, draw_diagram, find_hubs
from migrator.report.timeline import BINS, Activity, lay_out
from migrator.report.timeline_svg import draw_timeline
from tests.unit.test_page import Reader


def batch(began: float, ended: float, lane: str = "load a", worker: int = 1, documents: int = 10) -> Activity:
    return Activity(began=began, ended=ended, lane=lane, kind="load", worker=worker, documents=documents, bytes=1000)


def step(began: float, ended: float, lane: str) -> Activity:
    return Activity(began=began, ended=ended, lane=lane, kind="step")


def numbers(drawn: str, name: str) -> Iterator[float]:
    return map(float, re.findall(rf' {name}="([-\d.]+)"', drawn))


def test_timeline_tells_pauses_from_work() -> None:
    """A night between two batches is a pause; an index that takes as long is work."""
    history = lay_out([batch(0, 5), batch(30_005, 30_006), step(30_006, 40_006, "indexes")])
    assert history["pauses"] == [(5, 30_000)]
    assert history["seconds"] == pytest.approx(10_006)
    assert [(each["name"], each["began"], each["ended"], each["documents"]) for each in history["lanes"]] == [
        ("load a", 0, 30_006, 20),
        ("indexes", 30_006, 40_006, 0),
    ]
    drawn = draw_timeline(history)
    assert "paused 8 h 20 min" in drawn
    assert ">6.0 s, 20 documents<" in drawn


@pytest.mark.parametrize("lasted", [0.0, 0.01, 1.7, 45, 3601, 200_000])
def test_timeline_stays_in_its_frame(lasted: float) -> None:
    """Whatever a run lasted, nothing is drawn outside, nothing with a negative width."""
    activities = [batch(0, lasted / 3), batch(lasted / 4, lasted / 2, worker=2), step(lasted / 2, lasted, "b")]
    drawn = draw_timeline(lay_out(activities))
    Reader(drawn)
    assert all(0 <= x <= 1000 for x in (*numbers(drawn, "x"), *numbers(drawn, "x1"), *numbers(drawn, "x2")))
    assert all(width > 0 for width in numbers(drawn, "width"))


def test_clocks_that_are_set_back_do_no_harm() -> None:
    """An end before its begin, a begin before the run's: drawn as nothing, not as something impossible."""
    drawn = draw_timeline(lay_out([batch(-5, 3), batch(9, 2, worker=2), step(4, 1, "c")]))
    assert all(width > 0 for width in numbers(drawn, "width"))


def test_pace_adds_up() -> None:
    """Documents and bytes are spread over bins, none twice, none lost, pauses left out."""
    activities = [batch(n * 0.7, n * 0.7 + 1.9, worker=n % 3, documents=n + 1) for n in range(200)]
    activities.append(batch(5000, 5001, documents=77))
    pace = lay_out(activities)["pace"]
    assert len(pace["documents"]) == BINS
    assert sum(pace["documents"]) == pytest.approx(sum(range(201)) + 77, abs=BINS * 0.06)
    assert sum(pace["bytes"]) == pytest.approx(201_000, abs=BINS)


def test_sessions_share_lanes() -> None:
    """Two at once are two lanes; who takes over after a kill gets the lane that became free."""
    history = lay_out([batch(0, 4, worker=1), batch(1, 5, worker=2), batch(6, 8, worker=3), batch(6.5, 9, worker=4)])
    assert [[piece["began"] for piece in lane] for lane in history["workers"]] == [[0, 6], [1, 6.5]]


def test_thousands_of_batches_are_few_boxes() -> None:
    """Batches that follow closely are one piece, with their documents together."""
    history = lay_out(batch(n, n + 0.999, worker=n % 2, documents=5) for n in range(20_000))
    assert sum(map(len, history["workers"])) == 2
    assert sum(piece["documents"] for lane in history["workers"] for piece in lane) == 100_000
    assert len(draw_timeline(history)) < 50_000


def test_nothing_recorded_is_nothing_drawn() -> None:
    """A run that was stopped at once has no timeline."""
    history: History = lay_out([])
    assert history["seconds"] == 0
    assert draw_timeline(history) == ""
    assert draw_diagram([]) == ""


def make_table(name: str, *refers: str, columns: int = 3) -> Entity:
    plain = [Attribute(name=f"c{n}", type="text", key=n == 0, required=n < 2, refers=None) for n in range(columns)]
    links = [Attribute(name=f"{to}_id", type="uuid", key=False, required=True, refers=f"{to}.c0") for to in refers]
    return Entity(name=name, columns=plain + links)


def test_diagram_joins_tables_by_their_keys() -> None:
    """Every reference is a line with its two ends named, and an arrow in the column; boxes do not overlap."""
    tables = [make_table("a"), make_table("b", "a", columns=20), make_table("c", "b", "a"), make_table("d", "d")]
    drawn = draw_diagram(tables)
    read = Reader(drawn)
    assert drawn.count('class="link"') == 4
    for told in ("b.a_id → a.c0", "c.b_id → b.c0", "d.d_id → d.c0", "→ a"):
        assert told in read.text
    boxes = list(arrange(tables, set()).values())
    for box in boxes:
        below = [b for b in boxes if b.column == box.column and b is not box and b.top >= box.top]
        assert all(b.top >= box.top + box.height for b in below)
        assert 0 <= box.column < ACROSS


def test_what_nearly_all_refer_to_is_not_joined() -> None:
    """Lines to the tenants would hide all others: named in the column, not drawn."""
    tables = [make_table("tenants"), *(make_table(f"t{n}", "tenants") for n in range(6)), make_table("last", "t1")]
    assert find_hubs(tables) == {"tenants"}
    drawn = draw_diagram(tables)
    assert drawn.count('class="link"') == 1
    assert Reader(drawn).text.count("→ tenants") >= 6


def test_diagram_of_rings_and_strangers_ends() -> None:
    """Tables that refer to each other in a ring, and to tables that are not there, are drawn all the same."""
    tables = [make_table("a", "b"), make_table("b", "c"), make_table("c", "a", "elsewhere")]
    assert draw_diagram(tables).count('class="link"') == 3
