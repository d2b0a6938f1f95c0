"""A toy collection with every kind of rule in more than one spelling, variants of it, and documents for it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from bson import Int64
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.dialects.postgresql import UUID as UUID_TYPE

from migrator.documents.codec import Document
from migrator.mapping.codecs import BOOLEAN, DATETIME, INTEGER, JSON, NUMBER, TEXT, Enum, ObjectIdText, Text
from migrator.mapping.collection import Collection, Link
from migrator.mapping.context import ABSENT, Archived, Context, Match, Rejected
from migrator.mapping.defaults import created_at
from migrator.mapping.json_objects import Entry, JsonObject
from migrator.mapping.references import Key, Reference, UncheckedReference
from migrator.mapping.rules import Compute, Filter, Variants, imply_field, map_field
from migrator.mapping.text_parts import TextParts
from tests import strategies

OTHERS = Key(path="_id", collection="others")
THINGS = Key(path="thing", collection="things")
PARTS = TextParts()
COLUMNS = {
    "label": sa.Text, "short": sa.Text, "known": sa.Text, "count": sa.Integer, "flag": sa.Boolean, "at": TIMESTAMP,
    "level": sa.Text, "either": sa.Text, "deep": sa.Text, "json": JSONB, "packed": JSONB, "other": UUID_TYPE,
    "parent": UUID_TYPE, "size": sa.Text, "kind": sa.Text, "mark": sa.Text, "unfilled": sa.Text, "started": TIMESTAMP,
    "sure": sa.Boolean, "mode": sa.Text, "spelt": JSONB, "texts": sa.Text, "view": sa.Text,
}  # fmt: skip


def table_of(key: type[Any]) -> sa.Table:
    columns: list[sa.Column[Any]] = [
        sa.Column(name, kind, nullable=name not in ("other", "started", "kind")) for name, kind in COLUMNS.items()
    ]
    head = (sa.Column("id", key, primary_key=True), sa.Column("tenant_id", UUID_TYPE, nullable=False))
    return sa.Table("things", sa.MetaData(), *head, *columns)


TABLE = table_of(UUID_TYPE)


def size_of(context: Context, label: Any, count: int | None) -> str | None:
    if label == "noted":
        context.note("coerced", "label")
    return None if count is None else f"{kind_name(label)} {count}"


def kind_name(value: Any) -> str:
    return "none" if value is ABSENT else type(value).__name__


def kind_of(context: Context, flag: Any, carried: str) -> tuple[str, str | None]:
    if isinstance(flag, float):
        context.note("coerced", "kind")
    return f"{kind_name(flag)} {carried}", None if flag is None else kind_name(flag)


def texts_of(context: Context, parts: Any) -> str:
    joined = PARTS.join(parts)
    return kind_name(parts) if joined is None else joined


def view_of(context: Context, one: Any, other: Any) -> str:
    """Return whether two fields are lists: a function that does not know that one of them has parts."""
    return f"{type(one) is list} {type(other) is list}"


def refuse(context: Context, value: Any) -> None:
    if value == "archive":
        raise Archived("not_a_payment")
    if value == "reject":
        raise Rejected("orphan")


def gone(context: Context, document: Document) -> Match:
    raise Rejected("orphan", "other")


def named(path: str = "other", column: str = "other", write: bool = True) -> Reference:
    back = ObjectIdText(as_text=True).write if write else None
    return Reference(path=path, column=column, key=OTHERS, carry=("provider", "agent_id"), on_missing=gone, write=back)


RULES = (
    Filter(refuse, ("guard",)),
    map_field("label", "label", TEXT, default="none"),
    map_field("short", "short", Text(most=40), restore_null=True),
    map_field("known", "known", TEXT),
    map_field("count", "count", INTEGER),
    map_field("flag", "flag", BOOLEAN, default=True),
    map_field("sure", "sure", BOOLEAN, default_factory=lambda document, row, context: row["flag"]),
    map_field("at", "at", DATETIME, restore_null=True),
    map_field("started", "started", DATETIME, default_factory=created_at),
    map_field("level", "level", Enum(("low", "high"), spelling=str.upper), default="low"),
    map_field(("either", "or", "x.deep"), "either", TEXT),
    map_field("x.deep", "deep", TEXT, restore_path="x.shallow"),
    map_field("json", "json", JSON),
    JsonObject("packed", (Entry("a", ("a",)), Entry("b", ("b.c", "bee"), NUMBER, restore_path="b.d"))),
    JsonObject(
        "spelt", (Entry("s", ("s_1", "s1"), restore_paths={("high", True): "s1"}),), restore_by=("level", "flag")
    ),
    named(),
    UncheckedReference(path="parent", column="parent", key=THINGS, null_values=("nobody", "", strategies.NO_PARENT)),
    Compute(columns=("size",), fields=("label",), inputs=("count",), function=size_of),
    Compute(
        columns=("kind", "mark"),
        fields=("kind",),
        inputs=("other.provider",),
        function=kind_of,
        restores="mark",
        reverse=lambda kind, mark: ABSENT if mark == "str" else kind,
        reverse_inputs=("kind", "mark"),
    ),
    Compute(columns=("mode",), fields=("mode",), function=lambda context, mode: kind_name(mode), restores="mode"),
    Compute(columns=("texts",), fields=("parts",), function=texts_of, parts={"parts": PARTS}),
    Compute(columns=("view",), fields=("parts", "list"), function=view_of, parts={"parts": PARTS}),
    Variants("parts", (lambda text: [{"type": "text", "text": text}], lambda text: []), ("texts",), parts=PARTS),
    imply_field("zero", 0),
    imply_field("yes", True),
    imply_field("list", []),
    imply_field("null", None),
    imply_field("half", 0.5),
    imply_field("led", lambda agent: ABSENT if agent is None else agent, "other.agent_id"),
    imply_field("told", lambda label, level: f"{label} {level}", "label", "level"),
    imply_field("twice", 1),
    imply_field("twice", lambda label: ABSENT if label == "none" else label, "label"),
)


CONSTANTS = {"tenant_id": bytes(16)}


TOY = Collection(
    name="things",
    table=TABLE,
    key=THINGS,
    rules=RULES,
    constants=CONSTANTS,
    unique={"short": "duplicate_key"},
    links=(Link("links", THINGS),),
    probes={"label": "{}"},
    low_cardinality=frozenset({"known", "kind", "mark"}),
)
LINES = tuple(
    rule
    for rule in RULES
    if not isinstance(rule, Filter | JsonObject) and rule.restored_fields not in (("x",), ("twice",))
)
VARIANTS: dict[str, Collection] = {
    "all rules": TOY,
    "without generic rules": Collection(name="things", table=TABLE, key=THINGS, rules=LINES, constants=CONSTANTS),
    "its own _id": Collection(
        name="others", table=TABLE, key=OTHERS, rules=(named(write=False), *LINES[1:4]), constants=CONSTANTS
    ),
    "a text key": Collection(
        name="texts",
        table=table_of(sa.Text),
        key=Key(path="thing", collection="texts", text=True),
        rules=RULES,
        constants=CONSTANTS,
    ),
    "no rules": Collection(name="things", table=TABLE, key=THINGS, rules=(), constants=CONSTANTS),
}
IDS = [*strategies.MESSAGES, strategies.MESSAGES[0].upper(), "thing", strategies.NO_PARENT, "", "nobody"]
S = st.sampled_from
USUAL: dict[str, st.SearchStrategy[Any]] = {
    "thing": S(IDS[:5]),
    "parent": S(IDS),
    "other": S([*map(str, strategies.USERS), strategies.USERS[0]]),
    "label": S(["one", "noted", "none", "n" * 26_000]),
    "short": S(["s", "s" * 11, "é" * 30]),
    "known": S(["k", "l"]),
    "count": st.integers(-(2**31), 2**31 - 1),
    "flag": st.booleans(),
    "sure": st.booleans(),
    "at": strategies.moments,
    "started": strategies.moments,
    "level": S(["LOW", "HIGH", "high", "none"]),
    "kind": S(["a", 1, True, 1.0, Int64(1), 0.0, -0.0, False, 0, Int64(0), None]),
    "mark": S(["str openai", "m"]),
    "mode": S(["str", "m"]),
    "zero": S([0, False, 0.0, -0.0, Int64(0)]),
    "yes": S([True, 1, 1.0]),
    "list": S([[], {}, [1]]),
    "null": st.none(),
    "half": S([0.5, 1]),
    "led": st.just("agent"),
    "told": S(["one LOW", "one low"]),
    "twice": S([1, "one"]),
    "json": strategies.values,
    "a": strategies.values,
    "b": st.fixed_dictionaries({}, optional={"c": st.integers(0, 9), "d": st.just(5)}),
    "bee": st.just(2.5),
    "s_1": st.just("one"),
    "s1": st.just("one"),
    "x": st.fixed_dictionaries({}, optional={"deep": st.just("d"), "shallow": st.just("d")}),
    "either": st.just("e"),
    "or": st.just("o"),
    "guard": S(["archive", "reject", "pass", "pass", "pass"]),
    "links": st.lists(S(IDS), max_size=3),
    "parts": st.lists(
        S([{"type": "text", "text": "é"}, {"type": "text", "text": "two", "id": 1}, {"type": "call"}, {"type": None}]),
        max_size=3,
    ),
    "more": strategies.values,
}


@st.composite
def things(draw: st.DrawFn) -> Document:
    """A document of the toy collection: mostly the usual, here and there anything."""
    document: Document = {"_id": draw(st.one_of(strategies.objectids, strategies.objectids, strategies.values))}
    names = draw(st.permutations(list(USUAL))) if draw(st.booleans()) else list(USUAL)
    gaps, weird = draw(st.sets(st.sampled_from(names))), draw(st.sets(st.sampled_from(names), max_size=2))
    for name in names:
        if name in weird:
            document[name] = draw(strategies.values)
        elif name not in gaps or name in ("thing", "other"):
            document[name] = draw(USUAL[name])
    return document
