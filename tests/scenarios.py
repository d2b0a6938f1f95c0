"""Scenarios: fixtures/scenarios/<name> as values, as a mongodump folder, and as a migrate.toml.

A scenario is a folder with `documents/` (`<collection>.json`: an array of extended JSON; `<collection>.bson` where JSON
cannot say it) and `scenario.toml`: `why`; sections for migrate.toml; `[before] sql`, what stands in the target's tables
before; `[[generate]]`, long texts; `[expect]`. Beside them there may be `recordings.csv` and `chunks.jsonl`, which the
sections [recordings] and [chunks] then name. Nothing here runs a command or looks into a database.

A name that begins with `$$` in the JSON stands for one that begins with `$`, which extended JSON would take for itself.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
from bson.binary import UuidRepresentation
from bson.codec_options import DatetimeConversion
from bson.json_util import JSONMode, JSONOptions, loads

from migrator.documents.codec import CODEC_OPTIONS
from migrator.documents.raw_bson import split_documents
from tests.archive_writer import write_folder

FOLDER = Path(__file__).parents[1] / "fixtures" / "scenarios"
OPTIONS = JSONOptions(
    json_mode=JSONMode.CANONICAL,
    tz_aware=False,
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
)
OURS = frozenset({"why", "before", "generate", "expect"})  # every other table of scenario.toml is migrate.toml's


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedRow:
    """Columns that one row must have: SQL literals as text, None for NULL."""

    table: str
    id: str
    columns: dict[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What must come out. Collections that a mapping is not told of must have neither rejects nor findings."""

    outcomes: dict[str, dict[str, int]]  # collection → loaded, rejected, archived
    rejects: dict[str, dict[str, int]]  # collection → reason → documents
    findings: dict[str, dict[str, int]]  # collection → code → findings
    rows: tuple[ExpectedRow, ...]
    absent: dict[str, list[str]]  # table → ids that no row has
    blockers: int  # of the plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One defect, where it comes from, and what must become of it."""

    name: str
    why: str
    documents: dict[str, list[bytes]]
    settings: dict[str, Any]
    before: str | None
    beside: dict[str, int]  # collections from elsewhere → documents
    expect: Expectation = field(repr=False)

    @property
    def tables_before(self) -> bool:
        """Whether the target holds the application's tables, and rows, when the migration begins."""
        return self.before is not None


def scenario_names() -> list[str]:
    return sorted(path.name for path in FOLDER.iterdir() if (path / "scenario.toml").exists())


def read_scenario(name: str) -> Scenario:
    told = tomllib.loads((FOLDER / name / "scenario.toml").read_text(encoding="utf-8"))
    documents = dict(_read_documents(FOLDER / name / "documents"))
    for each in told.get("generate", ()):
        _generate(documents, each)
    settings = {key: value for key, value in told.items() if key not in OURS}
    beside = dict(_find_beside(FOLDER / name, settings))
    return Scenario(
        name=name,
        why=told["why"],
        documents=documents,
        settings=settings,
        before=told.get("before", {}).get("sql"),
        beside=beside,
        expect=_read_expectation(told["expect"]),
    )


def _find_beside(folder: Path, settings: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Names the files in the settings, and counts what is in them."""
    recordings, chunks = folder / "recordings.csv", folder / "chunks.jsonl"
    if recordings.exists():
        settings["recordings"] = {"url": f"csv:{recordings}", **settings.get("recordings", {})}
        with recordings.open(encoding="utf-8-sig", newline="") as file:
            yield "recordings", sum(1 for row in csv.reader(file) if row) - 1
    if chunks.exists():
        settings["chunks"] = {"url": f"jsonl:{chunks}", **settings.get("chunks", {})}
        yield "document_chunks", sum(1 for line in chunks.read_bytes().splitlines() if line.strip())


def _read_documents(folder: Path) -> Iterator[tuple[str, list[bytes]]]:
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json":
            parsed = _unescape(loads(path.read_text(encoding="utf-8"), json_options=OPTIONS))
            yield path.stem, [bson.encode(document, codec_options=CODEC_OPTIONS) for document in parsed]
        elif path.suffix == ".bson":
            yield path.stem, list(split_documents(path.read_bytes()))


def _unescape(value: Any) -> Any:
    if type(value) is dict:
        return {name[1:] if name.startswith("$$") else name: _unescape(item) for name, item in value.items()}
    return [_unescape(item) for item in value] if isinstance(value, list) else value


def _generate(documents: dict[str, list[bytes]], told: dict[str, Any]) -> None:
    """Puts a long text into a document: `words` different ones, or `times` the same `text`."""
    if "words" in told:
        text = " ".join(f"w{number:07d}" for number in range(told["words"]))
    else:
        text = told["text"] * told["times"]
    place = told["document"]
    document = bson.decode(documents[told["collection"]][place], CODEC_OPTIONS)
    document[told["field"]] = text
    documents[told["collection"]][place] = bson.encode(document, codec_options=CODEC_OPTIONS)


def _read_expectation(told: dict[str, Any]) -> Expectation:
    rows = told.get("rows", ())
    return Expectation(
        outcomes={
            name: {"loaded": 0, "rejected": 0, "archived": 0, **counts} for name, counts in told["outcomes"].items()
        },
        rejects=told.get("rejects", {}),
        findings=told.get("findings", {}),
        rows=tuple(_read_row(row) for row in rows),
        absent=told.get("absent", {}),
        blockers=told.get("blockers", 0),
    )


def _read_row(told: dict[str, Any]) -> ExpectedRow:
    columns = {name: _spell(value) for name, value in told.items() if name not in ("table", "id", "null")}
    return ExpectedRow(
        table=told["table"], id=str(told["id"]), columns={**columns, **dict.fromkeys(told.get("null", ()))}
    )


def _spell(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def write_dump(scenario: Scenario, folder: Path, *, gzipped: bool = False) -> Path:
    """The scenario's documents as mongodump would write them."""
    return write_folder(folder, scenario.documents, gzipped=gzipped)


def write_config(path: Path, source: str, target: str, settings: dict[str, Any] | None = None) -> Path:
    """A migrate.toml; `settings` are further sections."""
    sections: dict[str, Any] = {"source": {"url": source}, "target": {"url": target}}
    for name, section in (settings or {}).items():
        sections[name] = {**sections.get(name, {}), **section} if isinstance(section, dict) else section
    path.write_text("\n".join(_write_section(name, section) for name, section in sections.items()), encoding="utf-8")
    return path


def _write_section(name: str, section: Any) -> str:
    if isinstance(section, list):
        return "\n".join(f"[[{name}]]\n{_write_keys(each)}" for each in section)
    return f"[{name}]\n{_write_keys(section)}"


def _write_keys(section: dict[str, Any]) -> str:
    return "".join(f"{key} = {_write_value(value)}\n" for key, value in section.items())


def _write_value(value: Any) -> str:
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_write_value(item)}" for key, item in value.items()) + " }"
    escaped = re.sub(r'["\\]', lambda found: "\\" + found[0], str(value)).replace("\n", "\\n")
    return f'"{escaped}"'
