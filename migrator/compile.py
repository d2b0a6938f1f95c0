"""A mapping → one specialised function that turns decoded documents into tuples of binary COPY.

The function is generated from the rules. It does in line what documents nearly always need, and calls the rule for the
rest; a document with anything unusual in it (another type, NUL, a date out of range, an `_id` that is no ObjectId …) is
left to `translate`, which it must agree with to the byte: tests compare the two on arbitrary documents. `source_of`
shows the code.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from migrator import codecs, rows
from migrator.codecs import UNREADABLE
from migrator.encode import PROBED_BYTES, Encoder, Output, spell_id
from migrator.exact import Document, pack_residue, same
from migrator.ids import collection_tag, objectid_to_uuid, uuid_of, uuid_text
from migrator.mapping import (
    ABSENT,
    Archived,
    Collection,
    Compute,
    Imply,
    Key,
    Name,
    Refer,
    Rejected,
    Rule,
    Take,
)
from migrator.translate import Translation

Fast = Callable[[list[Document | None], Translation, Output], list[int]]

_NULL, _LENGTH = rows.NULL, struct.Struct(">i").pack
_CANONICAL = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_FIXED = {"uuid": 16, "integer": 4, "boolean": 1, "timestamp": 8}


def compile_collection(collection: Collection, options: Any) -> Fast:
    """The function for one collection: `fast(documents, translation, output)` fills `output` and returns the places of
    the documents it leaves to `translate`. Documents that are None are passed over."""
    code = Code(collection, options)
    text = code.source()
    namespace = dict(code.names)
    exec(compile(text, f"<compiled {collection.name}>", "exec"), namespace)
    function: Fast = namespace["fast"]
    return function


def source_of(collection: Collection, options: Any) -> str:
    """The generated code, to read."""
    return Code(collection, options).source()


class IdMemo(dict[Any, tuple[bytes, bool]]):
    """A string or ObjectId that claims an id → (its UUID, whether that gives the string back). One batch long."""

    def __init__(self, key: Key) -> None:
        super().__init__()
        self._collection, self._objectid = key.collection, key.path == "_id"

    def __missing__(self, text: Any) -> tuple[bytes, bool]:
        if text.__class__ is str and _CANONICAL(text):  # the usual case, without a detour
            self[text] = found = (bytes.fromhex(text.replace("-", "")), True)
            return found
        value = uuid_of(self._collection, text, objectid=self._objectid)
        self[text] = found = (value, uuid_text(value) == text)
        return found


@dataclass
class Code:
    """The code of one collection, while it is written. Plain values of columns live in locals `p0`, `p1` …"""

    collection: Collection
    options: Any
    lines: list[str] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)
    locals_: dict[str, str] = field(default_factory=dict)  # row key → local

    def __post_init__(self) -> None:
        self.names.update(
            A=ABSENT, U=UNREADABLE, ObjectId=ObjectId, DatetimeMS=DatetimeMS, Rejected=Rejected, Archived=Archived,
            same=same, pack_residue=pack_residue, I=_LENGTH, Q=struct.Struct(">q").pack, IdMemo=IdMemo,
            to_v7=objectid_to_uuid, spell=spell_id, uuid_text=uuid_text, encoder=Encoder(self.collection),
            SIMPLE=frozenset({str, bool, int, type(None), ObjectId}), GIVEN=self.collection.gives | {"_id"},
            LO=codecs.EARLIEST, HI=codecs.LATEST, join=b"".join, rule_of=self.collection.rules,
        )  # fmt: skip
        self.constants = self.collection.constants(self.options)
        self.generic = self._generic_rules()

    def _generic_rules(self) -> list[Rule]:
        """Rules without a form in line: of an unknown kind, or sharing a field they give back with another rule."""
        rules = self.collection.rules
        shared = [name for rule in rules for name in rule.gives]
        return [rule for rule in rules if not _has_form(rule) or any(shared.count(name) > 1 for name in rule.gives)]

    def add(self, depth: int, *lines: str) -> None:
        self.lines += ["    " * depth + line for line in lines]

    def local(self, column: str) -> str:
        """The local for a row key, made up on first use."""
        return self.locals_.setdefault(column, f"p{len(self.locals_)}")

    def bind(self, prefix: str, value: Any) -> str:
        """A name in the function's globals for a value."""
        name = f"{prefix}{len(self.names)}"
        self.names[name] = value
        return name

    def source(self) -> str:
        """The whole function."""
        if self.lines:
            return "\n".join(self.lines)
        self.add(0, "def fast(documents, translation, output):")
        self._prologue()
        self.add(1, "for place, d in enumerate(documents):")
        self.add(2, "if d is None:", "    continue", "if notes:", "    notes.clear()")
        self.add(2, "try:")
        self.add(3, "get = d.get", "k = 1", "x = u = ()", "oid = get('_id')")
        self.add(3, "if oid.__class__ is not ObjectId:", "    slow(place); continue", "oid = oid.binary")
        self._key()
        for rule in self.collection.rules:
            self._forward(rule)
        for rule in self.collection.rules:
            self._back(rule)
        self._back_generic()
        self.add(2, "except (Rejected, Archived):", "    slow(place); continue")
        self._emit()
        self.add(1, "return left")
        return "\n".join(self.lines)

    def _prologue(self) -> None:
        self.add(1, f"own = IdMemo({self.bind('key', self.collection.key)})")
        self.add(1, "left = []", "slow = left.append", "notes = translation.notes", "T = translation")
        self.add(1, "add_row = output.rows.append", "add_ledger = output.ledger.append")
        self.add(1, "add_id = output.ids.append", "add_place = output.places.append")
        for number, rule in enumerate(self.collection.rules):
            if isinstance(rule, Refer | Name):
                same_key = rule.key == self.collection.key
                memo = "own" if same_key else f"IdMemo({self.bind('key', rule.key)})"
                self.add(1, f"ids{number} = {memo}", f"found{number} = {{}}")

    # --- the id -------------------------------------------------------------------------------------------------

    def _key(self) -> None:
        key, target = self.collection.key, self.local(self.collection.key.column)
        if key.path == "_id":
            self.add(3, f"{target} = to_v7(oid, {collection_tag(key.collection)})", f"tid = uuid_text({target})")
            return
        self.add(3, f"v = get({key.path!r})", "if v.__class__ is not str or not v:", "    slow(place); continue")
        if key.text:
            self.add(3, f"if len(v) > {key.most // 4} or '\\0' in v:", "    slow(place); continue")
            self.add(3, f"{target} = tid = v", "k += 1")
            return
        self.add(3, f"{target}, exact = own[v]", "if exact:", "    k += 1; tid = v", "else:")
        self.add(4, f"x += ({key.path!r},); tid = uuid_text({target})")

    # --- the way there ------------------------------------------------------------------------------------------

    def _forward(self, rule: Rule) -> None:
        if rule in self.generic:
            self._forward_generic(rule)
        elif isinstance(rule, Take):
            self._forward_take(rule)
        elif isinstance(rule, Compute):
            self._forward_compute(rule)
        elif isinstance(rule, Refer):
            self._forward_refer(rule)
        elif isinstance(rule, Name):
            self._forward_name(rule)

    def _forward_name(self, rule: Name) -> None:
        target, memo = self.local(rule.column), f"ids{self.collection.rules.index(rule)}"
        self.add(3, f"v = get({rule.path!r}, A)", f"if v == {rule.nobody[0]!r}:", f"    {target} = None; k += 1")
        self.add(3, "elif v.__class__ is str and v:", f"    {target}, exact = {memo}[v]")
        self.add(4, "if exact:", "    k += 1", "else:", f"    x += ({rule.path!r},)")
        self.add(3, "elif v is A:", f"    {target} = None; u += ({rule.path!r},)", "else:", "    slow(place); continue")

    def _row(self) -> str:
        pairs = [f"{name!r}: {local}" for name, local in self.locals_.items()]
        pairs += [f"{name!r}: {self.bind('const', value)}" for name, value in self.constants.items()]
        return "{" + ", ".join(pairs) + "}"

    def _forward_generic(self, rule: Rule) -> None:
        number = self.collection.rules.index(rule)
        self.add(3, f"row = {self._row()}", f"rule_of[{number}].forward(d, row, T)")
        for column in rule.columns:
            self.add(3, f"{self.local(column)} = row[{column!r}]")

    def _forward_take(self, rule: Take) -> None:
        path, target = rule.paths[0], self.local(rule.column)
        self.add(3, f"v = get({path!r}, A)")
        for line in _reading(rule, target):
            self.add(3, line)
        if rule.required or rule.otherwise is not None:
            self.add(3, "else:", "    slow(place); continue")
            return
        default = self.bind("default", rule.default)
        there = "k += 1" if rule.null_back and rule.default is None else f"x += ({path!r},)"
        given = rule.default is not None or rule.null_back
        absent = f"; u += ({path!r},)" if given else ""
        self.add(3, "elif v is A:", f"    {target} = {default}{absent}")
        self.add(3, "elif v is None:", f"    {target} = {default}; {there}")
        self.add(3, "else:", "    slow(place); continue")

    def _forward_compute(self, rule: Compute) -> None:
        arguments = [f"get({name!r}, A)" for name in rule.fields] + [self.locals_[name] for name in rule.after]
        targets = ", ".join(self.local(column) for column in rule.columns)
        self.add(3, f"{targets} = {self.bind('compute', rule.function)}({', '.join(['T', *arguments])})")

    def _forward_refer(self, rule: Refer) -> None:
        number = self.collection.rules.index(rule)
        targets = [self.local(column) for column in rule.columns]
        lookup = self.bind("lookup", rule.lookup)
        self.add(3, f"v = get({rule.path!r})")
        self.add(3, "if v.__class__ is not str and v.__class__ is not ObjectId or not v:", "    slow(place); continue")
        self.add(3, f"f = found{number}.get(v)", "if f is None:")
        self.add(4, f"candidates = T.find({lookup}, ids{number}[v][0])")
        self.add(4, "if len(candidates) != 1:", "    slow(place); continue", "c = candidates[0]")
        carried = "".join(f", c.carried[{name!r}]" for name in rule.carry)
        write = self.bind("write", rule.write) if rule.write else None
        exact = f"same({write}(c.id), v)" if write else "True"
        self.add(4, f"f = found{number}[v] = (c.id{carried}, {exact})")
        self.add(3, f"{', '.join(targets)}, exact = f")
        if rule.write:
            self.add(3, "if exact:", "    k += 1", "else:", f"    x += ({rule.path!r},)")

    # --- the way back -------------------------------------------------------------------------------------------

    def _back(self, rule: Rule) -> None:
        if rule in self.generic:
            return
        if isinstance(rule, Imply):
            self._back_imply(rule)
        elif isinstance(rule, Compute) and rule.to is not None and rule.reverse is not None:
            arguments = ", ".join(self.locals_[name] for name in rule.reverse_of)
            self.add(3, f"b = {self.bind('reverse', rule.reverse)}({arguments})", f"w = get({rule.to!r}, A)")
            self._compare(rule.to)

    def _back_imply(self, rule: Imply) -> None:
        self.add(3, f"w = get({rule.path!r}, A)")
        if rule.of:
            arguments = ", ".join(self.locals_[name] for name in rule.of)
            self.add(3, f"b = {self.bind('imply', rule.value)}({arguments})")
            self.add(3, "if b is U:", "    b = A")
            self._compare(rule.path)
        elif rule.value is True or rule.value is False or rule.value is None:
            self.add(3, f"if w is {rule.value}:", "    k += 1", "elif w is A:", f"    u += ({rule.path!r},)")
            self.add(3, "else:", f"    x += ({rule.path!r},)")
        else:
            self.add(3, f"b = {self.bind('implied', rule.value)}")
            self._compare(rule.path)

    def _compare(self, name: str) -> None:
        self.add(3, "if b is w:", "    if b is not A:", "        k += 1")
        self.add(3, "elif w is A:", f"    u += ({name!r},)")
        self.add(
            3, "elif b is not A and b.__class__ is w.__class__ and (b == w if b.__class__ in SIMPLE else same(b, w)):"
        )
        self.add(4, "k += 1")
        self.add(3, "else:", f"    x += ({name!r},)")

    def _back_generic(self) -> None:
        names = sorted({name for rule in self.generic for name in rule.gives})
        if not names:
            return
        self.add(3, f"row = {self._row()}", "given = {}")
        for rule in self.generic:
            self.add(3, f"rule_of[{self.collection.rules.index(rule)}].back(row, given)")
        self.add(3, f"for name in {self.bind('gives', tuple(names))}:")
        self.add(4, "b = given.get(name, A); w = get(name, A)")
        self.add(4, "if b is A:", "    if w is not A:", "        x += (name,)")
        self.add(4, "elif w is A:", "    u += (name,)", "elif same(b, w):", "    k += 1", "else:", "    x += (name,)")

    # --- out ----------------------------------------------------------------------------------------------------

    def _emit(self) -> None:
        for column in self.collection.probes:
            local = self.locals_[column]
            self.add(2, f"if {local} is not None and len({local}) > {PROBED_BYTES // 4}:", "    slow(place); continue")
        self._emit_residue()
        parts = list(self._parts())
        self.add(2, f"add_row(join(({', '.join(parts)},)))")
        self._emit_ledger()
        key = self.locals_[self.collection.key.column]
        self.add(2, f"add_id({key})", "add_place(place)")
        if self.collection.unique:
            values = ", ".join(self.locals_[column] for column in self.collection.unique)
            self.add(2, f"output.uniques.append(({values},))")
        self._emit_rest(key)

    def _emit_residue(self) -> None:
        self.add(2, "if k == len(d) and not u:", "    residue = None", "else:")
        self.add(3, "setting = {name: value for name, value in d.items() if name not in GIVEN or name in x}")
        self.add(3, "residue = pack_residue(setting, list(u))")

    def _emit_ledger(self) -> None:
        name = self.collection.name.encode()
        head = struct.pack(">h", 5) + _LENGTH(len(name)) + name + _LENGTH(22) + b"\x16\0\0\0\x07_id\0"
        loaded = _LENGTH(6) + b"loaded"
        self.add(2, "tid = tid.encode()")
        self.add(2, "tail = NULL if residue is None else I(len(residue)) + residue")
        self.names["NULL"] = _NULL
        parts = f"{self.bind('head', head)}, oid, ZERO, I(len(tid)), tid, {self.bind('loaded', loaded)}, tail"
        self.names["ZERO"] = b"\0"
        self.add(2, f"add_ledger(join(({parts})))")

    def _emit_rest(self, key: str) -> None:
        if self.collection.links:
            fields = tuple(link.path for link in self.collection.links)
            self.add(2, f"if {' or '.join(f'get({name!r})' for name in fields)}:")
            self.add(3, f"links = encoder.link_tuples(d, {{{self.collection.key.column!r}: {key}}})")
            self.add(3, "output.links += [(place, link) for link in links]")
        self.add(2, "if notes:")
        self.add(3, "source_id = b'\\x16\\0\\0\\0\\x07_id\\0' + oid + ZERO")
        self.add(3, "encoder.add_findings(output, place, translation.findings(source_id))")

    def _parts(self) -> Iterator[str]:
        """Expressions for the bytes of the row, literal bytes joined where they stand next to each other."""
        literal = struct.pack(">h", len(self.collection.table.columns))
        for name, kind in rows.kinds_of_table(self.collection.table):
            if name in self.constants:
                literal += rows.write_row((self.constants[name],), (kind,))[2:]
                continue
            local = self.locals_.get(name)
            if local is None:
                literal += _NULL
                continue
            nullable = bool(self.collection.table.c[name].nullable)
            size = b"" if nullable or kind not in _FIXED else _LENGTH(_FIXED[kind])
            if literal + size:
                yield self.bind("bytes", literal + size)
            literal = b""
            yield from self._value(name, local, kind, nullable)
        if literal:
            yield self.bind("bytes", literal)

    def _value(self, name: str, local: str, kind: str, nullable: bool) -> Iterator[str]:
        plain = {
            "uuid": local,
            "integer": f"I({local})",
            "boolean": f"(b'\\x01' if {local} else b'\\x00')",
            "timestamp": f"Q({local} - {rows.EPOCH_SHIFT})",
        }.get(kind)
        if plain is not None:
            whole = f"NULL if {local} is None else {_LENGTH(_FIXED[kind])!r} + {plain}"
            yield f"({whole})" if nullable else plain
            return
        encoded = f"e{local}"
        write = f"{local}.encode()" if kind == "text" else f"{self.bind('write', rows.writer(kind))}({local})"
        if nullable:
            self.add(2, f"if {local} is None:", f"    {encoded} = b''; l{encoded} = NULL", "else:")
            self.add(3, f"{encoded} = {write}; l{encoded} = I(len({encoded}))")
            yield f"l{encoded}"
        else:
            self.add(2, f"{encoded} = {write}")
            yield f"I(len({encoded}))"
        yield encoded


