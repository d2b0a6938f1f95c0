"""A mapping → one specialised function that turns documents that have been cut into tuples of binary COPY.

The function is generated from the rules. It does in line what documents nearly always need, asks a memo for what
follows from familiar fields (familiar.py), and calls the rule for the rest; a document with anything unusual in it
(another type, NUL, a date out of range, an `_id` that is no ObjectId …) is left to `translate`, which it must agree
with to the byte: tests compare the two on arbitrary documents. `source_of` shows the code.

In the code, `f…` are fields of the document (`A` where absent), `d` the whole of it where a rule needs that, `p…` plain
values of columns, `x` are fields that the row gives back with another value, `u` those to unset.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from migrator.documents.codec import Document, decode, same
from migrator.ids import collection_tag, objectid_to_uuid, uuid_of, uuid_text
from migrator.mapping.codecs import UNREADABLE
from migrator.mapping.collection import Collection, Rule
from migrator.mapping.context import ABSENT, Archived, Rejected
from migrator.mapping.references import Key, Reference, UncheckedReference
from migrator.mapping.rules import Compute, Implied, JsonObject, Variants
from migrator.postgres import copy_format
from migrator.translation import tuple_layout
from migrator.translation.codegen import CodeWriter
from migrator.translation.encoder import PROBED_BYTES, Encoder
from migrator.translation.memo import NOTHING, Group, Memo, group_of
from migrator.translation.projection import Projection, Projections, SlotType
from migrator.translation.residue_fields import ResidueHeaderCache
from migrator.translation.templates import has_form, write_back, write_forward, write_implied
from migrator.translation.tuple_layout import Layout, Run, Slot, runs_of

Fast = Callable[..., list[int]]

_LENGTH = struct.Struct(">i").pack


@dataclass(frozen=True, slots=True)
class Compiled:
    """The function for one collection: `fast(cuts, translation, output, first)`, and what it wants of documents.

    It fills `output` and returns the places of the documents that it leaves to `translate`; documents that have not
    been cut are passed over, and places are counted from `first`.
    """

    wanted: Projection
    fast: Fast

    def asking(self, cuts: Projections) -> list[Document]:
        """Documents that ask what those ask which have been cut: the whole, or each different reference by itself."""
        found = [each for each in cuts.tuples if each is not None]
        asked: list[Document] = []
        for place, (name, form) in enumerate(self.wanted.slots, HEAD):
            if form is SlotType.WHOLE:
                return [each[place] for each in found]
            if form is SlotType.VALUE and name in self.wanted.references:
                values = [each[place] for each in found if each[place] is not ABSENT]
                asked += [{name: text} for text in {value for value in values if type(value) is str}]
                asked += [{name: value} for value in values if type(value) is not str]
        return asked


HEAD = 3  # values that stand before the slots in a tuple


def compile_collection(
    collection: Collection,
    options: Any,
    lister: str | None = None,
    packer: Callable[..., Callable[..., bytes]] = tuple_layout.packer_of,
) -> Compiled:
    """The function for one collection. `lister` as for `Encoder`; `packer` makes what joins the tuples."""
    if any(collection.key.column in rule.columns for rule in collection.rules):
        return Compiled(
            Projection(frozenset(), (), (("", SlotType.WHOLE),)), leave_all
        )  # the id follows from other columns
    code = Code(collection, options, lister, packer)
    text = code.source()
    namespace = dict(code.names)
    exec(compile(text, f"<compiled {collection.name}>", "exec"), namespace)
    return Compiled(code.wanted(), namespace["fast"])


def leave_all(cuts: Projections, translation: Any, output: Any, first: int = 0) -> list[int]:
    """What stands in for a compiled function where nothing can be compiled."""
    return [place for place, each in enumerate(cuts.tuples, first) if each is not None]


def source_of(collection: Collection, options: Any) -> str:
    """The generated code, to read."""
    return Code(collection, options).source()


class IdMemo(dict[Any, tuple[bytes, bool]]):
    """A string or ObjectId that claims an id → (its UUID, whether that gives the string back). One batch long."""

    def __init__(self, key: Key) -> None:
        super().__init__()
        self._collection, self._objectid = key.collection, key.path == "_id"

    def __missing__(self, text: Any) -> tuple[bytes, bool]:
        value = uuid_of(self._collection, text, objectid=self._objectid)
        self[text] = found = (value, uuid_text(value) == text)
        return found


class Code(CodeWriter):
    """The code of one collection, while it is written."""

    def __init__(
        self,
        collection: Collection,
        options: Any,
        lister: str | None = None,
        packer: Callable[..., Callable[..., bytes]] = tuple_layout.packer_of,
    ) -> None:
        super().__init__(collection, collection.constants(options))
        self._lister, self._packer = lister, packer
        self.names.update(
            A=ABSENT, Rejected=Rejected, Archived=Archived, ObjectId=ObjectId, IdMemo=IdMemo, same=same,
            decode=decode, to_v7=objectid_to_uuid, known=_known, SIMPLE=frozenset({str, bool, int, type(None)}),
            encoder=Encoder(self.collection), rule_of=self.collection.rules, tell=ResidueHeaderCache().tell,
        )  # fmt: skip
        self.fragments: list[str] = []
        self._sort_rules()

    def _sort_rules(self) -> None:
        """Every rule has one of six places: the memo, a reference, a field that a reference leads to, in line, only
        where one of its fields is there (`JsonObject`), or as it is (it shares a field it gives back with another rule,
        or is of a kind without a form in line)."""
        rules = self.collection.rules
        shared = [name for rule in (self.collection.key, *rules) for name in rule.restored_fields]
        alone = [rule for rule in rules if not any(shared.count(name) > 1 for name in rule.restored_fields)]
        self.group: Group = group_of(self.collection, alone)
        rest = [rule for rule in rules if rule not in self.group.rules]
        self.packs = [rule for rule in rest if rule in alone and isinstance(rule, JsonObject)]
        self.generic = [rule for rule in rest if rule not in self.packs and (rule not in alone or not has_form(rule))]
        inline = [rule for rule in rest if rule not in self.generic and rule not in self.packs]
        self.refers = [rule for rule in inline if isinstance(rule, Reference)]
        self.led = [
            [rule for rule in inline if isinstance(rule, Implied) and _is_led(rule, refer)] for refer in self.refers
        ]
        elsewhere = [*self.refers, *(rule for led in self.led for rule in led)]
        self.inline = [rule for rule in inline if rule not in elsewhere]

    def wanted(self) -> Projection:
        """What the function asks of documents; once its code is written."""
        familiar = self.group.fields if self.group.rules else ()
        references = frozenset(name for lookup in self.collection.lookups for name in lookup.fields)
        return Projection(self.collection.restored_fields, familiar, tuple(self.fields), references)

    def source(self) -> str:
        """The whole function."""
        if self.lines:
            return "\n".join(self.lines)
        self._translate()
        self.add(2, "except (Rejected, Archived, RecursionError):", "    slow(first + n); continue")
        self._emit()
        self.add(1, "return left")
        for name in sorted(name for lookup in self.collection.lookups for name in lookup.fields):
            self.value(name)
        if self.collection.listed_by is not None or not all(lookup.fields for lookup in self.collection.lookups):
            self.whole()  # nobody but the rule knows what it asks
        written, self.lines = self.lines, []
        self.add(0, "def fast(cuts, translation, output, first=0):")
        self._prologue()
        self.add(1, "for n, c in enumerate(cuts.tuples):")
        self.add(2, "if c is None:", "    continue", "if notes:", "    notes.clear()")
        self.add(2, f"{', '.join(['oid, others, fam', *self.fields.values()])} = c")
        self.add(2, *(["forms = cut = ()"] if self.collection.variant_rules else []), "try:")
        self.lines += written
        return "\n".join(self.lines)

    def _prologue(self) -> None:
        key = self.collection.key
        self.add(1, "left = []", "slow = left.append", "notes = translation.notes", "T = translation")
        self.add(1, "residue = cuts.residue", "add_row = output.rows.append", "add_ledger = output.ledger.append")
        self.add(1, "add_id = output.ids.append", "add_place = output.places.append")
        self.add(1, f"own = IdMemo({self.bind('key', key)})")
        for rule in self.collection.rules:
            if isinstance(rule, Reference | UncheckedReference) and rule.key != key:
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
            elif isinstance(rule, JsonObject) and rule in self.packs:
                self._forward_pack(rule)
            elif rule in self.inline:
                write_forward(self, rule)
        for number in range(len(self.refers)):
            self._back_refer(number)
        for rule in self.inline:
            write_back(self, rule)
        for pack in self.packs:
            self._back_pack(pack)
        self._back_generic()

    # --- references, and what is familiar -----------------------------------------------------------------------

    def _forward_refer(self, number: int) -> None:
        """Looks up what a field refers to: columns, and the fields that follow from these alone."""
        rule = self.refers[number]
        targets = [self.local(column) for column in rule.columns]
        known = [*targets, f"exact{number}", *(f"b{number}_{place}" for place in range(len(self.led[number])))]
        v = self.value(rule.path)
        self.add(3, f"if {v}.__class__ is not str and {v}.__class__ is not ObjectId or not {v}:")
        self.add(3, "    slow(first + n); continue")
        self.add(3, f"r = found{number}.get({v})", "if r is None:")
        self.add(4, f"candidates = T.find({self.bind('lookup', rule.lookup)}, {self.memo_of(rule)}[{v}][0])")
        self.add(4, "if len(candidates) != 1:", "    slow(first + n); continue", "candidate = candidates[0]")
        carried = [f"candidate.carried[{name!r}]" for name in rule.carry]
        self.add(4, *(f"{target} = {each}" for target, each in zip(targets, ["candidate.id", *carried], strict=True)))
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
            self.add(3, f"m = {self.bind('nothing', NOTHING)}", "x, u, known_tail = m")
            return
        columns = [name for name in group.columns if generic or name in self._needed()]
        self.fragments = [f"g{place}" for place, run in enumerate(self._familiar_runs())]
        memo = Memo(group, columns, [run.columns for run in self._familiar_runs()])
        self.names.update(learn=memo.learn, recall=memo.entries.get)
        self.add(3, f"key = ({', '.join(['fam', *(self.locals_[name] for name in group.inputs)])},)")
        self.add(3, "m = recall(key)", "if m is None:", "    m = learn(key, decode(cuts.raw(n)), T)")
        self.add(4, "if m is None:", "    slow(first + n); continue")
        targets = [self.local(name) for name in columns] + self.fragments
        self.add(3, f"{', '.join(['x, u, known_tail', *targets])} = m")

    def _needed(self) -> set[str]:
        """Row keys that the code uses beside the row itself."""
        needed = {*self.collection.probes, *self.collection.unique}
        for rule in self.inline:
            if isinstance(rule, Compute):
                needed.update(rule.inputs + rule.reverse_inputs)
            elif isinstance(rule, Implied | Variants):
                needed.update(rule.inputs)
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
            self.add(3, f"{target} = to_v7(oid, {collection_tag(key.collection)})")
            return
        if key.text:
            v = self.value(key.path)
            self.add(3, f"if {v}.__class__ is not str or not {v} or len({v}) > {key.most // 4} or '\\0' in {v}:")
            self.add(3, "    slow(first + n); continue", f"{target} = {v}")
            return
        v = self.value(key.path, SlotType.UUID)
        self.add(3, f"if {v}.__class__ is bytes:", f"    {target} = {v}")
        self.add(3, f"elif {v}.__class__ is str and {v}:", f"    {target}, exact = own[{v}]")
        self.add(4, "if not exact:", f"    x += ({key.path!r},)")
        self.add(3, "else:", "    slow(first + n); continue")

    # --- the way there ------------------------------------------------------------------------------------------

    def _forward_generic(self, rule: Rule) -> None:
        number = self.collection.rules.index(rule)
        self.add(3, f"row = {self.row()}", f"rule_of[{number}].to_row({self.whole()}, row, T)")
        for column in rule.columns:
            self.add(3, f"{self.local(column)} = row[{column!r}]")

    def _forward_pack(self, rule: JsonObject) -> None:
        """Most documents have none of its fields: the whole document is decoded for the others."""
        number, row = self.collection.rules.index(rule), self.row()
        target = self.local(rule.column)
        there = [self.value(name, SlotType.THERE) for name in rule.fields]
        self.add(3, f"packed{number} = not ({' is '.join([*there, 'A'])})")
        self.add(3, f"if not packed{number}:", f"    {target} = None", "else:")
        self.add(4, f"whole = decode(cuts.raw(n)); row = {row}", f"rule_of[{number}].to_row(whole, row, T)")
        self.add(4, f"{target} = row[{rule.column!r}]")

    def _back_pack(self, rule: JsonObject) -> None:
        number = self.collection.rules.index(rule)
        self.add(3, f"if packed{number}:", f"    row = {self.row()}; given = {{}}; get = whole.get")
        self.add(4, f"rule_of[{number}].to_document(row, given)")
        self._compare_given(4, rule.restored_fields)

    # --- the way back -------------------------------------------------------------------------------------------

    def _back_generic(self) -> None:
        names = sorted({name for rule in self.generic for name in rule.restored_fields})
        if not names:
            return
        self.add(3, f"row = {self.row()}", "given = {}", f"get = {self.whole()}.get")
        for rule in self.generic:
            self.add(3, f"rule_of[{self.collection.rules.index(rule)}].to_document(row, given)")
        self._compare_given(3, tuple(names))

    def _compare_given(self, depth: int, names: tuple[str, ...]) -> None:
        """Fields of the document against what rules gave back for them."""
        self.add(depth, f"for name in {self.bind('gives', names)}:", "    b = given.get(name, A); w = get(name, A)")
        self.add(depth + 1, "if w is A:", "    if b is not A:", "        u += (name,)")
        self.add(depth + 1, "elif b is A or not same(b, w):", "    x += (name,)")

    # --- out ----------------------------------------------------------------------------------------------------

    def _emit(self) -> None:
        for column in self.collection.probes:
            local = self.locals_[column]
            self.add(2, f"if {local} is not None and len({local}) > {PROBED_BYTES // 4}:")
            self.add(2, "    slow(first + n); continue")
        self._emit_row()
        self._emit_ledger()
        key = self.locals_[self.collection.key.column]
        self.add(2, f"add_id({key})", "add_place(first + n)")
        if self.collection.unique:
            values = ", ".join(self.locals_[column] for column in self.collection.unique)
            self.add(2, f"output.uniques.append(({values},))")
        if self._lister is not None:
            self.add(2, f"output.members.append(({self.locals_[self._lister]}, oid))")
        self._emit_rest(key)

    def _emit_row(self) -> None:
        layout = Layout()
        layout.add_literal(struct.pack(">h", len(self.collection.table.columns)))
        fragments = iter(self.fragments)
        for run in self._runs():
            if run.known == "literal":
                values = [self.constants.get(name) for name, _ in run.columns]
                layout.add_literal(copy_format.write_row(values, [kind for _, kind in run.columns])[2:])
            elif run.known == "familiar":
                layout.add(Slot.FRAGMENT, next(fragments))
            else:
                for name, kind in run.columns:
                    layout.add(*tuple_layout.piece_of(kind, self.locals_[name], self.bind))
        self.add(2, f"add_row({self.bind('pack_row', self._packer(layout.pieces))}({', '.join(layout.values)}))")

    def _emit_ledger(self) -> None:
        key = self.collection.key
        several = bool(self.collection.variant_rules)
        usual, told = (" and not forms and not cut", "forms, cut") if several else ("", "(), ()")
        told = f"tell(u, {told}) if {'u or forms or cut' if several else 'u'} else b''"
        self.add(2, f"if not others and x is m[0] and u is m[1] and known_tail is not None{usual}:")
        self.add(2, "    tail = known_tail", "else:", f"    tail = residue(n, x, {told})")
        layout = Layout()
        name = self.collection.name.encode()
        layout.add_literal(struct.pack(">h", 5) + _LENGTH(len(name)) + name + _LENGTH(22) + b"\x16\0\0\0\x07_id\0")
        layout.add(Slot.FRAGMENT, "oid")
        layout.add_literal(b"\0")
        layout.add(Slot.TEXT if key.text else Slot.UUID_TEXT, self.locals_[key.column])
        layout.add_literal(_LENGTH(6) + b"loaded")
        layout.add(Slot.FRAGMENT, "tail")
        self.add(2, f"add_ledger({self.bind('pack_ledger', self._packer(layout.pieces))}({', '.join(layout.values)}))")

    def _emit_rest(self, key: str) -> None:
        if self.collection.links:
            links = [(link.path, self.value(link.path)) for link in self.collection.links]
            self.add(2, f"if {' or '.join(f'{v} is not A and {v}' for _, v in links)}:")
            listing = ", ".join(f"{path!r}: {v}" for path, v in links)
            self.add(3, f"found = encoder.link_tuples({{{listing}}}, {{{self.collection.key.column!r}: {key}}})")
            self.add(3, "output.links += [(first + n, link) for link in found]")
        self.add(2, "if notes:")
        self.add(3, "source_id = b'\\x16\\0\\0\\0\\x07_id\\0' + oid + b'\\0'")
        self.add(3, "encoder.add_findings(output, first + n, translation.findings(source_id))")


def _is_led(rule: Implied, refer: Reference) -> bool:
    """Whether a field follows from what a reference leads to, and from nothing else."""
    return bool(rule.inputs) and set(rule.inputs) <= set(refer.columns)


def _known(value: Any) -> Any:
    return ABSENT if value is UNREADABLE else value
