"""REVIEW.md: each guess of the draft, its evidence, and what a person should decide. It shows no values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migrator.scaffold.draft import ColumnDraft, Draft, Kind, RowsDraft, TableDraft
from migrator.scaffold.statistics import dotted
from migrator.scaffold.writing.code import as_comment

_HEAD = """\
# Review of the draft

`migrate scaffold` read {documents:,} documents of the database `{database}` and drafted {tables} tables. A wrong guess
loses nothing: what a row does not reproduce is stored in the residue, and `migrate verify --level roundtrip` checks it.
`migrate plan --details COLLECTION` shows which fields are in the residue. A column that is NOT NULL rejects documents
without a value, also later ones of a live source: remove `required=True` and `nullable=False` where the application may
leave it out. Delete this file when nothing is left to decide.

"""


def write_review(draft: Draft) -> str:
    """Return the text of REVIEW.md."""
    head = _HEAD.format(documents=draft.documents, database=as_comment(draft.database), tables=len(draft.tables))
    blocks = [*_decisions(draft), *_references(draft), *_left_out(draft)]
    for table in draft.tables:
        blocks += _table(table)
    return head + "\n".join(blocks) + "\n"


def _decisions(draft: Draft) -> Iterator[str]:
    yield "## To decide\n"
    for table in draft.tables:
        if table.questions:
            yield f"**{as_comment(table.collection)}**\n"
            yield "\n".join(f"- {as_comment(each)}" for each in table.questions) + "\n"


def _references(draft: Draft) -> Iterator[str]:
    if not draft.references:
        return
    drafts = {
        (table.collection, path): "foreign key" if column.is_key else f"{column.kind}, no foreign key"
        for table in draft.tables
        for path, column in _columns(table, "")
        if column.target
    }
    yield "## References\n"
    yield "Found by looking up the distinct values of each field in the keys of all collections.\n"
    rows = []
    for each in sorted(draft.references, key=lambda each: (each.collection, each.path)):
        path = dotted(each.path)
        hits = f"{each.hits:,} of {each.compared:,}" + ("" if each.is_exact else " in a sample")
        drafted = drafts.get((each.collection, path), "in jsonb" if each.is_list else "column")
        rows.append((f"{each.collection}.{path}", f"{each.target}.{dotted(each.target_path)}", hits, drafted))
    yield _grid(("Field", "Refers to", "Distinct values found", "Drafted as"), rows)


def _columns(rows: RowsDraft, prefix: str) -> Iterator[tuple[str, ColumnDraft]]:
    """Yield the columns of a table and of its elements, with the paths of the fields that fill them."""
    for column in rows.columns:
        yield f"{prefix}{column.path}" + ("[]" if column.kind is Kind.ARRAY else ""), column
    for child in rows.children:
        if child.is_junction:
            yield f"{prefix}{child.path}[]", child.columns[0]
        else:
            yield from _columns(child, f"{prefix}{child.path}[].")


def _left_out(draft: Draft) -> Iterator[str]:
    if draft.empty:
        yield f"## Without documents\n\nNo table was drafted for: {as_comment(', '.join(draft.empty))}.\n"
    if draft.archived:
        named = ", ".join(f"{name} ({reason})" for name, reason in draft.archived.items())
        yield f"## Archived\n\nTheir documents are kept unchanged in `migrator.archive`: {as_comment(named)}.\n"


def _table(table: TableDraft) -> Iterator[str]:
    yield f"## {as_comment(table.collection)} → {table.table}\n"
    kind, key = table.key.kind or "a UUID made of the value", table.key
    if key.column:
        yield f"Key: `{key.column}` ({kind}) from `{as_comment(key.path)}`: {key.evidence}.\n"
    if key.others:
        columns = ", ".join(f"`{name}`" for name in key.others)
        yield f"Fields fill {'the other' if key.column else 'all'} columns of the key: {columns}.\n"
    yield _describe_columns(table)
    for child in table.descendants:
        yield f"**{child.table}**: {child.elements:,} elements of `{as_comment(child.path)}`\n"
        yield _describe_columns(child)


def _describe_columns(table: RowsDraft) -> str:
    rows = [_row(column) for column in table.columns]
    rows += [("", f"`{each.path}`", f"always {each.value}", "", each.evidence) for each in table.implied]
    return _grid(("Column", "Field", "Kind", "NOT NULL", "Evidence"), rows)


def _row(column: ColumnDraft) -> tuple[str, ...]:
    kind = f"array of {column.item}" if column.item else str(column.kind)
    if column.codec is not None:
        kind = column.codec.code or column.codec.name
    kind = f"{kind} → {column.target}" if column.target else kind
    return f"`{column.name}`", f"`{column.path}`", kind, "yes" if column.required else "", column.evidence


def _grid(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(map(_escape, line))} |\n" for line in lines)


def _escape(cell: str) -> str:
    return as_comment(cell).replace("|", "/")