def _has_form(rule: Rule) -> bool:
    """Whether a rule can be written in line."""
    if isinstance(rule, Take):
        simple = len(rule.paths) == 1 and "." not in rule.paths[0] and rule.back_to is None
        return simple and _READINGS.get(type(rule.codec)) is not None
    return isinstance(rule, Imply | Compute | Refer | Name)


_READINGS: dict[type[Any], tuple[str, str, str]] = {
    # codec → (condition, value, what rules it out)
    codecs.Text: ("v.__class__ is str", "v", "'\\0' in v"),
    codecs.Boolean: ("v is True or v is False", "v", ""),
    codecs.Integer: ("v.__class__ is int", "v", "not -2147483648 <= v <= 2147483647"),
    codecs.Moment: ("v.__class__ is DatetimeMS", "v._value * 1000", "not LO <= {0} <= HI"),
}


def _reading(rule: Take, target: str) -> list[str]:
    """Code that reads the usual type; anything odd about the value leaves the document to `translate`."""
    condition, value, odd = _READINGS[type(rule.codec)]
    lines = [f"if {condition}:", f"    {target} = {value}; k += 1"]
    checks = [odd.format(target)] if odd else []
    if isinstance(rule.codec, codecs.Text) and rule.codec.most is not None:
        checks.append(f"len(v) > {rule.codec.most // 4}")
    if checks:
        lines += [f"    if {' or '.join(checks)}:", "        slow(place); continue"]
    return lines
