"""docs/how-to/recipes.md: each recipe is a valid mapping, gives the row that the page shows, restores the document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from bson import encode

from migrator import findings
from migrator.documents.codec import decode, same
from migrator.findings import FINDINGS
from migrator.mapping.collection import Collection
from migrator.mapping.context import Match
from migrator.mapping.validation import validate
from migrator.translation.interpreter import Translation, rebuild, source_id_of
from migrator.translation.outcomes import Archive, Loaded, Reject

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "recipes.md"
TEXT = PAGE.read_text(encoding="utf-8")
IMPORTS, *_ = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
RECIPES = {
    title: tuple(re.findall(r"```python\n(.*?)```", body, re.DOTALL))
    for title, body in re.findall(r"^### (.*?)\n(.*?)(?=^##|\Z)", TEXT, re.DOTALL | re.MULTILINE)
}


class Found(dict[Any, tuple[Match, ...]]):
    """Every key leads to a row with the same ID."""

    def get(self, key: Any, default: Any = ()) -> Any:
        return (Match(key, {}),)


def test_there_are_twenty() -> None:
    """The page has at least twenty recipes, each with a mapping and an example."""
    assert len(RECIPES) >= 20
    assert all(len(blocks) == 2 for blocks in RECIPES.values())


@pytest.mark.parametrize("title", RECIPES)
def test_recipe(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example becomes the row, the reject or the archived document that the page shows, and is restored exactly."""
    declared: dict[str, tuple[str, str]] = {}
    monkeypatch.setattr(findings, "declare", lambda codes, reasons: declared.update(codes))  # only in this test
    names: dict[str, Any] = {}
    for block in (IMPORTS, *RECIPES[title]):
        exec(block, names)
    collection: Collection = names["mapping"]
    others = [Collection(name=name, table=names["table"](name), key=collection.key, rules=()) for name in ("x",)]
    referred = {lookup.collection for lookup in collection.lookups}
    mappings = {collection.name: collection, **dict.fromkeys(referred, others[0])}
    if not referred:
        validate({collection.name: collection}, names["metadata"])
    found = {lookup.name: {} if lookup.collection == "nobody" else Found() for lookup in collection.lookups}
    document = decode(encode(names["document"]))
    translation = Translation(mappings[collection.name], None, found)
    result, found_here = translation.translate(document)
    assert [finding.code for finding in found_here] == names.get("findings", [])
    assert {finding.code for finding in found_here} <= FINDINGS.keys() | declared.keys()
    if "reason" in names:
        assert isinstance(result, Reject)
        assert result.reason == names["reason"]
    elif names.get("archived"):
        assert isinstance(result, Archive)
    else:
        assert isinstance(result, Loaded)
        assert {name: result.row[name] for name in names["row"]} == names["row"]
        rebuilt = rebuild(collection, decode(source_id_of(document)), result.row, result.residue)
        assert rebuilt.keys() == document.keys()
        assert all(same(rebuilt[name], document[name]) for name in document)
