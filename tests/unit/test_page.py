"""The page on a plan or a run: no markup injection, no external resources, fast rendering."""

from __future__ import annotations

import cProfile
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import mappings  # noqa: F401  # declares codes
from migrator.errors import UsageError
from migrator.findings import REASONS
from migrator.formatting import format_share, format_size
from migrator.postgres.entities import Attribute, Entity
from migrator.report.components import MARKER, STYLE, clean
from migrator.report.content import Content, TableSize, redact_content
from migrator.report.page import render_page, save_page
from migrator.report.plan_content import content_of_plan
from migrator.report.run_content import judge_run
from migrator.report.sankey import draw_flow
from migrator.report.timeline import Activity, build_timeline

NASTY = "</script><img src=x onerror=\"alert('1')\">&amp;<b>]]>"
VOID = {"meta", "br"}


class Reader(HTMLParser):
    """Parses a page strictly: every element must be closed in the right place."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))  # in SVG

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.parts)


def make_plan(names: list[str], findings: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Return a plan as `migrate plan --out` saves it; all collections are equal."""
    field = {"path": f"{names[0]}.a[]", "types": {names[0]: 3}, "present": 3, "fate": names[0]}
    collections = [
        {"name": name, "documents": 10, "bytes": 1000, "mapping": name, "fields_beyond": 1, "fields": [field],
         "predicted": {"loaded": 7, "rejected": 2, "archived": 1}, "findings": findings}
        for name in names
    ]  # fmt: skip
    return {
        "fingerprint": "f" * 64,
        "fingerprints": {},
        "source": {"collections": collections, "left_out": {names[0]: names[0]}},
        "tables": dict.fromkeys(names, 7),
        "steps": [{"name": f"load {name}", "needs": ["prepare", name]} for name in names],
        "blockers": 1,
        "blocking": [names[0]],
        "estimate": {"seconds": 12.5, "target_bytes": 10**9, "embedding": {"chunks": 4, "tokens": 900, "usd": 0.0}},
        **more,
    }


def make_finding(code: str = "orphan", severity: str = "reject", count: int = 2, example: str = "1") -> dict[str, Any]:
    return {"code": code, "severity": severity, "count": count, "examples": [example, f"{example}b", f"{example}c"]}


