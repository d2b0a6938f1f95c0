"""Packs of scenarios: several scenarios in one dump, with identities of their own, so that one migration serves all.

Scenarios use the same ObjectIds, UUIDs and e-mail addresses. In a pack each scenario but the first gets its own: the
same number of bytes, in the same order, in documents and expectations alike. A scenario whose documents still share an
identity with another one of a pack goes into another pack. Nothing here runs a command or looks into a database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from string import ascii_letters
from typing import Any
from uuid import UUID

import bson
from bson.errors import InvalidBSON

from migrator.documents.codec import decode
from migrator.ids import objectid_to_uuid, uuid_to_objectid
from tests.scenarios import Expectation, ExpectedRow, Scenario, read_scenario, scenario_names

SIZE = 8
# What it shows is a property of a whole collection; identities are written in a form that `rename_bytes` does not know.
ALONE = frozenset({"collections-empty", "nul-in-keys"})

_OBJECTID = bytes.fromhex("64a0000000000000")  # how all ObjectIds of the scenarios begin
_IDENTITY = re.compile(r"^_?id$|Ids?$|_ids?$|^(user|author|email|files)$")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NOBODY = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Scenarios without settings whose documents have no identity in common."""

    number: int
    scenarios: list[Scenario] = field(default_factory=list)
    taken: set[str] = field(default_factory=set, repr=False)

    def merge(self) -> Scenario:
        """Returns one scenario with the documents of all, which expects the sum of what they expect."""
        documents: dict[str, list[bytes]] = {}
        absent: dict[str, list[str]] = {}
        for scenario in self.scenarios:
            for name, several in scenario.documents.items():
                documents.setdefault(name, []).extend(several)
            for table, ids in scenario.expect.absent.items():
                absent.setdefault(table, []).extend(ids)
        expected = [scenario.expect for scenario in self.scenarios]
        return replace(
            self.scenarios[0],
            name=f"pack {self.number}",
            documents=documents,
            expect=Expectation(
                outcomes=add_up(each.outcomes for each in expected),
                rejects=add_up(each.rejects for each in expected),
                findings=add_up(each.findings for each in expected),
                rows=tuple(row for each in expected for row in each.rows),
                absent=absent,
                blockers=0,
            ),
        )

    def add(self, scenario: Scenario) -> bool:
        """Adds a scenario under identities of its own, unless the pack is full or an identity is taken."""
        if len(self.scenarios) >= SIZE:
            return False
        renamed = rename(scenario, len(self.scenarios))
        identities = set(find_identities(renamed))
        if identities & self.taken:
            return False
        self.scenarios.append(renamed)
        self.taken.update(identities)
        return True


