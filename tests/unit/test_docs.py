"""The documentation: generated pages match the code, every code, option and setting is documented, commands exist."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.generate import codes, commands, configuration, pages, records, texts
from mappings.settings import Settings
from migrator.config.starter import STARTER, compose_starter
from migrator.findings import FINDINGS, REASONS
from migrator.verification.check_codes import CHECKS
from migrator.verification.record_diff import RELATIONS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLE = compose_starter(ROOT / "mappings")
PAGES = [*sorted(DOCS.glob("**/*.md")), ROOT / "README.md"]


@pytest.mark.parametrize("name", pages.PAGES)
def test_generated_pages_are_up_to_date(name: str) -> None:
    """`make docs` was run after the last change of the code."""
    assert (pages.FOLDER / name).read_text(encoding="utf-8") == pages.PAGES[name](), "run: python -m docs.generate"


@pytest.mark.parametrize(
    ("section", "known"),
    [
        ("findings", set(FINDINGS)),
        ("reasons", set(REASONS)),
        ("exit_codes", set(map(str, codes.exit_codes()))),
        ("records", set(records.tables())),
    ],
)
def test_every_code_has_a_text(section: str, known: set[str]) -> None:
    """Findings, reject reasons, exit codes and tables: each has a remedy or a meaning, and no text is left over."""
    assert set(texts.load_texts(section)) == known


def test_every_column_of_the_records_has_a_meaning() -> None:
    """By the comment in the SQL, or by the texts."""
    for table, columns in records.tables().items():
        for column, _, comment in columns:
            assert records.meaning_of(table, column, comment), f"{table}.{column}"


def test_every_relation_is_a_check() -> None:
    """A relation that `verify` compares is a check of level rows."""
    assert {each.name for each in RELATIONS} <= {name for name, each in CHECKS.items() if each.level == "rows"}


def test_every_check_is_on_the_page() -> None:
    """Each check code of `verify` has a row."""
    page = (pages.FOLDER / "checks.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in CHECKS)


def test_every_option_is_on_the_page() -> None:
    """Every command and every spelling of an option occurs on the page of commands."""
    page = (pages.FOLDER / "commands.md").read_text(encoding="utf-8")
    for name, command in commands.leaf_commands():
        _, _, section = page.partition(f"## {name}\n")
        section = section.partition("\n## ")[0]
        for spelling in [spelling for each in command.params for spelling in each.opts if spelling.startswith("-")]:
            assert re.search(rf"`[^`|]*{spelling}\b", section), (name, spelling)


def test_every_setting_has_a_description() -> None:
    """Each key of each section has a description in the JSON Schema."""
    for name, section in configuration.sections(configuration.schema()).items():
        for key, setting in section["properties"].items():
            assert setting.get("description"), f"{name}.{key}"


def uncommented() -> str:
    """The starter file for the mappings of LibreChat, with every setting and section active."""
    return re.sub(r"^# (?=(\[+[a-z]+\]+|[a-z_]+ = .*)$)", "", EXAMPLE, flags=re.MULTILINE)


@pytest.mark.parametrize("text", [STARTER, (ROOT / "migrate.toml.example").read_text(encoding="utf-8")])
def test_the_example_fits_the_json_schema(text: str) -> None:
    """migrate.toml.example is valid by the schema that editors use."""
    assert list(mismatches(tomllib.loads(text), configuration.schema())) == []


def test_every_setting_of_the_example_is_in_the_schema() -> None:
    """With all settings uncommented: one of two alternatives for `url` each, all known to the schema."""
    seen: set[tuple[str, str]] = set()
    lines, section = [], ""
    for line in uncommented().splitlines():
        heading, key = re.match(r"\[+([a-z]+)\]+$", line), re.match(r"([a-z_]+) = ", line)
        section = heading[1] if heading else section
        if key and (section, key[1]) in seen:
            continue
        seen |= {(section, key[1])} if key else set()
        lines.append(line)
    assert list(mismatches(tomllib.loads("\n".join(lines)), configuration.schema())) == []
    known = configuration.sections(configuration.schema())
    assert seen == {(name, key) for name, each in known.items() for key in each["properties"]}


def test_the_json_schema_finds_mistakes() -> None:
    """An unknown key, a wrong type and a value outside the list are errors."""
    wrong = {"source": {"url": 1}, "target": {"url": "x", "rls": "some"}, "engine": {"worker": 1, "workers": -1}}
    found = list(mismatches(wrong, configuration.schema()))
    assert [each.partition(":")[0] for each in found] == ["source.url", "target.rls", "engine.worker", "engine.workers"]


TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "object": (dict,),
    "array": (list,), "null": (type(None),),
}  # fmt: skip


def mismatches(value: Any, schema: Any, where: str = "", root: Any = None) -> Iterator[str]:
    """The differences between a value and a schema, for the keywords that ours uses; an unknown keyword is an error."""
    root = root or schema
    ignored = {"title", "description", "default", "format", "writeOnly", "propertyNames", "$defs", "$schema"}
    for keyword, wanted in schema.items():
        match keyword:
            case "$ref":
                yield from mismatches(value, root["$defs"][wanted.rpartition("/")[2]], where, root)
            case "anyOf":
                if all(list(mismatches(value, each, where, root)) for each in wanted):
                    yield f"{where}: no alternative fits"
            case "type":
                if not isinstance(value, TYPES[wanted]):
                    yield f"{where}: not of type {wanted}"
            case "enum":
                if value not in wanted:
                    yield f"{where}: not one of {wanted}"
            case "properties":
                for name in value:
                    path = f"{where}.{name}".strip(".")
                    if name in wanted:
                        yield from mismatches(value[name], wanted[name], path, root)
                    elif schema.get("additionalProperties") is False:
                        yield f"{path}: unknown"
            case "additionalProperties":
                if wanted is not False:
                    for name, each in value.items():
                        yield from mismatches(each, wanted, f"{where}.{name}", root)
            case "items":
                for place, each in enumerate(value):
                    yield from mismatches(each, wanted, f"{where}[{place}]", root)
            case "required":
                yield from (f"{where}: {name} is missing" for name in wanted if name not in value)
            case "minimum" | "maximum" | "minLength" | "pattern":
                if not within(value, keyword, wanted):
                    yield f"{where}: {keyword} {wanted}"
            case _:
                assert keyword in ignored, keyword


def within(value: Any, keyword: str, limit: Any) -> bool:
    match keyword:
        case "minimum":
            return bool(value >= limit)
        case "maximum":
            return bool(value <= limit)
        case "minLength":
            return bool(len(value) >= limit)
    return re.search(limit, value) is not None


def test_the_schema_file_is_json() -> None:
    """The schema that ships describes the same sections as the models."""
    shipped = json.loads((pages.FOLDER / "migrate.schema.json").read_text(encoding="utf-8"))
    assert set(shipped["properties"]) == {each.alias or name for name, each in Settings.model_fields.items()}


def example_commands() -> list[tuple[str, list[str]]]:
    """(page, words) of every `migrate …` in a block of code or after a prompt."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^ *```(?:console)?\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.M | re.S):
            for line in block.splitlines():
                command = re.sub(r"^\$ ", "", line.strip()).partition("#")[0]
                if re.match(r"migrate [a-z][^{\[]*$", command):
                    found.append((page.name, shlex.split(re.split(r" [>|&]", command)[0])))
    return found