def as_run(content: Content, name: str) -> Content:
    """Turn the content of a plan into the content of a run."""
    run = Content(**{**content, "kind": "run", "about": {"Run": name, name: name}})
    run["timeline"] = build_timeline(
        Activity(began=at, ended=at + 60, lane=f"load {name}", kind="load", worker=at // 2000, documents=10, bytes=99)
        for at in range(0, 7200, 1000)
    )
    run["sizes"] = [
        TableSize(name=name, of_tool=tool, rows=5, table=9, toast=8, indexes={name: 7}) for tool in (False, True)
    ]
    run["entities"] = [make_entity(name, name), make_entity(f"{name}2", name)]
    run["steps"] = []
    return run


def make_entity(name: str, refers: str) -> Entity:
    columns = [Attribute(name=name, type=name, key=True, required=True, refers=None)]
    columns.append(Attribute(name=f"{name}_of", type=name, key=False, required=False, refers=f"{refers}.{refers}"))
    return Entity(name=name, columns=columns)


def test_markup_in_names_is_escaped() -> None:
    """Names and IDs from the data are text on the page, never markup."""
    plan = make_plan([NASTY, f"{NASTY}2"], [make_finding(NASTY, NASTY, 9, NASTY), make_finding(example=NASTY)])
    content = content_of_plan(plan)
    for page in (render_page(content), render_page(as_run(content, NASTY))):
        read = Reader(page)
        names = {tag for tag, _ in read.elements}
        assert not names & {"script", "img", "iframe", "link", "object", "form"}
        assert not [name for _, attributes in read.elements for name in attributes if name.startswith("on")]
        assert NASTY in read.text


def test_no_external_resources() -> None:
    """No URL leads out of the file, and the content security policy forbids external resources."""
    read = Reader(render_page(content_of_plan(make_plan(["users"], [make_finding()]))))
    for _, attributes in read.elements:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\(|@import|https?:", STYLE)
    policies = [a["content"] for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert [policy is not None and policy.startswith("default-src 'none'") for policy in policies] == [True]


def test_links_have_targets() -> None:
    """Every link within the page has a target."""
    read = Reader(render_page(content_of_plan(make_plan(["users", "files"], [make_finding()]))))
    targets = {f"#{attributes['id']}" for _, attributes in read.elements if "id" in attributes}
    links = {attributes["href"] for _, attributes in read.elements if "href" in attributes}
    assert links == {"#fields-0", "#fields-1"} <= targets


def test_control_characters_are_escaped() -> None:
    """Control characters and characters that change the text direction become visible escapes."""
    assert clean("a\x00\x1b\x85\u202e\u2066b\tc") == "a\\x00\\x1b\\x85\\u202e\\u2066b\tc"


MOST_CALLS = 400_000  # of functions, while 10,000 findings are rendered


def test_ten_thousand_findings_render_fast() -> None:
    """10,000 findings: few function calls, less than 3 MB, few elements per finding."""
    findings = [
        make_finding(f"code_{number:03}", "warning", 7, f"64baaaafd882a3fac3fb{number:04}") for number in range(100)
    ]
    content = content_of_plan(make_plan([f"collection{number}" for number in range(100)], findings))
    with cProfile.Profile() as profile:
        page = render_page(content)
    assert sum(entry.callcount for entry in profile.getstats()) < MOST_CALLS
    assert len(page) < 3_000_000
    read = Reader(page)
    assert len(read.elements) < 6 * 10_000
    assert sum(tag == "details" for tag, _ in read.elements) < 250


def test_light_dark_and_print() -> None:
    """The style supports light and dark themes, narrow screens and paper."""
    for rule in ("color-scheme:light dark", "@media (prefers-color-scheme:dark)", "@media print", "max-width:600px"):
        assert rule in STYLE
    assert STYLE.count("{") == STYLE.count("}")
    used = set(re.findall(r"var\((--\w+)\)", STYLE)) - {"--fill", "--tone"}
    light, dark = STYLE.split("@media (prefers-color-scheme:dark)")[:2]
    assert all(f"{name}:" in light for name in used)
    assert all(f"{name}:" in dark.split("}}")[0] for name in used)


def test_plan_shows_blockers_first() -> None:
    """Verdict, blockers and rejected documents come before the figures by collection."""
    text = Reader(render_page(content_of_plan(make_plan(["users"], [make_finding()], blocking=["too old"])))).text
    places = [text.index(part) for part in ("cannot run: 1 blocker", "too old", "Rejected documents", "Collections")]
    assert places == sorted(places)
    for part in ("12 s", "1.0 GB", "7 of 10 documents", REASONS["orphan"], "users.a[]", "30.0 %"):
        assert part in text


def test_code_can_be_finding_and_reason() -> None:
    """`too_long` is a finding if the text was cut and a reason if the document was rejected: both are shown."""
    content = content_of_plan(make_plan(["a"], [make_finding("too_long"), make_finding("too_long", "warning", 5)]))
    assert [(each["severity"], each["count"]) for each in (*content["rejects"], *content["findings"])] == [
        ("reject", 2),
        ("warning", 5),
    ]


def test_examples_show_whether_they_are_complete() -> None:
    """Three examples for two findings are complete; for nine findings they are the first three."""
    content = content_of_plan(make_plan(["a"], [make_finding(count=2), make_finding("defaulted", "info", 9)]))
    assert [each["occurrences"][0]["complete"] for each in (*content["rejects"], *content["findings"])] == [True, False]
    assert render_page(content).count("(the first 3)") == 1


def test_empty_source() -> None:
    """A plan without collections renders."""
    plan = make_plan(["a"], [], blocking=[], tables={}, source={"collections": [], "left_out": {}})
    content = content_of_plan(plan)
    assert content["rating"] == "good"
    assert draw_flow(content["collections"]) == ""
    Reader(render_page(content))


@pytest.mark.parametrize("lacking", ["source", "estimate", "blocking", "steps"])
def test_incomplete_plan(lacking: str) -> None:
    """An incomplete plan is refused with a hint, not with a traceback."""
    plan = make_plan(["a"], [])
    del plan[lacking]
    with pytest.raises(UsageError, match="incomplete"):
        content_of_plan(plan)


def test_secrets_are_redacted() -> None:
    """Redaction covers all values and names, and keeps figures and structure."""
    content = content_of_plan(make_plan(["hunter2"], [make_finding(example="hunter2")]))
    redacted = redact_content(content, lambda text: text.replace("hunter2", "***"))
    assert "hunter2" not in render_page(redacted)
    assert redacted["figures"] == content["figures"]


@pytest.mark.parametrize(
    ("status", "loaded", "rating", "phrase"),
    [
        ("done", 10, "good", "all documents accounted for"),
        ("stopped", 10, "warning", "not complete"),
        ("running", 10, "warning", "running or was interrupted"),
        ("done", 9, "bad", "does not account for 1 "),
    ],
)
def test_verdict_of_a_run(status: str, loaded: int, rating: str, phrase: str) -> None:
    """A run is good only if it is complete and all documents are accounted for."""
    totals = {"documents": 10, "bytes": 1, "loaded": loaded, "rejected": 0, "archived": 0}
    judged = judge_run(status, totals, 3)
    assert judged[0] == rating
    assert phrase in judged[1]


def test_flow_merges_small_collections() -> None:
    """Small collections share one ribbon, and the sums are complete."""
    content = content_of_plan(make_plan([f"c{number}" for number in range(40)], []))
    drawn = draw_flow(content["collections"])
    assert "28 smaller" in drawn
    assert drawn.count("<path") == 13 * 3
    assert ">80<" in drawn  # rejected in total


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [(0, 9, "0 %"), (9, 9, "100 %"), (1, 10**6, "0.1 %"), (999_999, 10**6, "99.9 %"), (0, 0, "0 %")],
)
def test_shares_do_not_round_to_0_or_100(part: int, whole: int, shown: str) -> None:
    """999,999 of a million is not 100 %."""
    assert format_share(part, whole) == shown


@pytest.mark.parametrize(("size", "shown"), [(0, "0 B"), (999, "999 B"), (1234, "1.2 kB"), (5e13, "50.0 TB")])
def test_sizes(size: float, shown: str) -> None:
    """Sizes use the appropriate unit."""
    assert format_size(size) == shown


def test_page_overwrites_only_pages(tmp_path: Path) -> None:
    """An earlier report is overwritten; any other file or folder is not."""
    path, other = tmp_path / "report.html", tmp_path / "notes.html"
    page = render_page(content_of_plan(make_plan(["a"], [])))
    save_page(path, page)
    save_page(path, f"{MARKER}\nnewer")
    assert path.read_text(encoding="utf-8") == f"{MARKER}\nnewer"
    assert page.startswith(f"{MARKER}\n<!doctype html>")
    other.write_text("<!doctype html>mine", encoding="utf-8")
    for taken in (other, tmp_path, tmp_path / "missing" / "report.html"):
        with pytest.raises(UsageError):
            save_page(taken, page)
    assert other.read_text(encoding="utf-8") == "<!doctype html>mine"
