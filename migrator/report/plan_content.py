"""The content of a page on a saved plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migrator.errors import UsageError
from migrator.formatting import format_count, shorten
from migrator.report.content import (
    CollectionSummary,
    Content,
    Occurrence,
    add_totals,
    blank_content,
    describe_outcome,
    group,
)


def content_of_plan(plan: Mapping[str, Any]) -> Content:
    """Return the content for a saved plan. Raises: `UsageError` if the plan is incomplete."""
    try:
        return _read_plan(plan)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError("the plan is incomplete", hint="Create it again: migrate plan --out FILE") from error


def _read_plan(plan: Mapping[str, Any]) -> Content:
    source, estimate, blockers = plan["source"], plan["estimate"], [str(each) for each in plan["blocking"]]
    collections = [_summarize(each) for each in source["collections"]]
    totals = add_totals(collections)
    findings = [(each["name"], finding) for each in source["collections"] for finding in each["findings"]]
    rating, verdict = judge_plan(totals, len(blockers))
    figures = {**totals, "seconds": float(estimate["seconds"]), "target_bytes": int(estimate["target_bytes"])}
    figures |= {f"embedding_{name}": value for name, value in estimate["embedding"].items() if value}
    content = blank_content("plan", rating, verdict)
    about = {str(name).capitalize(): str(value) for name, value in plan.get("about", {}).items()}
    content["about"] = {**about, "Fingerprint": str(plan["fingerprint"])[:16]}
    content["figures"] = figures
    content["blockers"] = blockers
    content["collections"] = collections
    content["tables"] = dict(plan["tables"])
    content["left_out"] = dict(source.get("left_out", {}))
    items = [(name, _occurrence(name, each), each) for name, each in findings]
    content["rejects"] = group(item for item in items if item[2]["severity"] == "reject")
    content["findings"] = group(item for item in items if item[2]["severity"] != "reject")
    content["steps"] = list(plan["steps"])
    content["entities"] = list(plan.get("entities", []))
    return content


def _summarize(collection: Mapping[str, Any]) -> CollectionSummary:
    predicted = collection["predicted"]
    return CollectionSummary(
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


def _occurrence(name: str, finding: Mapping[str, Any]) -> Occurrence:
    count, given = int(finding["count"]), finding["examples"]
    examples = list(dict.fromkeys(shorten(str(each)) for each in given))
    return Occurrence(collection=name, count=count, details={}, examples=examples, complete=len(given) >= count)


def judge_plan(totals: Mapping[str, int], blockers: int) -> tuple[str, str]:
    """Return the rating and the verdict of a plan."""
    outcome = describe_outcome(totals, "will be loaded")
    if blockers:
        return "bad", f"The plan cannot run: {format_count(blockers, 'blockers')}. Predicted result: {outcome}"
    return ("warning" if totals["rejected"] else "good"), f"No blockers. {outcome}"
