"""A mapping → one specialised function that turns decoded documents into tuples of binary COPY.

The function is generated from the rules. It does in line what documents nearly always need, asks a memo for what
follows from familiar fields (familiar.py), and calls the rule for the rest; a document with anything unusual in it
(another type, NUL, a date out of range, an `_id` that is no ObjectId …) is left to `translate`, which it must agree
with to the byte: tests compare the two on arbitrary documents. `source_of` shows the code.

In the code, `f…` are fields of the document `d` (`A` where absent), `p…` plain values of columns, `a` counts the
fields that rules give back and `d` lacks, `x` are those with another value, `u` those to unset.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any

from bson import ObjectId
from bson.datetime_ms import DatetimeMS

from migrator.ids import canonical_uuids, collection_tag, objectid_to_uuid, uuid_of, uuid_text
from migrator.mapping import Collection
from migrator.translation import codecs, rows
from migrator.translation.codecs import UNREADABLE
from migrator.translation.context import ABSENT, Archived, Rejected, Rule
from migrator.translation.draft import Draft
from migrator.translation.encode import PROBED_BYTES, Encoder
from migrator.translation.exact import same
from migrator.translation.familiar import NOTHING, Group, Memo, group_of
from migrator.translation.forms import has_form, write_back, write_forward, write_implied
from migrator.translation.packing import Packing, Run, runs_of
from migrator.translation.references import Key, Name, Refer
from migrator.translation.residues import TOGETHER, Residues, settle
from migrator.translation.rules import Compute, Imply, OneOf

Fast = Callable[..., list[int]]

_LENGTH = struct.Struct(">i").pack
_CANONICAL = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch


def compile_collection(collection: Collection, options: Any, lister: str | None = None) -> Fast:
    """The function for one collection: `fast(documents, translation, output, first=0)`. `lister` as for `Encoder`.

    It fills `output` and returns the places of the documents that it leaves to `translate`; documents that are None are
    passed over, and places are counted from `first`.
    """
    if any(collection.key.column in rule.columns for rule in collection.rules):
        return leave_all  # the id is known only when other columns are
    code = Code(collection, options, lister)
    text = code.source()
    namespace = dict(code.names)
    exec(compile(text, f"<compiled {collection.name}>", "exec"), namespace)
    function: Fast = namespace["fast"]
    return function


def leave_all(documents: Any, translation: Any, output: Any, first: int = 0) -> list[int]:
    """What stands in for a compiled function where nothing can be compiled."""
    return [place for place, document in enumerate(documents, first) if document is not None]


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


class Code(Draft):
    """The code of one collection, while it is written."""

    def __init__(self, collection: Collection, options: Any, lister: str | None = None) -> None:
        super().__init__(collection, collection.constants(options))
        self._lister = lister
        given = self.collection.gives | {"_id"}
        self.names.update(
            A=ABSENT, U=UNREADABLE, ObjectId=ObjectId, DatetimeMS=DatetimeMS, Rejected=Rejected, Archived=Archived,
            same=same, I=_LENGTH, I2=struct.Struct(">ii").pack, Q=struct.Struct(">q").pack, IdMemo=IdMemo,
            to_v7=objectid_to_uuid, uuid_text=uuid_text, encoder=Encoder(self.collection), NULL=rows.NULL,
            SIMPLE=frozenset({str, bool, int, type(None), ObjectId}), LO=codecs.EARLIEST, HI=codecs.LATEST,
            join=b"".join, rule_of=self.collection.rules, canonical_uuids=canonical_uuids,
            residue_of=Residues(given).find, settle=settle, ALL=len(given), known=_known,
        )  # fmt: skip
        self.fragments: list[str] = []
        self._sort_rules()

    def _sort_rules(self) -> None:
        """Every rule has one of five places: the memo, a reference, a field that a reference leads to, in line, or as
        it is (it shares a field it gives back with another rule, or is of a kind without a form in line)."""
        rules = self.collection.rules
        shared = [name for rule in (self.collection.key, *rules) for name in rule.gives]
        alone = [rule for rule in rules if not any(shared.count(name) > 1 for name in rule.gives)]
        self.group: Group = group_of(self.collection, alone)
        rest = [rule for rule in rules if rule not in self.group.rules]
        self.generic = [rule for rule in rest if rule not in alone or not has_form(rule)]
        inline = [rule for rule in rest if rule not in self.generic]
        self.refers = [rule for rule in inline if isinstance(rule, Refer)]
        self.led = [
            [rule for rule in inline if isinstance(rule, Imply) and _is_led(rule, refer)] for refer in self.refers
        ]
        elsewhere = [*self.refers, *(rule for led in self.led for rule in led)]
        self.inline = [rule for rule in inline if rule not in elsewhere]

    def source(self) -> str:
        """The whole function."""
        if self.lines:
            return "\n".join(self.lines)
        self.add(0, "def fast(documents, translation, output, first=0):")
        self._prologue()
        self.add(1, "for place, d in enumerate(documents, first):")
        self.add(2, "if d is None:", "    continue", "if notes:", "    notes.clear()")
        self.add(2, "try:")
        self.add(3, "get = d.get", "oid = get('_id')", *(["forms = cuts = ()"] if self.collection.choices else []))
        self.add(3, "if oid.__class__ is not ObjectId:", "    slow(place); continue", "oid = oid.binary")
        self._translate()
        self.add(2, "except (Rejected, Archived, RecursionError):", "    slow(place); continue")
        self._emit()
        self.add(1, "settle(ledger, debts)", "return left")
        return "\n".join(self.lines)

    def _prologue(self) -> None:
        key = self.collection.key
        self.add(1, "left = []", "slow = left.append", "notes = translation.notes", "T = translation")
        self.add(1, "ledger = output.ledger", "debts = []", "owe = debts.append")
        self.add(1, "add_row = output.rows.append", "add_ledger = ledger.append")
        self.add(1, "add_id = output.ids.append", "add_place = output.places.append")
        self.add(1, f"own = IdMemo({self.bind('key', key)})")
        claimed = (
            "()" if key.text or key.path == "_id" else f"[d.get({key.path!r}) for d in documents if d is not None]"
        )
        self.add(1, f"uuid_of = canonical_uuids({claimed}).get")
        for rule in self.collection.rules:
            if isinstance(rule, Refer | Name) and rule.key != key:
                self.add(1, f"{self.memo_of(rule)} = IdMemo({self.bind('key', rule.key)})")
        self.add(1, *(f"found{number} = {{}}" for number in range(len(self.refers))))

    def _translate(self) -> None:
        for number in range(len(self.refers)):
            self._forward_refer(number)
        self._recall()
        self._key()
        for rule in self.collection.rules:
            if rule in self.generic:
                self._forward_generic(rule)
            elif rule in self.inline:
                write_forward(self, rule)
        for number in range(len(self.refers)):
            self._back_refer(number)
        for rule in self.inline:
            write_back(self, rule)
        self._back_generic()

    # --- references, and what is familiar -----------------------------------------------------------------------

    def _forward_refer(self, number: int) -> None:
        """Looks up what a field refers to: columns, and the fields that follow from these alone."""
        rule = self.refers[number]
        targets = [self.local(column) for column in rule.columns]
        known = [*targets, f"exact{number}", *(f"b{number}_{place}" for place in range(len(self.led[number])))]
        v = self.value(rule.path)
        self.add(3, f"if {v}.__class__ is not str and {v}.__class__ is not ObjectId or not {v}:")
        self.add(3, "    slow(place); continue")
        self.add(3, f"r = found{number}.get({v})", "if r is None:")
        self.add(4, f"candidates = T.find({self.bind('lookup', rule.lookup)}, {self.memo_of(rule)}[{v}][0])")
        self.add(4, "if len(candidates) != 1:", "    slow(place); continue", "c = candidates[0]")
        carried = [f"c.carried[{name!r}]" for name in rule.carry]
        self.add(4, *(f"{target} = {each}" for target, each in zip(targets, ["c.id", *carried], strict=True)))
        exact = f"same({self.bind('write', rule.write)}({targets[0]}), {v})" if rule.write else "True"
        implied = [f"known({write_implied(self, each)})" for each in self.led[number]]
        self.add(4, f"r = found{number}[{v}] = ({', '.join([*targets, exact, *implied])},)")
        self.add(3, f"{', '.join(known)}, = r")

    def _back_refer(self, number: int) -> None:
        rule = self.refers[number]
        if rule.write:
            self.add(3, f"if not exact{number}:", f"    x += ({rule.path!r},)")
        for place, each in enumerate(self.led[number]):
            self.compare(each.path, f"b{number}_{place}")

    def _recall(self) -> None:
        """What follows from familiar fields: out of the memo, which learns it from the rules where it has to."""
        group, generic = self.group, bool(self.generic)
        if not group.rules:
            self.add(3, f"m = {self.bind('nothing', NOTHING)}", "a, x, u, known_tail = m")
            return
        columns = [name for name in group.columns if generic or name in self._needed()]
        self.fragments = [f"g{place}" for place, run in enumerate(self._familiar_runs())]
        memo = Memo(group, columns, [run.columns for run in self._familiar_runs()])
        self.names.update(learn=memo.learn, recall=memo.entries.get)
        fields = [self.value(name) for name in group.fields]
        values = [*fields, *(self.locals_[name] for name in group.inputs), *(f"{v}.__class__" for v in fields)]
        self.add(3, f"values = ({', '.join(values)},)", "try:", "    m = recall(values)")
        self.add(3, "except TypeError:  # an array or a document", "    m = None", "if m is None:")
        self.add(4, "m = learn(values, T)", "if m is None:", "    slow(place); continue")
        targets = [self.local(name) for name in columns] + self.fragments
        self.add(3, f"{', '.join(['a, x, u, known_tail', *targets])} = m")

    def _needed(self) -> set[str]:
        """Row keys that the code uses beside the row itself."""
        needed = {*self.collection.probes, *self.collection.unique}
        for rule in self.inline:
            if isinstance(rule, Compute):
                needed.update(rule.after + rule.reverse_of)
            elif isinstance(rule, Imply | OneOf):
                needed.update(rule.of)
        return needed

    def _runs(self) -> list[Run]:
        filled = {name for rule in (self.collection.key, *self.collection.rules) for name in rule.columns}
        literal = {column.name for column in self.collection.table.columns} - filled | self.constants.keys()
        return runs_of(self.collection.table, literal, self.group.columns)

    def _familiar_runs(self) -> list[Run]:
        return [run for run in self._runs() if run.known == "familiar"]

    # --- the id -------------------------------------------------------------------------------------------------

    def _key(self) -> None:
        key, target = self.collection.key, self.local(self.collection.key.column)
        if key.path == "_id":
            self.add(3, f"{target} = to_v7(oid, {collection_tag(key.collection)})", f"tid = uuid_text({target})")
            return
        v = self.value(key.path)
        self.add(3, f"if {v}.__class__ is not str or not {v}:", "    slow(place); continue")
        if key.text:
            self.add(3, f"if len({v}) > {key.most // 4} or '\\0' in {v}:", "    slow(place); continue")
            self.add(3, f"{target} = tid = {v}")
            return
        self.add(3, f"tid = {v}", f"{target} = uuid_of({v})", f"if {target} is None:")
        self.add(4, f"{target}, exact = own[{v}]", "if not exact:")
        self.add(5, f"x += ({key.path!r},); tid = uuid_text({target})")

    # --- the way there ------------------------------------------------------------------------------------------

    def _forward_generic(self, rule: Rule) -> None:
        number = self.collection.rules.index(rule)
        self.add(3, f"row = {self.row()}", f"rule_of[{number}].forward(d, row, T)")
        for column in rule.columns:
            self.add(3, f"{self.local(column)} = row[{column!r}]")

    # --- the way back -------------------------------------------------------------------------------------------

    def _back_generic(self) -> None:
        names = sorted({name for rule in self.generic for name in rule.gives})
        if not names:
            return
        self.add(3, f"row = {self.row()}", "given = {}")
        for rule in self.generic:
            self.add(3, f"rule_of[{self.collection.rules.index(rule)}].back(row, given)")
        self.add(3, f"for name in {self.bind('gives', tuple(names))}:", "    b = given.get(name, A); w = get(name, A)")
        self.add(4, "if w is A:", "    a += 1", "    if b is not A:", "        u += (name,)")
        self.add(4, "elif b is A or not same(b, w):", "    x += (name,)")

    # --- out ----------------------------------------------------------------------------------------------------

    def _emit(self) -> None:
        for column in self.collection.probes:
            local = self.locals_[column]
            self.add(2, f"if {local} is not None and len({local}) > {PROBED_BYTES // 4}:", "    slow(place); continue")
        self._emit_row()
        self._emit_ledger()
        key = self.locals_[self.collection.key.column]
        self.add(2, f"add_id({key})", "add_place(place)")
        if self.collection.unique:
            values = ", ".join(self.locals_[column] for column in self.collection.unique)
            self.add(2, f"output.uniques.append(({values},))")
        if self._lister is not None:
            self.add(2, f"output.members.append(({self.locals_[self._lister]}, oid))")
        self._emit_rest(key)

    def _emit_row(self) -> None:
        packing = Packing(self.collection.table, self.constants, self.locals_, self.bind)
        parts = ", ".join(packing.parts(self._runs(), iter(self.fragments)))
        self.add(2, *packing.lines, f"add_row(join(({parts},)))")

    def _emit_ledger(self) -> None:
        usual = " and not forms and not cuts" if self.collection.choices else ""
        self.add(2, f"if a + len(d) == ALL and x is m[1] and u is m[2] and known_tail is not None{usual}:")
        self.add(2, "    tail = known_tail", "else:")
        self.add(3, f"if len(debts) == {TOGETHER}:", "    settle(ledger, debts)")
        self.add(3, f"tail = b''; owe((len(ledger), residue_of(d, x, u{', forms, cuts' if usual else ''})))")
        name = self.collection.name.encode()
        head = struct.pack(">h", 5) + _LENGTH(len(name)) + name + _LENGTH(22) + b"\x16\0\0\0\x07_id\0"
        loaded = _LENGTH(6) + b"loaded"
        parts = f"{self.bind('head', head)}, oid, ZERO, I(len(tid)), tid, {self.bind('loaded', loaded)}, tail"
        self.names["ZERO"] = b"\0"
        self.add(2, "tid = tid.encode()", f"add_ledger(join(({parts})))")

    def _emit_rest(self, key: str) -> None:
        if self.collection.links:
            fields = tuple(link.path for link in self.collection.links)
            self.add(2, f"if {' or '.join(f'get({name!r})' for name in fields)}:")
            self.add(3, f"links = encoder.link_tuples(d, {{{self.collection.key.column!r}: {key}}})")
            self.add(3, "output.links += [(place, link) for link in links]")
        self.add(2, "if notes:")
        self.add(3, "source_id = b'\\x16\\0\\0\\0\\x07_id\\0' + oid + ZERO")
        self.add(3, "encoder.add_findings(output, place, translation.findings(source_id))")


def _is_led(rule: Imply, refer: Refer) -> bool:
    """Whether a field follows from what a reference leads to, and from nothing else."""
    return bool(rule.of) and set(rule.of) <= set(refer.columns)


def _known(value: Any) -> Any:
    return ABSENT if value is UNREADABLE else value
