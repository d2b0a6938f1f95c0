"""One self-contained HTML page on a plan or a run: what it says is in content.py, its parts in parts.py.

For a reader who has no tool and no network, on a screen in the light or in the dark, or on paper.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from migrator import __version__
from migrator.errors import UsageError
from migrator.formatting import format_duration, format_share, format_size
from migrator.report.components import MARKER, chip, clean, draw_bar, fill_skeleton, fold, key, name, section, table
from migrator.report.content import Content, Entry, FindingKind, Occurrence
from migrator.report.er_diagram import draw_diagram, find_hubs
from migrator.report.sankey import draw_flow
from migrator.report.sizes_html import render_sizes
from migrator.report.timeline_svg import draw_timeline
from migrator.report.verification_html import count_verification, render_verification

OUTCOMES = ("loaded", "rejected", "archived")
REMEDY = {
    "plan": "These documents cannot become rows as they are; a run keeps them whole, beside the tables.",
    "run": "These documents could not become rows; they are kept whole: <code>migrate rejects list</code>."
    " Mend the cause, then <code>migrate rejects retry</code>.",
}
FATES = (
    "What becomes of a field: the columns it goes to; <i>implied</i>, because other columns already say it;"
    " <i>residue</i>, kept beside the row for the way back; <i>archive</i> or <i>ledger</i>, kept there."
)


def save_page(path: Path, text: str) -> None:
    """Writes a page, over an earlier one if need be, never over anything else. Raises `UsageError`."""
    try:
        if path.exists() and not _is_page(path):
            raise UsageError(f"{path} is there already, and is not a report of migrate", hint="Name another file.")
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="Name another file.") from error


def _is_page(path: Path) -> bool:
    if not path.is_file():  # a pipe would wait for ever
        return False
    with path.open("rb") as file:
        return file.read(len(MARKER)) == MARKER.encode()


def render_page(content: Content) -> str:
    """The whole file. `content` is free of secrets already (`mask_content`)."""
    run = f"Migration run {content['about'].get('Run', '')}"
    title = {"plan": "Migration plan", "verify": "Verification of a migration"}.get(content["kind"], run)
    return fill_skeleton(f"{title}: {content['verdict']}", _sections(content, title))


def _sections(content: Content, title: str) -> Iterator[str]:
    yield from _header(content, title)
    yield from _blockers(content)
    yield from _verification(content)
    yield from _rejects(content)
    yield from _flow(content)
    yield from _collections(content)
    yield from _findings(content)
    yield from _timeline(content)
    yield from render_sizes(content["sizes"])
    yield from _diagram(content)
    yield from _steps(content)
    yield from _fields(content)
    told = "no values" if content["verification"] is None else "and values as far as verify was told to show them"
    yield f'<p class="about">Made by migrate {clean(__version__)}. Names, paths and ids, {told}.</p>'


def _header(content: Content, title: str) -> Iterator[str]:
    yield f"<header><h1>{clean(title)}</h1>"
    yield f'<p class="verdict {content["level"]}">{clean(content["verdict"])}</p>'
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
    yield "BSON read", format_size(figures["bytes"])
    about = "≈ " if content["kind"] == "plan" else ""
    yield "time", about + format_duration(figures["seconds"])
    if "target_bytes" in figures:
        yield "in PostgreSQL", about + format_size(figures["target_bytes"])
    for label, figure in figures.items():
        if label.startswith("embedding_"):
            yield clean(label.replace("_", ", ")), f"{figure:,}"


def _blockers(content: Content) -> Iterator[str]:
    if content["blockers"]:
        items = "".join(f"<li>{name(each)}</li>" for each in content["blockers"])
        yield section("What is in the way", "A run refuses to start until this is mended.",
                      f'<ol class="blockers">{items}</ol>')  # fmt: skip


def _verification(content: Content) -> Iterator[str]:
    if content["verification"] is not None:
        yield from render_verification(content["verification"], alone=content["kind"] == "verify")


def _rejects(content: Content) -> Iterator[str]:
    if content["rejects"]:
        yield section("Rejected, and why", REMEDY[content["kind"]], *map(_code, content["rejects"]))


def _findings(content: Content) -> Iterator[str]:
    if content["findings"]:
        words = "Repaired, changed or doubtful. What a column could not hold is kept for the way back."
        yield section("Findings", words, *map(_code, content["findings"]))


def _code(code: FindingKind) -> str:
    shown = "" if code["severity"] == "reject" else chip(code["severity"])
    summary = f"{shown}<b>{code['count']:,}</b><code>{clean(code['code'])}</code> {clean(code['meaning'])}"
    told = any(spot["details"] for spot in code["spots"])
    columns = ("collection", "#count", *(["where"] if told else []), "ids")
    return fold(summary, table(columns, (_spot(spot, told) for spot in code["spots"])))


def _spot(spot: Occurrence, told: bool) -> tuple[str | int, ...]:
    details = "<br>".join(f"<code>{clean(path)}</code> {count:,}" for path, count in spot["details"].items())
    ids = clean(", ".join(spot["examples"]))
    more = "" if spot["complete"] else f" … (the first {len(spot['examples']):,})"
    return (
        clean(spot["collection"]),
        spot["count"],
        *([details] if told else []),
        f'<div class="ids">{ids}{more}</div>',
    )


def _flow(content: Content) -> Iterator[str]:
    drawn = draw_flow(content["collections"])
    if drawn:
        yield section("Where the documents go", "", key(*OUTCOMES), drawn)


def _collections(content: Content) -> Iterator[str]:
    entries = content["collections"]
    if not entries and content["kind"] == "verify":
        return
    mapped = [(index, each) for index, each in enumerate(entries) if each["table"]]
    others = [(index, each) for index, each in enumerate(entries) if not each["table"]]
    parts = [_entries(mapped)] if mapped else []
    if others:
        documents = sum(each["documents"] for _, each in others)
        parts.append(fold(f"{len(others):,} collections without a table: {documents:,} documents", _entries(others)))
    parts += [f"<p>Not read: {name(each)} ({clean(why)})</p>" for each, why in content["left_out"].items()]
    yield section("Collections", "Every document is loaded, rejected or archived; there is no fourth way.", *parts)


def _entries(entries: list[tuple[int, Entry]]) -> str:
    columns = ("collection", "table", "#documents", "#loaded", "#rejected", "#archived", "", "#size")
    return table(columns, (_entry(index, each) for index, each in entries))


def _entry(index: int, entry: Entry) -> tuple[str | int, ...]:
    shown = name(entry["name"])
    if entry["fields"]:
        shown = f'<a href="#fields-{index}">{shown}</a>'
    if not entry["complete"]:
        shown += " <small>(read so far)</small>"
    counts = {"loaded": entry["loaded"], "rejected": entry["rejected"], "archived": entry["archived"]}
    table_name = name(entry["table"] or "archive")
    return (shown, table_name, entry["documents"], *counts.values(), draw_bar(counts), format_size(entry["bytes"]))


def _timeline(content: Content) -> Iterator[str]:
    drawn = "" if content["history"] is None else draw_timeline(content["history"])
    if drawn:
        yield section("What was done when", "By the server's clock.", key("load", "step", "build"), drawn)


def _diagram(content: Content) -> Iterator[str]:
    drawn = draw_diagram(content["entities"])
    if drawn:
        hubs = find_hubs(content["entities"])
        words = (
            f"Columns that may be NULL are pale. Lines to {clean(', '.join(sorted(hubs)))} are left out."
            if hubs
            else ""
        )
        yield section("The target", words, drawn)


def _steps(content: Content) -> Iterator[str]:
    if content["steps"]:
        rows = ((clean(step["name"]), clean(", ".join(step["needs"]))) for step in content["steps"])
        listed = fold(f"{len(content['steps']):,} steps of a run", table(("step", "waits for"), rows))
        yield section("Steps", "", listed)


def _fields(content: Content) -> Iterator[str]:
    told = [(index, each) for index, each in enumerate(content["collections"]) if each["fields"]]
    if told:
        told.sort(key=lambda each: each[1]["table"] is None)
        yield section("Fields", FATES, *(_field_table(index, entry) for index, entry in told))


def _field_table(index: int, entry: Entry) -> str:
    beyond = f", and {entry['fields_beyond']:,} values of further paths" if entry["fields_beyond"] else ""
    summary = f"{name(entry['name'])} <small>{len(entry['fields']):,} paths{beyond}</small>"
    columns = ("path", "types", "#present", "#share", "fate")
    rows = (_field(each, entry["documents"]) for each in entry["fields"])
    return fold(summary, table(columns, rows, anchor=f"fields-{index}"))


def _field(field: dict[str, Any], documents: int) -> tuple[str | int, ...]:
    types = ", ".join(f"{clean(kind)} {count:,}" for kind, count in field["types"].items())
    share = format_share(field["present"], documents)
    return f"<code>{clean(field['path'])}</code>", types, int(field["present"]), share, name(field["fate"])