def add_up(several: Iterable[dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
    """Returns the sums of counts by collection and kind."""
    total: dict[str, dict[str, int]] = {}
    for counts in several:
        for name, kinds in counts.items():
            for kind, count in kinds.items():
                total.setdefault(name, {}).setdefault(kind, 0)
                total[name][kind] += count
    return total


@cache
def make_packs() -> tuple[Pack, ...]:
    """Returns the packs of all scenarios that can share a dump; the same ones every time."""
    packs: list[Pack] = []
    candidates = [scenario for name in scenario_names() if can_share(scenario := read_scenario(name))]
    # The first place of a pack keeps its identities: for expectations with ids that cannot be renamed.
    fixed = [scenario for scenario in candidates if not is_renamable(scenario)]
    for scenario in fixed:
        packs.append(Pack(number=len(packs)))
        packs[-1].add(scenario)
    for scenario in candidates:
        if scenario not in fixed and not any(pack.add(scenario) for pack in packs):
            packs.append(Pack(number=len(packs)))
            packs[-1].add(scenario)
    return tuple(packs)


def can_share(scenario: Scenario) -> bool:
    """Returns whether a scenario says nothing of the whole dump, the settings or the target."""
    if scenario.settings or scenario.before is not None or scenario.expect.blockers or scenario.name in ALONE:
        return False
    try:
        for raw in (raw for documents in scenario.documents.values() for raw in documents):
            decode(raw)
    except (InvalidBSON, RecursionError):
        return False
    return True


def is_renamable(scenario: Scenario) -> bool:
    """Returns whether every id that a scenario expects follows from its documents without a hash."""
    texts = [row.id for row in scenario.expect.rows]
    texts += [text for row in scenario.expect.rows for text in row.columns.values() if text]
    texts += [each for ids in scenario.expect.absent.values() for each in ids]
    return not any(UUID(found).version == 5 for text in texts for found in _UUID.findall(text) if found != _NOBODY)


def find_identities(scenario: Scenario) -> Iterator[str]:
    """Yields what a scenario's documents are known by or refer to."""
    for documents in scenario.documents.values():
        for raw in documents:
            yield from _find_in(decode(raw), named=False)


def _find_in(value: Any, *, named: bool) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _find_in(item, named=_IDENTITY.search(name) is not None)
    elif isinstance(value, list):
        for item in value:
            yield from _find_in(item, named=named)
    elif isinstance(value, bson.ObjectId) or (named and isinstance(value, str) and len(value) > 2 and value != _NOBODY):
        yield str(value).replace("\0", "").lower()  # the migration removes NUL characters


# --- renaming -------------------------------------------------------------------------------------------------------


def rename(scenario: Scenario, number: int) -> Scenario:
    """Returns a scenario with the identities of place `number` of a pack; place 0 keeps them."""
    if number == 0:
        return scenario
    expect = scenario.expect
    return replace(
        scenario,
        documents={
            name: [rename_bytes(raw, number) for raw in documents] for name, documents in scenario.documents.items()
        },
        expect=replace(
            expect,
            rows=tuple(rename_row(row, number) for row in expect.rows),
            absent={table: rename_all(ids, number) for table, ids in expect.absent.items()},
        ),
    )


def rename_bytes(raw: bytes, number: int) -> bytes:
    """Returns a document of equal length with other ObjectIds (binary or text), UUIDs, e-mail addresses, agents."""
    raw = raw.replace(_OBJECTID, _OBJECTID[:-1] + bytes([number]))
    digits = _OBJECTID.hex().encode()
    for old in (digits, digits.upper()):
        raw = raw.replace(old, old[:-2] + b"%02d" % number)
    raw = re.sub(rb"([0-9a-fA-F]0{5})00(-0000-4000-8000-)", rb"\g<1>%02d\2" % number, raw)
    raw = re.sub(rb"(?i)(@exam)pl(e\.com)", rb"\g<1>%02d\2" % number, raw)
    # agent_1 and cs_1 (of Stripe), with a letter for the digit: there is one byte.
    return re.sub(rb"\b((?:agent|cs)_)([1-6])\b", lambda found: found[1] + _letter(number, int(found[2])), raw)


def _letter(number: int, digit: int) -> bytes:
    return ascii_letters[(number - 1) * 6 + digit - 1].encode()


def rename_row(row: ExpectedRow, number: int) -> ExpectedRow:
    columns = {name: None if text is None else rename_text(text, number) for name, text in row.columns.items()}
    return replace(row, id=rename_text(row.id, number), columns=columns)


def rename_all(texts: Iterable[str], number: int) -> list[str]:
    return [rename_text(text, number) for text in texts]


def rename_text(text: str, number: int) -> str:
    """Returns an expected text with the new identities, those in UUIDs that were made of ObjectIds among them."""
    renamed = rename_bytes(text.encode(), number).decode()
    return _UUID.sub(lambda found: _rename_uuid(found[0], number), renamed)


def _rename_uuid(text: str, number: int) -> str:
    made_of = uuid_to_objectid(UUID(text).bytes)
    if made_of is None:
        return text
    objectid, tag = made_of
    return str(UUID(bytes=objectid_to_uuid(rename_bytes(objectid, number), tag)))
