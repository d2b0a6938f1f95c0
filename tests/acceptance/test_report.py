"""`migrate report` and `migrate plan --details` on the command line: a plan, a complete run, an incomplete run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bson
import pytest
from bson import ObjectId

from migrator.findings import REASONS
from migrator.report.components import MARKER
from tests.archive_writer import write_folder
from tests.driving import call, hurried
from tests.scenarios import write_config

pytestmark = pytest.mark.usefixtures("quick")

OWNER, STRANGER = ObjectId("64baaaafd882a3fac3fb6a01"), ObjectId("64baaaafd882a3fac3fb6aff")
SECRET = "open-sesame-4711"


def make_user(number: int, **more: Any) -> dict[str, Any]:
    id_ = OWNER if number == 0 else ObjectId()
    return {"_id": id_, "name": SECRET, "email": f"{SECRET}{number}@example.org", "provider": "local", **more}


def make_conversation(number: int, user: ObjectId) -> dict[str, Any]:
    return {
        "_id": ObjectId(),
        "conversationId": f"c-{number}",
        "title": SECRET,
        "user": str(user),
        "endpoint": "openAI",
    }


@pytest.fixture
def config(database: str, tmp_path: Path) -> Path:
    """A source with a user, a conversation of an unknown user, and a collection without a table."""
    documents = {
        "users": [make_user(0), make_user(1)],
        "conversations": [make_conversation(1, OWNER), make_conversation(2, STRANGER)],
        "<b>odd</b>": [{"_id": 1, "text": SECRET}],
    }
    dump = {name: [bson.encode(each) for each in several] for name, several in documents.items()}
    source = write_folder(tmp_path / "dump", dump)
    return write_config(tmp_path / "migrate.toml", f"dump:{source}", database)


def test_report_on_a_plan(config: Path, server_url: str, tmp_path: Path) -> None:
    """A saved plan becomes a page, without a target and without values of documents."""
    plan, html = tmp_path / "plan.json", tmp_path / "plan.html"
    with hurried(server_url):
        assert call("plan", "-c", config, "--out", plan).code == 0
    answer = call("report", "--plan", plan, "--html", html)
    assert answer.code == 0, answer.told
    assert str(html) in answer.out
    page = html.read_text(encoding="utf-8")
    assert page.startswith(MARKER)
    assert REASONS["orphan"] in page
    assert "&lt;b&gt;odd&lt;/b&gt;" in page
    assert "<b>odd</b>" not in page
    assert SECRET not in page


def test_report_on_a_run(config: Path, tmp_path: Path) -> None:
    """A complete run: figures of the journal, IDs of rejected documents, no values; the same as JSON."""
    assert call("run", "-c", config).code == 0
    html = tmp_path / "run.html"
    assert call("report", "-c", config, "--html", html).code == 0
    assert call("report", "-c", config, "--html", html).code == 0  # overwrites the earlier one
    answer = call("report", "-c", config, "--json")
    assert answer.code == 0, answer.told
    content = answer.json
    assert content["kind"] == "run"
    figures = {name: content["figures"][name] for name in ("documents", "loaded", "rejected", "archived")}
    assert figures == {"documents": 5, "loaded": 3, "rejected": 1, "archived": 1}
    timeline = content["timeline"]
    loaded = [each["name"] for each in timeline["lanes"] if each["kind"] == "load"]
    # Two workers begin at the same time with what needs no other collection: their order is not fixed.
    assert sorted(loaded) == ["load archived collections", "load conversations", "load users"]
    assert loaded.index("load users") < loaded.index("load conversations")
    assert {"schema", "reconcile users", "indexes", "validate foreign keys"} <= {
        each["name"] for each in timeline["lanes"]
    }
    assert all(0 <= each["began"] <= each["ended"] <= timeline["seconds"] for each in timeline["lanes"])
    assert round(sum(timeline["throughput"]["documents"])) == 5
    assert {"users", "conversations", "ledger"} <= {each["name"] for each in content["sizes"]}
    assert figures_add_up(content)
    assert {"users", "conversations", "messages"} <= {each["name"] for each in content["entities"]}
    rejects = [each for code in content["rejects"] for each in code["occurrences"]]
    assert [(each["collection"], each["count"]) for each in rejects] == [("conversations", 1)]
    page = html.read_text(encoding="utf-8")
    assert rejects[0]["examples"][0] in page
    assert "all documents accounted for" in page
    assert SECRET not in page + answer.out


def figures_add_up(content: Any) -> bool:
    sizes = (size["table"] + size["toast"] + sum(size["indexes"].values()) for size in content["sizes"])
    return bool(content["figures"]["target_bytes"] == sum(sizes))


def test_report_with_a_verification(config: Path, tmp_path: Path) -> None:
    """The output of `verify --json` is shown with the run; any other file is refused."""
    assert call("run", "-c", config).code == 0
    verified, html = tmp_path / "verify.json", tmp_path / "run.html"
    verified.write_text(call("verify", "-c", config, "--json").out, encoding="utf-8")
    assert call("report", "-c", config, "--verify", verified, "--html", html).code == 0
    assert "Verified: no differences in" in html.read_text(encoding="utf-8")
    verified.write_text("{}", encoding="utf-8")
    assert call("report", "-c", config, "--verify", verified, "--html", html).code == 2


def test_report_on_an_unfinished_run(config: Path, tmp_path: Path) -> None:
    """The page on a run of some collections says that the run is not complete, and how to resume it."""
    assert call("run", "-c", config, "--only", "users").code == 0
    html = tmp_path / "run.html"
    answer = call("report", "-c", config, "--html", html)
    assert answer.code == 0, answer.told
    assert "not complete" in answer.out
    assert "To resume: migrate run" in html.read_text(encoding="utf-8")


def test_report_refuses(config: Path, tmp_path: Path) -> None:
    """No run, no plan, an invalid plan, and a file that is not a report: each is a usage error."""
    html, other = tmp_path / "run.html", tmp_path / "other.html"
    other.write_text("other content", encoding="utf-8")
    assert call("report", "-c", config, "--html", html).code == 2
    assert call("report", "--plan", tmp_path / "none.json", "--html", html).code == 2
    (tmp_path / "plan.json").write_text('{"fingerprints": {}}', encoding="utf-8")
    assert call("report", "--plan", tmp_path / "plan.json", "--html", html).code == 2
    assert not html.exists()
    assert call("run", "-c", config).code == 0
    assert call("report", "-c", config, "--html", other).code == 2
    assert other.read_text(encoding="utf-8") == "other content"


def test_plan_on_the_screen(config: Path, server_url: str) -> None:
    """The plan shows first whether it can run, then rejected documents with reasons."""
    with hurried(server_url):
        told = call("plan", "-c", config, "-q").out
    lines = told.splitlines()
    first = next(line for line in lines if not line.startswith("warning: "))  # here: collections that are missing
    assert first == "✓ Can run: 3 of 5 documents will be loaded, 1 rejected, 1 archived."
    assert any(line.startswith(f"      1  orphan  {REASONS['orphan']}; see policies.orphan_owner") for line in lines)
    assert lines[-1].endswith("No blockers. For details: migrate plan --details conversations")


def test_plan_with_details(config: Path, server_url: str) -> None:
    """Details of one collection: fields with their columns, findings with IDs; a wrong name gets a hint."""
    with hurried(server_url):
        told = call("plan", "-c", config, "-q", "--details", "conversations").out
        wrong = call("plan", "-c", config, "--details", "conversation")
    assert any(line.split()[:3] == ["title", "string", "2"] for line in told.splitlines())
    assert f"reject  orphan: {REASONS['orphan']}" in told
    assert SECRET not in told
    assert wrong.code == 2
    assert "conversations" in wrong.err
