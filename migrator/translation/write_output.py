"""Prints the end of the generated function: a translated document becomes a row, a ledger row, links and findings."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from migrator.mapping.composite_keys import CompositeKey
from migrator.postgres import copy_format
from migrator.translation import tuple_layout
from migrator.translation.codegen import LEAVE, CodeWriter
from migrator.translation.encoder import PROBED_BYTES, add_child_tuples, format_target_id
from migrator.translation.operations import Emit
from migrator.translation.tuple_layout import Layout, PartType, Run, runs_of

_LENGTH = struct.Struct(">i").pack


@dataclass(frozen=True, slots=True)
class Destination:
    """What the output needs: the column with the row that lists this one (see `Encoder`), and the packer of tuples."""

    lister: str | None = None
    packer: Callable[..., Callable[..., bytes]] = tuple_layout.packer_of


def write_output(operation: Emit, writer: CodeWriter, destination: Destination) -> None:
    """Write the code that adds a document to the output."""
    collection = operation.collection
    writer.add(2, "except (Rejected, Archived, RecursionError):", f"    {LEAVE}")
    for column in collection.probes:
        value = writer.columns[column]
        writer.add(2, f"if {value} is not None and len({value}) > {PROBED_BYTES // 4}:", f"    {LEAVE}")
    if isinstance(collection.key, CompositeKey):
        _write_composite_key(collection.key, writer)
    _write_row(operation, writer, destination)
    _write_ledger(writer, destination)
    writer.add(2, f"add_id({writer.columns[collection.key.column]})", "add_index(first + index)")
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


def _write_row(operation: Emit, writer: CodeWriter, destination: Destination) -> None:
    layout = Layout()
    layout.add_literal(struct.pack(">h", len(operation.collection.columns)))
    memo_bytes = (local for local, _ in memo_runs(writer, operation.memoized))
    for run in _runs(writer, operation.memoized):
        match run.origin:
            case "constant":
                values = [writer.constants.get(name) for name, _ in run.columns]
                layout.add_literal(copy_format.write_row(values, [kind for _, kind in run.columns])[2:])
            case "memo":
                layout.add(PartType.FRAGMENT, next(memo_bytes))
            case "document":
                for column in run.columns:
                    layout.add(*tuple_layout.part_of(column, writer.columns[column[0]], writer.bind))
    pack = writer.bind("pack_row", destination.packer(layout.parts))
    writer.add(2, f"add_row({pack}({', '.join(layout.values)}))")


def _write_ledger(writer: CodeWriter, destination: Destination) -> None:
    """If the residue is that of the memo, its bytes exist; else the projection packs it from the document."""
    key, name = writer.collection.key, writer.collection.name.encode()
    has_variants = bool(writer.collection.variant_rules)
    usual = " and not variants and not remainders" if has_variants else ""
    header = "variants, remainders" if has_variants else "(), ()"
    needs_header = "unset or variants or remainders" if has_variants else "unset"
    unchanged = "changed is entry[0] and unset is entry[1]"
    writer.add(2, f"if not others and {unchanged} and memo_residue is not None{usual}:")
    writer.add(2, "    residue = memo_residue", "else:")
    writer.add(3, f"header = pack_header(unset, {header}) if {needs_header} else b''")
    writer.add(3, "residue = pack_residue(index, changed, header)")
    layout = Layout()
    layout.add_literal(struct.pack(">h", 5) + _LENGTH(len(name)) + name + _LENGTH(22) + b"\x16\0\0\0\x07_id\0")
    layout.add(PartType.FRAGMENT, "objectid")
    layout.add_literal(b"\0")
    column = writer.columns[key.column]
    if key.is_derived:
        layout.add(PartType.UUID_TEXT, column)
    else:
        layout.add(PartType.TEXT, column if key.text else f"{writer.bind('target_id', format_target_id)}({column})")
    layout.add_literal(_LENGTH(6) + b"loaded")
    layout.add(PartType.FRAGMENT, "residue")
    pack = writer.bind("pack_ledger", destination.packer(layout.parts))
    writer.add(2, f"add_ledger({pack}({', '.join(layout.values)}))")


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
