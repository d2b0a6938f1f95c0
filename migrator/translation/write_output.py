"""Prints the end of the generated function: a translated document becomes a row, a ledger row, links and findings.

How the two rows are written is in row_writer.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from migrator.mapping.collection import Collection
from migrator.mapping.composite_keys import CompositeKey
from migrator.postgres.native import write_row
from migrator.translation.codegen import LEAVE, CodeWriter
from migrator.translation.encoder import PROBED_BYTES, add_child_tuples, format_target_id
from migrator.translation.operations import Emit
from migrator.translation.row_writer import AnyRowWriter, row_writer_of
from migrator.translation.tuple_layout import Layout, Parts, PartType, Run, part_of, runs_of

_LENGTH = struct.Struct(">i").pack


@dataclass(frozen=True, slots=True)
class Destination:
    """What the output needs: the column with the row that lists this one (see `Encoder`), and what makes the writer."""

    lister: str | None = None
    writer: Callable[[Parts, Parts], AnyRowWriter] = row_writer_of


def write_output(operation: Emit, writer: CodeWriter, destination: Destination) -> None:
    """Write the code that adds a document to the output."""
    collection = operation.collection
    writer.add(2, "except (Rejected, Archived, RecursionError):", f"    {LEAVE}")
    for column in collection.probes:
        value = writer.columns[column]
        writer.add(2, f"if {value} is not None and len({value}) > {PROBED_BYTES // 4}:", f"    {LEAVE}")
    if isinstance(collection.key, CompositeKey):
        _write_composite_key(collection.key, writer)
    row = _row_layout(operation, writer)
    ledger = _ledger_layout(collection)
    writer.bind("row_writer", destination.writer(row.parts, ledger.parts))
    key, changes = writer.columns[collection.key.column], "changed, unset"
    changes += ", variants, remainders" if collection.variant_rules else ", (), ()"
    values = f"({', '.join(row.values)},)" if row.values else "()"
    writer.add(
        2, f"add(index, objectid, {key}, {_target(collection, key, writer)}, others, entry, {changes}, {values})"
    )
    if collection.unique:
        values = ", ".join(writer.columns[column] for column in collection.unique)
        writer.add(2, f"output.uniques.append(({values},))")
    if destination.lister is not None:
        writer.add(2, f"output.members.append(({writer.columns[destination.lister]}, objectid))")
    for rule in collection.children:
        rows, bound = writer.columns[rule.row_key], writer.bind(f"children_{rule.path}", rule)
        writer.add(2, f"if {rows}:")
        if rule.path in writer.elements:
            writer.add(3, f"{writer.bind('add_child_tuples', add_child_tuples)}(output, {rows})")
            continue
        writer.add(3, f"encoder.add_children(output, {bound}, {rows}, {writer.columns[collection.key.column]})")
    _write_links(writer)
    writer.add(2, "if notes:")
    writer.add(3, "source_id = b'\\x16\\0\\0\\0\\x07_id\\0' + objectid + b'\\0'")
    writer.add(3, "encoder.add_findings(output, first + index, context.findings(source_id))")


def _write_composite_key(key: CompositeKey, writer: CodeWriter) -> None:
    """Write the code that composes the text of a key from its columns."""
    values = [
        writer.bind(f"constant_{name}", writer.constants[name]) if name in writer.constants else writer.columns[name]
        for name in key.key_columns
    ]
    column = writer.column(key.column)
    writer.add(2, f"{column} = {writer.bind('join_key', key.join)}({', '.join(values)})")
    writer.add(2, f"if {column} is None:", f"    {LEAVE}")


def memo_runs(writer: CodeWriter, memoized: tuple[str, ...]) -> list[tuple[str, Run]]:
    """Return the runs of columns whose bytes come from the memo, and the local names of these bytes."""
    runs = [run for run in _runs(writer, memoized) if run.origin == "memo"]
    return [(writer.local("bytes", run.columns[0][0]), run) for run in runs]


def _runs(writer: CodeWriter, memoized: tuple[str, ...]) -> list[Run]:
    collection = writer.collection
    filled = {name for rule in (collection.key, *collection.rules) for name in rule.columns}
    unfilled = {column.name for column in collection.columns} - filled
    return runs_of(collection.kinds, unfilled | writer.constants.keys(), memoized)


def _row_layout(operation: Emit, writer: CodeWriter) -> Layout:
    """Return the layout of the row, with the expressions of its values."""
    layout = Layout()
    layout.add_literal(struct.pack(">h", len(operation.collection.columns)))
    memo_bytes = (local for local, _ in memo_runs(writer, operation.memoized))
    for run in _runs(writer, operation.memoized):
        match run.origin:
            case "constant":
                values = [writer.constants.get(name) for name, _ in run.columns]
                layout.add_literal(write_row(values, [kind for _, kind in run.columns])[2:])
            case "memo":
                layout.add(PartType.FRAGMENT, next(memo_bytes))
            case "document":
                for column in run.columns:
                    layout.add(*part_of(column, writer.columns[column[0]], writer.bind))
    return layout


def _ledger_layout(collection: Collection) -> Layout:
    """Return the layout of a loaded document in the ledger, for ObjectId, target ID and residue."""
    name = collection.name.encode()
    layout = Layout()
    layout.add_literal(struct.pack(">h", 5) + _LENGTH(len(name)) + name + _LENGTH(22) + b"\x16\0\0\0\x07_id\0")
    layout.add(PartType.FRAGMENT, "objectid")
    layout.add_literal(b"\0")
    layout.add(PartType.UUID_TEXT if collection.key.is_derived else PartType.TEXT, "target")
    layout.add_literal(_LENGTH(6) + b"loaded")
    layout.add(PartType.FRAGMENT, "residue")
    return layout


def _target(collection: Collection, key: str, writer: CodeWriter) -> str:
    """Return the expression of the target ID, as the layout of the ledger needs it."""
    if collection.key.is_derived or collection.key.text:
        return key
    return f"{writer.bind('target_id', format_target_id)}({key})"


def _write_links(writer: CodeWriter) -> None:
    collection = writer.collection
    if not collection.links:
        return
    links = [(link.path, writer.field(link.path)) for link in collection.links]
    key = collection.key.column
    writer.add(2, f"if {' or '.join(f'{value} is not ABSENT and {value}' for _, value in links)}:")
    fields = ", ".join(f"{path!r}: {value}" for path, value in links)
    writer.add(3, f"links = encoder.link_tuples({{{fields}}}, {{{key!r}: {writer.columns[key]}}})")
    writer.add(3, "output.links += [(first + index, link) for link in links]")
