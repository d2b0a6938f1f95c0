"""`migrate scaffold`: reads a source, and writes the draft of a migration into a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrator.errors import SourceError, UsageError
from migrator.events import Emit
from migrator.scaffold.asking import Ask
from migrator.scaffold.draft import Draft
from migrator.scaffold.drafting import make_draft
from migrator.scaffold.existing import read_tables
from migrator.scaffold.matching import make_draft_onto
from migrator.scaffold.profiling import profile
from migrator.scaffold.statistics import dotted
from migrator.scaffold.writing.project import render_project, require_new, write_project
from migrator.sources.base import Source
from migrator.targets.base import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaffoldResult:
    """What was drafted, and the files."""

    draft: Draft
    files: tuple[Path, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the result for --json."""
        draft = self.draft
        return {
            "documents": draft.documents,
            "tables": [
                {
                    "collection": table.collection,
                    "table": table.table,
                    "documents": table.documents,
                    "columns": len(table.columns),
                    "children": [child.table for child in table.descendants],
                    "questions": table.questions,
                }
                for table in draft.tables
            ],
            "references": [
                {
                    "field": f"{each.collection}.{dotted(each.path)}",
                    "refers_to": f"{each.target}.{dotted(each.target_path)}",
                    "compared": each.compared,
                    "found": each.hits,
                }
                for each in draft.references
            ],
            "empty": list(draft.empty),
            "archived": draft.archived,
            "written": [str(path) for path in self.files],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What migrate.toml will name: the URL of the source, its database, and the URL of a target that exists."""

    source: str
    database: str | None = None
    target: str | None = None


def scaffold(
    source: Source, target: Target | None, names: Names, folder: Path, emit: Emit, ask: Ask | None = None
) -> ScaffoldResult:
    """Draft a migration of a source into a new project in `folder`. With a `target`, into its tables.

    `ask` is asked about fields and columns that names do not match.

    Raises: `UsageError` if a file exists already, or the target has no tables that fit; `SourceError` if the source has
    no documents or cannot be read; `TargetError`; `AccessError` of `ask`.
    """
    require_new(folder)
    existing = () if target is None else read_tables(target)
    statistics = profile(source, emit)
    draft = make_draft(statistics) if target is None else make_draft_onto(statistics, existing, ask)
    if target is not None and not draft.tables:
        raise UsageError(
            f"{target.label} has no table that fits a collection of the source",
            hint="Create the tables first, or draft them: leave out --target.",
        )
    if not draft.tables:
        raise SourceError(
            f"{source.label} contains no documents to draft a migration from",
            "Check --source and --database; names are case-sensitive.",
        )
    files = write_project(render_project(draft, names.source, names.database, folder, names.target), folder)
    return ScaffoldResult(draft=draft, files=tuple(files))
