"""`migrate rejects list`: groups, filters, pages, the missing ID and the setting that loads the documents."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.test_rejects import GONE, TALKS, make_dump
from tests.driving import call
from tests.scenarios import write_config


def test_rejects_are_grouped_filtered_and_paged(database: str, tmp_path: Path) -> None:
    """Every group states its number, cause and remedy; the detail of an orphan names the missing ID."""
    config = write_config(tmp_path / "migrate.toml", f"dump:{make_dump(tmp_path / 'dump', mended=False)}", database)
    ran = call("run", "-c", config)
    assert 'see policies.orphan_owner = "EMAIL"' in ran.out
    told = call("rejects", "list", "-c", config).out
    assert "conversations, orphan: 1 document. Cause: refers to a missing or rejected parent record." in told
    assert 'To load: correct the source, or set policies.orphan_owner = "EMAIL"' in told
    assert f": {GONE}" in told, told
    assert f"conversationId: {TALKS[1]}" in told
    assert "1 to 3 of 3 rejected documents." in told
    found = call("rejects", "list", "-c", config, "--collection", "messages", "--reason", "orphan", "--json").json
    assert [each["collection"] for each in found["rejects"]] == ["messages"]
    assert found["total"] == 1
    first = call("rejects", "list", "-c", config, "--limit", "2")
    assert "1 to 2 of 3 rejected documents. Next page: --page 2" in first.out
    assert "3 to 3 of 3 rejected documents." in call("rejects", "list", "-c", config, "--limit", "2", "--page", "2").out
    assert "No documents on page 9." in call("rejects", "list", "-c", config, "--page", "9").out
    assert "No rejected documents." in call("rejects", "list", "-c", config, "--collection", "files").out
    unknown = call("rejects", "list", "-c", config, "--reason", "orfan")
    assert unknown.code == 2
    assert "Use one of: duplicate_email" in unknown.err
