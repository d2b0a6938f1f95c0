"""Draws one self-contained HTML page on a plan, a run or a verification. The content comes from content.py.

The page needs no tool and no network. It works on screens with light and dark themes and on paper.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from migrator import __version__
from migrator.errors import UsageError
from migrator.formatting import format_count, format_duration, format_share, format_size
from migrator.report.components import (
    MARKER,
    chip,
    clean,
    draw_bar,
    fill_skeleton,
    fold,
    format_text,
    legend,
    name,
    section,
    table,
)
from migrator.report.content import CollectionSummary, Content, FindingKind, Occurrence, describe_fate
from migrator.report.er_diagram import draw_diagram, find_hubs
from migrator.report.sankey import draw_flow
from migrator.report.sizes_html import render_sizes
from migrator.report.timeline_svg import draw_timeline
from migrator.report.verification_html import count_verification, render_verification

OUTCOMES = ("loaded", "rejected", "archived")
REMEDY = {
    "plan": "These documents cannot be loaded. A run keeps the original documents in <code>migrator.rejects</code>.",
    "run": "These documents could not be loaded. The original documents are kept. To list them:"
    " <code>migrate rejects list</code>. Fix the cause, then run <code>migrate rejects retry</code>.",
}
MAPPED_TO = (
    "Mapped to: the columns that hold the field. <i>derivable</i>: other columns contain the value."
    " <i>stored in the ledger</i>: part of the residue, the part of a document that its row cannot reproduce."
    " <i>archive</i>: stored with the original document."
)


def save_page(path: Path, text: str) -> None:
    """Write a page. An earlier page is overwritten, any other file is not.

    Raises: `UsageError` if the file exists and is not a page, or cannot be written.
    """
    try:
        if path.exists() and not _is_page(path):
            raise UsageError(f"{path} exists and is not a report", hint="Use another file name.")
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="Use another file name.") from error


def _is_page(path: Path) -> bool:
    if not path.is_file():  # reading from a pipe would block
        return False
    with path.open("rb") as file:
        return file.read(len(MARKER)) == MARKER.encode()


def render_page(content: Content) -> str:
    """Return the complete file. The caller has removed secrets from `content` (`redact_content`)."""
    run = f"Migration run {content['about'].get('Run', '')}"
    title = {"plan": "Migration plan", "verify": "Verification"}.get(content["kind"], run)
    return fill_skeleton(f"{title}: {content['verdict']}", _render_sections(content, title))


def _render_sections(content: Content, title: str) -> Iterator[str]:
    yield from _render_header(content, title)
    yield from _render_blockers(content)
    yield from _render_verification(content)
    yield from _render_rejects(content)
    yield from _render_flow(content)
    yield from _render_collections(content)
    yield from _render_findings(content)
    yield from _render_timeline(content)
    yield from render_sizes(content["sizes"])
    yield from _render_diagram(content)
    yield from _render_steps(content)
    yield from _render_fields(content)
    values = "no values" if content["verification"] is None else "values only if verify was run with --show-values"
    note = f"Contains names, paths and IDs of documents; {values}."
    yield f'<p class="about">Created by migrate {clean(__version__)}. {note}</p>'


def _render_header(content: Content, title: str) -> Iterator[str]:
    yield f"<header><h1>{clean(title)}</h1>"
    yield f'<p class="verdict {content["rating"]}">{clean(content["verdict"])}</p>'
    figures = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in _figures(content))
    yield f'<dl class="figures">{figures}</dl>'
    about = " · ".join(f"<b>{clean(label)}</b> {name(value)}" for label, value in content["about"].items())
    yield f'<p class="about">{about}</p></header>' if about else "</header>"


def _figures(content: Content) -> Iterator[tuple[str, str]]:
    if content["kind"] == "verify" and content["verification"] is not None:
        yield from count_verification(content["verification"])
        return
    figures = content["figures"]
    yield "documents", f"{figures['documents']:,}"
    yield from ((outcome, f"{figures[outcome]:,}") for outcome in OUTCOMES)
    yield "BSON size", format_size(figures["bytes"])
    about = "≈ " if content["kind"] == "plan" else ""
    yield "time", about + format_duration(figures["seconds"])
    if "target_bytes" in figures:
        yield "size in PostgreSQL", about + format_size(figures["target_bytes"])
    for label, figure in figures.items():
        if label.startswith("embedding_"):
            yield clean(label.replace("_", " ")), f"{figure:,}"


def _render_blockers(content: Content) -> Iterator[str]:
    if content["blockers"]:
        items = "".join(f"<li>{name(each)}</li>" for each in content["blockers"])
        yield section("Blockers", "A run does not start until these are fixed.", f'<ol class="blockers">{items}</ol>')


def _render_verification(content: Content) -> Iterator[str]:
    if content["verification"] is not None:
        yield from render_verification(content["verification"], alone=content["kind"] == "verify")


def _render_rejects(content: Content) -> Iterator[str]:
    if content["rejects"]:
        yield section("Rejected documents", REMEDY[content["kind"]], *map(_render_kind, content["rejects"]))


def _render_findings(content: Content) -> Iterator[str]:
    if content["findings"]:
        description = "Warnings and automatic corrections. The original values are preserved for the round trip."
        yield section("Findings", description, *map(_render_kind, content["findings"]))


def _render_kind(kind: FindingKind) -> str:
    label = "" if kind["severity"] == "reject" else chip(kind["severity"])
    summary = f"{label}<b>{kind['count']:,}</b><code>{clean(kind['code'])}</code> {format_text(kind['meaning'])}"
    has_details = any(each["details"] for each in kind["occurrences"])
    columns = ("collection", "#count", *(["field"] if has_details else []), "document IDs")
    return fold(summary, table(columns, (_occurrence_row(each, has_details) for each in kind["occurrences"])))


def _occurrence_row(occurrence: Occurrence, has_details: bool) -> tuple[str | int, ...]:
    details = "<br>".join(f"<code>{clean(path)}</code> {count:,}" for path, count in occurrence["details"].items())
    ids = clean(", ".join(occurrence["examples"]))
    more = "" if occurrence["complete"] else f" … (the first {len(occurrence['examples']):,})"
    return (
        clean(occurrence["collection"]),
        occurrence["count"],
        *([details] if has_details else []),
        f'<div class="ids">{ids}{more}</div>',
    )


def _render_flow(content: Content) -> Iterator[str]:
    drawn = draw_flow(content["collections"])
    if drawn:
        yield section("Document flow", "", legend(*OUTCOMES), drawn)


def _render_collections(content: Content) -> Iterator[str]:
    collections = content["collections"]
    if not collections and content["kind"] == "verify":
        return
    mapped = [(index, each) for index, each in enumerate(collections) if each["table"]]
    others = [(index, each) for index, each in enumerate(collections) if not each["table"]]
    parts = [_collection_table(mapped)] if mapped else []
    if others:
        documents = sum(each["documents"] for _, each in others)
        summary = f"{format_count(len(others), 'collections')} without a table: {format_count(documents, 'documents')}"
        parts.append(fold(summary, _collection_table(others)))
    parts += [f"<p>Skipped: {name(each)} ({clean(reason)})</p>" for each, reason in content["left_out"].items()]
    yield section("Collections", "Every document is loaded, rejected or archived.", *parts)


def _collection_table(collections: list[tuple[int, CollectionSummary]]) -> str:
    columns = ("collection", "table", "#documents", "#loaded", "#rejected", "#archived", "", "#size (BSON)")
    return table(columns, (_collection_row(index, each) for index, each in collections))


def _collection_row(index: int, collection: CollectionSummary) -> tuple[str | int, ...]:
    label = name(collection["name"])
    if collection["fields"]:
        label = f'<a href="#fields-{index}">{label}</a>'
    if not collection["complete"]:
        label += " <small>(incomplete)</small>"
    counts = {outcome: cast("dict[str, int]", collection)[outcome] for outcome in OUTCOMES}
    target, size = name(collection["table"] or "archive"), format_size(collection["bytes"])
    return label, target, collection["documents"], *counts.values(), draw_bar(counts), size


def _render_timeline(content: Content) -> Iterator[str]:
    drawn = "" if content["timeline"] is None else draw_timeline(content["timeline"])
    if drawn:
        yield section("Timeline", "Times are from the database server's clock.", legend("load", "step", "build"), drawn)


def _render_diagram(content: Content) -> Iterator[str]:
    drawn = draw_diagram(content["entities"])
    if drawn:
        hubs = find_hubs(content["entities"])
        description = "Nullable columns are shown in grey."
        if hubs:
            description += f" Lines to {clean(', '.join(sorted(hubs)))} are omitted."
        yield section("Target schema", description, drawn)


def _render_steps(content: Content) -> Iterator[str]:
    if content["steps"]:
        rows = ((clean(step["name"]), clean(", ".join(step["needs"]))) for step in content["steps"])
        listed = fold(f"{len(content['steps']):,} steps of a run", table(("step", "depends on"), rows))
        yield section("Steps", "", listed)


def _render_fields(content: Content) -> Iterator[str]:
    found = [(index, each) for index, each in enumerate(content["collections"]) if each["fields"]]
    if found:
        found.sort(key=lambda each: each[1]["table"] is None)
        yield section("Fields", MAPPED_TO, *(_field_table(index, each) for index, each in found))


def _field_table(index: int, collection: CollectionSummary) -> str:
    beyond = collection["fields_beyond"]
    more = f", and {beyond:,} values at other paths" if beyond else ""
    summary = f"{name(collection['name'])} <small>{len(collection['fields']):,} paths{more}</small>"
    columns = ("path", "types", "#present", "#share", "mapped to")
    rows = (_field_row(each, collection["documents"]) for each in collection["fields"])
    return fold(summary, table(columns, rows, anchor=f"fields-{index}"))


def _field_row(field: dict[str, Any], documents: int) -> tuple[str | int, ...]:
    types = ", ".join(f"{clean(kind)} {count:,}" for kind, count in field["types"].items())
    share = format_share(field["present"], documents)
    return (
        f"<code>{clean(field['path'])}</code>",
        types,
        int(field["present"]),
        share,
        name(describe_fate(field["fate"])),
    )
