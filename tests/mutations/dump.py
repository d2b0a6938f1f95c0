"""The dump to migrate: the demo, with documents that cause rejects, findings, aliases and links."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from bson import ObjectId

from migrator.documents.codec import Document, decode, encode
from migrator.documents.raw_bson import split_documents

DEMO = Path(__file__).parents[2] / "fixtures" / "demo"


def make_dump(folder: Path) -> Path:
    """Write the dump into a new folder."""
    shutil.copytree(DEMO, folder)
    users, files, conversations, messages = (
        read(folder, name) for name in ("users", "files", "conversations", "messages")
    )
    for number in range(6):
        nobody = {"_id": new(1, number), "user": new(9, number), "file_id": f"file-{number}", "filename": "orphan.txt"}
        append(folder, "files", {**files[0], **nobody})
        append(folder, "users", {**users[0], "_id": new(2, number), "username": f"twin{number}"})
        lost = {"_id": new(3, number), "messageId": f"lost-{number}", "parentMessageId": f"nowhere-{number}"}
        append(folder, "messages", {**messages[number], **lost})
        append(folder, "presets", {"_id": new(4, number), "title": f"preset {number}"})
        append(folder, "roles", {"_id": new(5, number), "name": f"role {number}"})
    # Two users own a conversation with the same ID, and one message lists its children.
    other = next(user for user in users if str(user["_id"]) != str(conversations[0]["user"]))
    same_id = {"_id": new(6, 0), "user": str(other["_id"]), "messages": []}
    append(folder, "conversations", {**conversations[0], **same_id})
    lister = {"_id": new(7, 0), "messageId": "lister", "children": [each["messageId"] for each in messages[:3]]}
    append(folder, "messages", {**messages[0], **lister})
    return folder


def new(kind: int, number: int) -> ObjectId:
    return ObjectId(f"6800000000000000{kind:04x}{number:04x}")


def read(folder: Path, name: str) -> list[Document]:
    return [decode(raw) for raw in split_documents((folder / f"{name}.bson").read_bytes())]


def append(folder: Path, name: str, document: dict[str, Any]) -> None:
    with (folder / f"{name}.bson").open("ab") as file:
        file.write(encode(document))
