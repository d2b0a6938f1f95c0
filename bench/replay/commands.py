"""What the replay server answers to each command. It is read only; what no tool of a bench asks is an error."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson import Int64

from bench.replay.collection import Elements, ReplayCollection

FIRST_BATCH = 101  # documents of a first answer if the client does not name a number, as MongoDB does
EVERYTHING = 1 << 31
NOT_FOUND, CURSOR_NOT_FOUND, UNSUPPORTED = 59, 43, 9
HELLO = {
    "helloOk": True, "ismaster": True, "isWritablePrimary": True, "maxBsonObjectSize": 16 << 20,
    "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000, "logicalSessionTimeoutMinutes": 30,
    "connectionId": 1, "minWireVersion": 0, "maxWireVersion": 21, "readOnly": False,
}  # fmt: skip
BUILD = {"version": "7.0.0", "versionArray": [7, 0, 0, 0], "bits": 64, "maxBsonObjectSize": 16 << 20, "modules": []}


@dataclass(slots=True)
class Page:
    """An answer with documents: a slice of encoded elements, and the cursor for the rest (0: there is none)."""

    elements: Elements
    start: int
    end: int
    cursor: int
    namespace: str
    is_first: bool


@dataclass(slots=True)
class Cursor:
    elements: Elements
    start: int
    stop: int
    namespace: str


class CommandError(Exception):
    """An answer with `ok: 0`."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


Answer = dict[str, Any] | Page