def test_commands_in_the_documentation_exist() -> None:
    """Every command line in README and documentation names a command and options of ours."""
    known = dict(commands.leaf_commands())
    examples = example_commands()
    assert len(examples) > 30
    for page, words in examples:
        name = next((" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in known), None)
        assert name is not None, (page, words)
        ours = words[: words.index("--")] if "--" in words else words
        options = {spelling for each in known[name].params for spelling in each.opts}
        assert {word for word in ours if word.startswith("-")} <= options, (page, words)


def test_pages_are_in_the_navigation() -> None:
    """Every page is reachable from the site's navigation, and every link of README leads to a file."""
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS.glob("**/*.md"):
        assert str(page.relative_to(DOCS)) in navigation
    for link in re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert link.startswith("http") or (ROOT / link).exists(), link


def test_files_named_in_the_documentation_exist() -> None:
    """Each `folder/file.ext` in README, CHANGELOG and documentation is a file of the project, or of `migrator/`."""
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        for name in re.findall(r"`((?:[a-z_.-]+/)+[a-z0-9_.-]+\.(?:py|md|yml|toml|sql))`", page.read_text("utf-8")):
            if not name.startswith("shop_"):  # the example of own-migration.md
                assert (ROOT / name).exists() or (ROOT / "migrator" / name).exists(), (page.name, name)


def test_every_decision_has_a_number_of_its_own() -> None:
    """Others refer to decisions by their numbers."""
    numbers = re.findall(r"^### (\d+)\.", (DOCS / "decisions.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(set(numbers), key=int) == sorted(numbers, key=int)
    assert len(numbers) > 100
