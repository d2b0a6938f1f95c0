"""A saved plan: what it was made from, so that `run --plan` executes exactly that or refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from migrator.errors import PlanError, UsageError
from migrator.workflows.plan import PlanReport
from migrator.workflows.reports import RunReport

Plan = dict[str, Any]  # as `PlanReport.as_json` makes it


def write_plan(path: Path, report: PlanReport, *, sampled: bool) -> None:
    """Saves a plan as JSON. Raises `UsageError` where it cannot be written, or was made from a sample."""
    if sampled:
        raise UsageError("a plan made from a sample cannot be executed", hint="Leave out --sample, or --out.")
    try:
        path.write_text(json.dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def read_plan(path: Path) -> Plan:
    """A saved plan. Raises `UsageError` for a file that is none."""
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="Make it: migrate plan --out FILE") from error
    except ValueError as error:
        raise UsageError(f"{path} is not a plan: {error}", hint="Make it: migrate plan --out FILE") from error
    if not isinstance(plan, dict) or not isinstance(plan.get("fingerprints"), dict):
        raise UsageError(f"{path} is not a plan", hint="Make it: migrate plan --out FILE")
    return plan


def require_fit(plan: Plan, fingerprints: Mapping[str, str], target: str | None) -> None:
    """Raises `PlanError` where the plan has blockers, or source, settings, mappings or target have moved on.

    `target` is a digest of the target's schema, or None where the run has begun: then what it looked like before shows
    no more, and the run's own records say what must not change.
    """
    if plan.get("blockers"):
        raise PlanError(f"the plan has {plan['blockers']} blockers", hint="Mend what it names, then plan again.")
    now = dict(fingerprints) if target is None else {**fingerprints, "target": target}
    moved = [name for name, value in now.items() if plan["fingerprints"].get(name) != value]
    if moved:
        raise PlanError(
            f"the plan no longer fits; changed since it was made: {', '.join(moved)}",
            hint="Make a new plan, read it, and run that.",
        )


def differing(plan: Plan, report: RunReport) -> list[str]:
    """Collections that came out otherwise than the plan foretold: rows of others have come or gone since."""
    told = {each["name"]: each["predicted"] for each in plan["source"]["collections"]}
    return [
        name
        for name, counts in report.collections.items()
        if name in told and {key: counts.as_json()[key] for key in told[name]} != told[name]
    ]
