"""What a page says, as one JSON document of one shape for plans and runs; here: from a saved plan.

Not here: reading a run from the journal (journal.py), and how a page looks (layout.py). Names, paths and `_id`s
only: no value of a document gets in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, cast

from migrator.errors import UsageError
from migrator.findings import FINDINGS, REASONS
from migrator.postgres.entities import Entity

LONGEST = 120  # characters of an `_id` or a path; either may be data of any length


class Entry(TypedDict):
    """One collection. `complete`: whether its end has been read. `bytes` are BSON."""

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
    """One code in one collection. `details`: path → how often; `examples`: `_id`s as text; `complete`: all of them."""

    collection: str
    count: int
    details: dict[str, int]
    examples: list[str]
    complete: bool


class FindingKind(TypedDict):
    """A kind of finding, or a reason of rejection, wherever it turned up."""

    code: str
    severity: str
    meaning: str
    count: int
    spots: list[Occurrence]


class TimelineLane(TypedDict):
    """What was worked on when: seconds since the run began."""

    name: str
    kind: str
    began: float
    ended: float
    documents: int


class TimelineSpan(TypedDict):
    """What one session was at, without a break: seconds since the run began."""

    name: str
    kind: str
    began: float
    ended: float
    documents: int


class Throughput(TypedDict):
    """Documents and bytes read in each of equal bins (`bin` seconds) of the time worked."""

    bin: float
    documents: list[float]
    bytes: list[int]


class History(TypedDict):
    """What was done when. `seconds` of work; a pause is (seconds since the run began, seconds it lasted)."""

    seconds: float
    lanes: list[TimelineLane]
    workers: list[list[TimelineSpan]]
    pace: Throughput
    pauses: list[tuple[float, float]]


class Size(TypedDict):
    """One table as it lies on disk, in bytes: its rows, long values and maps `beside`, its indexes.

    `rows` are the server's estimate, None where it has none.
    """

    name: str
    of_tool: bool
    rows: int | None
    table: int
    beside: int
    indexes: dict[str, int]


class Verified(TypedDict):
    """One check of a verification, in words."""

    check: str
    table: str
    ok: bool
    expected: str
    actual: str
    differences: int
    examples: list[str]


class Verification(TypedDict):
    """What `verify` found. `level` is good or bad; `depth` is the level of the command, `meaning` what that is."""

    level: str
    verdict: str
    depth: str
    meaning: str
    seconds: float
    failed: list[Verified]
    passed: list[Verified]


class Content(TypedDict):
    """The whole page. `level` is good, warning or bad."""

    kind: str
    level: str
    verdict: str
    about: dict[str, str]
    figures: dict[str, float]
    blockers: list[str]
    collections: list[Entry]
    tables: dict[str, int]
    left_out: dict[str, str]
    rejects: list[FindingKind]
    findings: list[FindingKind]
    steps: list[dict[str, Any]]
    history: History | None
    sizes: list[Size]
    entities: list[Entity]
    verification: Verification | None


def blank_content(kind: str, level: str, verdict: str) -> Content:
    """A page that says nothing yet but its verdict. `kind`: plan, run or verify."""
    return Content(
        kind=kind,
        level=level,
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
        history=None,
        sizes=[],
        entities=[],
        verification=None,
    )


def content_of_plan(plan: Mapping[str, Any]) -> Content:
    """What a saved plan says. Raises `UsageError` where it lacks what `migrate plan --out` writes."""
    try:
        return _content_of_plan(plan)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError("this plan is not complete", hint="Make it again: migrate plan --out FILE") from error


def _content_of_plan(plan: Mapping[str, Any]) -> Content:
    source, estimate, blockers = plan["source"], plan["estimate"], [str(each) for each in plan["blocking"]]
    entries = [_entry(each) for each in source["collections"]]
    totals = total(entries)
    told = [(each["name"], finding) for each in source["collections"] for finding in each["findings"]]
    level, verdict = judge_plan(totals, len(blockers))
    figures = {**totals, "seconds": float(estimate["seconds"]), "target_bytes": int(estimate["target_bytes"])}
    figures |= {f"embedding_{name}": value for name, value in estimate["embedding"].items() if value}
    content = blank_content("plan", level, verdict)
    content["about"] = {"Fingerprint": str(plan["fingerprint"])[:16]}
    content["figures"] = figures
    content["blockers"] = blockers
    content["collections"] = entries
    content["tables"] = dict(plan["tables"])
    content["left_out"] = dict(source.get("left_out", {}))
    content["rejects"] = group((name, _spot(name, each), each) for name, each in told if each["severity"] == "reject")
    content["findings"] = group((name, _spot(name, each), each) for name, each in told if each["severity"] != "reject")
    content["steps"] = list(plan["steps"])
    content["entities"] = list(plan.get("entities", []))
    return content


def _entry(collection: Mapping[str, Any]) -> Entry:
    predicted = collection["predicted"]
    return Entry(
        name=collection["name"],
        table=collection["mapping"],
        documents=int(collection["documents"]),
        bytes=int(collection["bytes"]),
        loaded=int(predicted["loaded"]),
        rejected=int(predicted["rejected"]),
        archived=int(predicted["archived"]),
        complete=True,
        fields=list(collection["fields"]),
        fields_beyond=int(collection.get("fields_beyond", 0)),
    )


def _spot(name: str, finding: Mapping[str, Any]) -> Occurrence:
    count, given = int(finding["count"]), finding["examples"]
    examples = list(dict.fromkeys(shorten(str(each)) for each in given))
    return Occurrence(collection=name, count=count, details={}, examples=examples, complete=len(given) >= count)


def group(found: Iterable[tuple[str, Occurrence, Mapping[str, Any]]]) -> list[FindingKind]:
    """By code, the worst and most frequent first. Each item: collection, spot, and at least `code` and `severity`."""
    codes: dict[str, FindingKind] = {}
    for _, spot, told in found:
        name, severity = str(told["code"]), str(told["severity"])
        empty = FindingKind(code=name, severity=severity, meaning=meaning_of(name, severity), count=0, spots=[])
        code = codes.setdefault(name, empty)
        code["count"] += spot["count"]
        code["spots"].append(spot)
    for code in codes.values():
        code["spots"].sort(key=lambda spot: -spot["count"])
    return sorted(codes.values(), key=lambda code: (code["severity"] == "info", -code["count"], code["code"]))


def meaning_of(code: str, severity: str) -> str:
    """Some codes are both a finding and a reason; an unknown one has no meaning, and no one fails over it."""
    return REASONS.get(code, "") if severity == "reject" else FINDINGS.get(code, ("", ""))[1]


def total(entries: Iterable[Entry]) -> dict[str, int]:
    names = ("documents", "bytes", "loaded", "rejected", "archived")
    every = list(entries)
    return {name: sum(cast("dict[str, int]", each)[name] for each in every) for name in names}


def judge_plan(totals: Mapping[str, int], blockers: int) -> tuple[str, str]:
    """How serious it is, and the sentence that everything else explains."""
    outcome = tell_outcome(totals, "would become rows")
    if blockers:
        some = "1 blocker" if blockers == 1 else f"{blockers:,} blockers"
        return "bad", f"This plan cannot run: {some}. Otherwise, {outcome}"
    return ("warning" if totals["rejected"] else "good"), f"Nothing is in the way. {outcome}"


def total_size(size: Size) -> int:
    """Bytes of a table with all that belongs to it."""
    return size["table"] + size["beside"] + sum(size["indexes"].values())


def tell_outcome(totals: Mapping[str, int], become_rows: str) -> str:
    told = [f"{totals['loaded']:,} of {totals['documents']:,} documents {become_rows}"]
    told += [f"{totals['rejected']:,} rejected (kept, with reasons)"] if totals["rejected"] else []
    told += [f"{totals['archived']:,} archived whole"] if totals["archived"] else []
    return "; ".join(told) + "."


def shorten(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def mask_content(content: Content, mask: Callable[[str], str]) -> Content:
    """The same without secrets, value by value, names too."""
    return cast("Content", _masked(content, mask))


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {mask(str(name)): _masked(inner, mask) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(inner, mask) for inner in value]
    return value
