"""The content of a page: one JSON document of the same shape for plans, runs and verifications.

It has names, paths and `_id`s, but no values of documents. Not here: filling in the content (plan_content.py,
run_content.py, verification_content.py) and drawing the page (page.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, cast

from migrator.findings import FINDINGS, REASONS
from migrator.formatting import format_count
from migrator.postgres.entities import Entity

# Display text for the values of `fate` that are not columns.
FATES = {"implied": "derivable", "residue": "stored in the ledger", "ledger": "document ID"}


class CollectionSummary(TypedDict):
    """One collection. `complete`: it was read to its end. `bytes` is the size as BSON."""

    name: str
    table: str | None
    documents: int
    bytes: int
    loaded: int
    rejected: int
    archived: int
    complete: bool
    fields: list[dict[str, Any]]
    fields_beyond: int


class Occurrence(TypedDict):
    """One code in one collection. `details`: path → count. `examples`: `_id`s as text, all of them if `complete`."""

    collection: str
    count: int
    details: dict[str, int]
    examples: list[str]
    complete: bool


class FindingKind(TypedDict):
    """A finding code or a reject reason, with its occurrences in all collections."""

    code: str
    severity: str
    meaning: str
    count: int
    occurrences: list[Occurrence]


class TimelineLane(TypedDict):
    """The time of one stage: seconds since the start of the run."""

    name: str
    kind: str
    began: float
    ended: float
    documents: int


class TimelineSpan(TypedDict):
    """A period in which one session worked on one stage without a break: seconds since the start of the run."""

    name: str
    kind: str
    began: float
    ended: float
    documents: int


class Throughput(TypedDict):
    """Documents and bytes read per bin. All bins have the same length (`bin` seconds of working time)."""

    bin: float
    documents: list[float]
    bytes: list[int]


class Timeline(TypedDict):
    """The timeline of a run. `seconds`: working time. A pause is (seconds since the start of the run, duration)."""

    seconds: float
    lanes: list[TimelineLane]
    sessions: list[list[TimelineSpan]]
    throughput: Throughput
    pauses: list[tuple[float, float]]


class TableSize(TypedDict):
    """Bytes of one table on disk: its data; TOAST data and maps; its indexes.

    `rows` is the server's estimate, None if there is none. `of_tool`: the table is in schema `migrator`.
    """

    name: str
    of_tool: bool
    rows: int | None
    table: int
    toast: int
    indexes: dict[str, int]


class CheckResult(TypedDict):
    """One check of a verification, as text. `title`, `meaning` and `remedy`: see `check_codes`, '' if unknown."""

    check: str
    title: str
    meaning: str
    remedy: str
    table: str
    ok: bool
    expected: str
    actual: str
    summary: str
    differences: int
    examples: list[str]


class Verification(TypedDict):
    """The result of `verify`. `rating`: good or bad. `level`: the level of the command; `meaning`: what it compares."""

    rating: str
    verdict: str
    level: str
    meaning: str
    seconds: float
    failed: list[CheckResult]
    passed: list[CheckResult]


class Content(TypedDict):
    """The whole page. `rating`: good, warning or bad."""

    kind: str
    rating: str
    verdict: str
    about: dict[str, str]
    figures: dict[str, float]
    blockers: list[str]
    collections: list[CollectionSummary]
    tables: dict[str, int]
    left_out: dict[str, str]
    rejects: list[FindingKind]
    findings: list[FindingKind]
    steps: list[dict[str, Any]]
    timeline: Timeline | None
    sizes: list[TableSize]
    entities: list[Entity]
    verification: Verification | None


def blank_content(kind: str, rating: str, verdict: str) -> Content:
    """Return a page that contains only its verdict. `kind`: plan, run or verify."""
    return Content(
        kind=kind,
        rating=rating,
        verdict=verdict,
        about={},
        figures={},
        blockers=[],
        collections=[],
        tables={},
        left_out={},
        rejects=[],
        findings=[],
        steps=[],
        timeline=None,
        sizes=[],
        entities=[],
        verification=None,
    )


def group(found: Iterable[tuple[str, Occurrence, Mapping[str, Any]]]) -> list[FindingKind]:
    """Group occurrences by code: warnings before notes, then the most frequent first.

    Each item holds a collection, an occurrence, and a mapping with `code` and `severity`.
    """
    kinds: dict[str, FindingKind] = {}
    for _, occurrence, values in found:
        code, severity = str(values["code"]), str(values["severity"])
        meaning = meaning_of(code, severity)
        empty = FindingKind(code=code, severity=severity, meaning=meaning, count=0, occurrences=[])
        kind = kinds.setdefault(code, empty)
        kind["count"] += occurrence["count"]
        kind["occurrences"].append(occurrence)
    for kind in kinds.values():
        kind["occurrences"].sort(key=lambda each: -each["count"])
    return sorted(kinds.values(), key=lambda each: (each["severity"] == "info", -each["count"], each["code"]))


def meaning_of(code: str, severity: str) -> str:
    """Return the meaning of a code, '' for an unknown one. Some codes are both a finding and a reject reason."""
    return REASONS.get(code, "") if severity == "reject" else FINDINGS.get(code, ("", ""))[1]


def describe_fate(fate: str) -> str:
    """Return where a field is mapped to, as display text."""
    return FATES.get(fate, fate)


def add_totals(collections: Iterable[CollectionSummary]) -> dict[str, int]:
    """Add up the numbers of all collections."""
    names = ("documents", "bytes", "loaded", "rejected", "archived")
    every = list(collections)
    return {name: sum(cast("dict[str, int]", each)[name] for each in every) for name in names}


def total_size(size: TableSize) -> int:
    """Return the bytes of a table with TOAST data, maps and indexes."""
    return size["table"] + size["toast"] + sum(size["indexes"].values())


def describe_outcome(totals: Mapping[str, int], verb: str) -> str:
    """Describe how many documents are loaded, rejected and archived."""
    parts = [f"{totals['loaded']:,} of {format_count(totals['documents'], 'documents')} {verb}"]
    parts += [f"{totals['rejected']:,} rejected (original documents kept)"] if totals["rejected"] else []
    parts += [f"{totals['archived']:,} archived"] if totals["archived"] else []
    return ", ".join(parts) + "."


def redact_content(content: Content, redact: Callable[[str], str]) -> Content:
    """Return the content with secrets removed from all values and names."""
    return cast("Content", _redact(content, redact))


def _redact(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(name)): _redact(inner, redact) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(inner, redact) for inner in value]
    return value