class Commands:
    """The commands on one database."""

    def __init__(self, database: str, collections: Mapping[str, ReplayCollection]) -> None:
        self._database, self._collections = database, collections
        self._cursors: dict[int, Cursor] = {}
        self._numbers = itertools.count(1)
        self._known: dict[str, Callable[[dict[str, Any]], Answer]] = {
            **dict.fromkeys(("hello", "ismaster", "isMaster"), lambda _: HELLO | {"localTime": datetime.now(UTC)}),
            **dict.fromkeys(("buildInfo", "buildinfo"), lambda _: BUILD),
            **dict.fromkeys(("ping", "endSessions", "killCursors", "saslStart", "connectionStatus"), lambda _: {}),
            "getParameter": lambda _: {"featureCompatibilityVersion": {"version": "7.0"}},
            "serverStatus": lambda _: {"version": "7.0.0", "process": "mongod", "uptime": 1.0},
            "listDatabases": lambda _: {"databases": [{"name": self._database, "sizeOnDisk": 1, "empty": False}]},
            "listCollections": self._list_collections,
            "listIndexes": lambda asked: self._list(
                [{"v": 2, "key": {"_id": 1}, "name": "_id_"}], self._find(asked["listIndexes"]).name
            ),
            "collStats": lambda asked: self._measure(self._find(asked["collStats"])),
            "dbStats": lambda _: {"db": self._database, "collections": len(self._collections)},
            "count": lambda asked: {"n": len(self._find(asked["count"]))},
            "explain": lambda _: {"queryPlanner": {}},
            "find": self._find_documents,
            "getMore": self._get_more,
            "aggregate": self._aggregate,
        }

    def answer(self, asked: dict[str, Any]) -> Answer:
        """Return the answer to a command. An error is an answer, too."""
        name = next(iter(asked))
        try:
            if name not in self._known:
                raise CommandError(NOT_FOUND, f"no such command: '{name}'")
            return self._known[name](asked)
        except CommandError as error:
            return {"ok": 0.0, "errmsg": str(error), "code": error.code, "codeName": "Replay"}
        except ValueError as error:
            return {"ok": 0.0, "errmsg": f"not supported: {error}", "code": UNSUPPORTED, "codeName": "FailedToParse"}

    def _find(self, name: str) -> ReplayCollection:
        return self._collections.get(name) or ReplayCollection(name, b"")

    def _list(self, documents: list[dict[str, Any]], name: str) -> Answer:
        return {"cursor": {"id": Int64(0), "ns": f"{self._database}.{name}", "firstBatch": documents}}

    def _list_collections(self, asked: dict[str, Any]) -> Answer:
        wanted = asked.get("filter", {}).get("name")
        found = [
            {"name": name, "type": "collection", "options": {}, "info": {"readOnly": True}}
            for name in sorted(self._collections)
            if asked["$db"] == self._database and (wanted is None or name == wanted or _is_among(name, wanted))
        ]
        return self._list(found, "$cmd.listCollections")

    def _measure(self, found: ReplayCollection) -> dict[str, Any]:
        count = len(found)
        average = found.size // count if count else 0
        return {"ns": f"{self._database}.{found.name}", "count": count, "size": found.size, "avgObjSize": average}

    # --- documents ---------------------------------------------------------------------------------------------------

    def _find_documents(self, asked: dict[str, Any]) -> Answer:
        found = self._find(asked["find"])
        elements = _project(found, asked.get("projection"))
        start, stop = _range_of(found, asked)
        order = asked.get("sort") or {}
        if not set(order) <= {"_id", "$natural"}:
            raise ValueError(f"an order by {', '.join(order)}")
        limit = abs(int(asked.get("limit") or 0)) or EVERYTHING
        if next(iter(order.values()), 1) == -1:
            if limit > 1:
                raise ValueError("a descending order")
            start = max(start, stop - 1)
        start = min(stop, start + int(asked.get("skip") or 0))
        stop = min(stop, start + limit)
        count = asked.get("batchSize")
        is_whole = bool(asked.get("singleBatch"))
        cursor = Cursor(elements, start, stop, f"{self._database}.{found.name}")
        return self._page(0, cursor, FIRST_BATCH if count is None else int(count), is_first=True, is_whole=is_whole)

    def _get_more(self, asked: dict[str, Any]) -> Answer:
        number = int(asked["getMore"])
        cursor = self._cursors.get(number)
        if cursor is None:
            raise CommandError(CURSOR_NOT_FOUND, f"cursor id {number} not found")
        return self._page(number, cursor, int(asked.get("batchSize") or EVERYTHING), is_first=False, is_whole=False)

    def _page(self, number: int, cursor: Cursor, count: int, *, is_first: bool, is_whole: bool) -> Page:
        start = cursor.start
        end = start if count == 0 else cursor.elements.find_end(start, cursor.stop, count)
        cursor.start = end
        if end == cursor.stop or is_whole:
            self._cursors.pop(number, None)
            number = 0
        elif not number:
            number = next(self._numbers)
            self._cursors[number] = cursor
        return Page(cursor.elements, start, end, number, cursor.namespace, is_first)

    def _aggregate(self, asked: dict[str, Any]) -> Answer:
        """Answer what counts documents, samples `_id`s or reads a range."""
        found = self._find(str(asked["aggregate"]))
        stages: list[dict[str, Any]] = [each for each in asked["pipeline"] if each != {"$match": {}}]
        kinds = [next(iter(each)) for each in stages]
        size = (asked.get("cursor") or {}).get("batchSize")
        if kinds and kinds[0] == "$sample":
            sampled = found.sample(int(stages[0]["$sample"]["size"]))
            cursor = Cursor(Elements.encode(sampled), 0, len(sampled), f"{self._database}.{found.name}")
            # A reader of raw batches asks for an empty first batch, and refuses any other.
            count = EVERYTHING if size is None else int(size)
            return self._page(0, cursor, count, is_first=True, is_whole=False)
        if kinds == ["$count"]:
            return self._list([{stages[0]["$count"]: len(found)}], found.name)
        if kinds == ["$group"] and list(stages[0]["$group"].values())[1:] == [{"$sum": 1}]:
            (name,) = [key for key in stages[0]["$group"] if key != "_id"]
            return self._list([{"_id": None, name: len(found)}] if len(found) else [], found.name)
        if kinds == ["$collStats"]:
            return self._list([{"count": len(found), "storageStats": self._measure(found)}], found.name)
        if kinds == ["$indexStats"]:
            return self._list([], found.name)
        if set(kinds) <= {"$match", "$sort", "$limit", "$project"} and len(set(kinds)) == len(kinds):
            merged = {key: value for each in stages for key, value in each.items()}
            names = {"$match": "filter", "$sort": "sort", "$limit": "limit", "$project": "projection"}
            more = {names[key]: value for key, value in merged.items()}
            return self._find_documents({"find": found.name, **more, **({} if size is None else {"batchSize": size})})
        raise ValueError(f"the stages {', '.join(kinds)}")


def _is_among(name: str, wanted: Any) -> bool:
    return isinstance(wanted, dict) and name in wanted.get("$in", ())


def _project(found: ReplayCollection, projection: Any) -> Elements:
    if not projection:
        return found.documents
    if dict(projection) in ({"_id": 1}, {"_id": True}):
        return found.ids
    raise ValueError(f"the projection {dict(projection)}")


def _range_of(found: ReplayCollection, asked: dict[str, Any]) -> tuple[int, int]:
    """Return the documents of a filter on `_id`, and of `min` and `max`."""
    wanted = dict(asked.get("filter") or {})
    condition = wanted.pop("_id", {})
    if wanted:
        raise ValueError(f"a filter on {', '.join(wanted)}")
    is_operator = isinstance(condition, dict) and all(str(key).startswith("$") for key in condition)
    start, stop = found.find_range(dict(condition) if is_operator else {"$eq": condition})
    if "min" in asked:
        start = max(start, found.find_range({"$gte": asked["min"]["_id"]})[0])
    if "max" in asked:
        stop = min(stop, found.find_range({"$lt": asked["max"]["_id"]})[1])
    return start, max(start, stop)
