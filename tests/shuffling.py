"""Changes of any documents, without knowledge of them: they go, come back, and take values of other documents."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import bson
from bson import ObjectId

from migrator.documents.codec import CODEC_OPTIONS
from tests.changing import Changing

Document = dict[str, Any]


class Shuffling(Changing):
    """Changes the documents of `made`. Those of `fixed`, a set of `source_id`s, stay as they are.

    `lists`: the messages of conversations are in `conversations.messages`, as LibreChat writes it, and stay so mostly.
    """

    def __init__(
        self, made: Mapping[str, list[bytes]], seed: int, fixed: Iterable[bytes] = (), *, lists: bool = False
    ) -> None:
        super().__init__({name: list(raws) for name, raws in made.items()}, seed)
        self._fixed, self._lists = frozenset(fixed), lists
        self._gone: dict[str, list[Document]] = {}
        if lists:
            self._list_messages()
            self.take()

    def change(self) -> None:
        """Makes one random change."""
        chance = self.chance
        name = chance.choice([each for each in self.now for _ in range(1 + len(self.now[each]) // 100)])
        keys, gone = sorted(set(self.now[name]) - self._fixed), self._gone.setdefault(name, [])
        kind = chance.random()
        if gone and (kind < 0.2 or not keys):
            self._place(name, gone.pop(chance.randrange(len(gone))))
        elif keys and kind < 0.4:
            self._remove(name, chance.choice(keys))
        elif keys:
            document = self._read(name, chance.choice(keys))
            other = self._read(name, chance.choice(sorted(self.now[name])))
            if kind < 0.5:
                self._place(name, {**document, "_id": ObjectId(chance.randbytes(12))})
            else:
                self._place(name, self._alter(document, other))

    def _alter(self, document: Document, other: Document) -> Document:
        """Returns a document with a value of another one, or without a field."""
        field = self.chance.choice(sorted({*document, *other} - {"_id"}) or [""])
        if field in other and self.chance.random() < 0.9:
            return {**document, field: other[field]}
        return {name: value for name, value in document.items() if name != field}

    def _read(self, name: str, key: bytes) -> Document:
        return bson.decode(self.now[name][key], CODEC_OPTIONS)

    def _place(self, name: str, document: Document) -> None:
        self.put(name, document)
        if self._lists and name == "messages":
            self._edit_list(document, "add")

    def _remove(self, name: str, key: bytes) -> None:
        document = self._read(name, key)
        self._gone[name].append(document)
        self.drop(name, key)
        if self._lists and name == "messages":
            self._edit_list(document, "remove")

    # --- conversations.messages --------------------------------------------------------------------------------------

    def _list_messages(self) -> None:
        members: dict[Any, list[Any]] = {}
        for key in self.now["messages"]:
            message = self._read("messages", key)
            members.setdefault(message.get("conversationId"), []).append(message["_id"])
        for key in list(self.now["conversations"]):
            document = self._read("conversations", key)
            self.put("conversations", {**document, "messages": members.get(document["conversationId"], [])})

    def _edit_list(self, message: Document, kind: str) -> None:
        if self.chance.random() < 0.1:
            return  # the application was interrupted
        for raw in self.now["conversations"].values():
            document = bson.decode(raw, CODEC_OPTIONS)
            if document.get("conversationId") == message.get("conversationId"):
                listed = [each for each in document.get("messages", []) if each != message["_id"]]
                self.put(
                    "conversations", {**document, "messages": [*listed, message["_id"]] if kind == "add" else listed}
                )
                return


def sample(made: Mapping[str, list[bytes]], chance: random.Random, most: int) -> dict[str, list[bytes]]:
    """Returns at most so many documents of each collection."""
    return {name: chance.sample(raws, min(most, len(raws))) for name, raws in made.items()}
