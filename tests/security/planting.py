"""What is planted where a user may put a secret, documents full of values, and how to look for both."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import bson
from bson import ObjectId

from tests.archive_writer import write_folder
from tests.driving import Answer, call

PASSWORD = "pla n/ted@\"pass:word%1'\\x"
API_KEY = "planted-api-key-0815"
MONGO = "planted#mongo/pass"
ASKED: list[str] = []  # the commands that `ask` was given
PLANT = "planted0value"  # in every value of every document
OWNER = ObjectId("64baaaafd882a3fac3fb6a01")


def planted(**fields: Any) -> dict[str, Any]:
    """A document whose every value is one that nobody may read; ids and references are not."""
    secret = {
        "password": f"$2a$10${PLANT}", "totpSecret": PLANT, "backupCodes": [{"codeHash": PLANT}],
        "refreshToken": [{"refreshToken": PLANT}], "note": {PLANT[:3]: [PLANT, {"x": PLANT}]}, "name": PLANT,
        "createdAt": f"{PLANT} is no date", "tier": PLANT, "role": PLANT, "title": PLANT, "text": f"{PLANT}\0",
        "bytes": PLANT, "emailVerified": PLANT, "amount": PLANT,
    }  # fmt: skip
    return {"_id": ObjectId(), **secret, **fields}


def make_dump(folder: Path) -> Path:
    """Everything that gives findings and rejects: duplicates, wrong types, orphans, what cannot be decoded."""
    invalid = bson.encode({"_id": 7, "email": f"{PLANT}9"}).replace(
        PLANT.encode() + b"9", PLANT[:-1].encode() + b"\xff9"
    )
    talk = {"conversationId": "11111111-1111-4111-8111-111111111111", "endpoint": PLANT, "model": PLANT}
    message = {"conversationId": talk["conversationId"], "sender": PLANT, "user": str(OWNER), "content": [{"x": PLANT}]}
    documents = {
        "users": [
            planted(_id=OWNER, email=f"{PLANT}@example.org"), planted(email=f"{PLANT}@example.org"),
            planted(email=None), planted(email=f"{PLANT}2@example.org", username=7, provider={"x": PLANT}),
        ],
        "conversations": [planted(**talk, user=str(OWNER)), planted(**talk, user=str(ObjectId()))],
        "messages": [
            planted(**message, messageId=f"22222222-2222-4222-8222-22222222222{n}", parentMessageId=parent, text=text)
            for n, (parent, text) in enumerate([(None, PLANT), ("x", {"value": PLANT}), (f"y{PLANT}", PLANT * 9000)])
        ],
        "files": [planted(user=OWNER, file_id=f"f{n}", bytes=size) for n, size in enumerate((PLANT, 1 << 40, -1.5))],
        "transactions": [planted(user=OWNER, amount=95, status=PLANT, type=PLANT, stripeSessionId=PLANT)] * 2,
        "sessions": [planted(refreshTokenHash=PLANT)],
    }  # fmt: skip
    encoded = {name: [bson.encode(each) for each in some] for name, some in documents.items()}
    encoded["users"].append(invalid)
    return write_folder(folder, encoded)


def spellings(secret: str) -> Iterator[str]:
    """As it may stand in a URL, a message, JSON, a page, a connection string, a journal."""
    yield from (secret, quote(secret, safe=""), quote(secret), quote_plus(secret))
    yield from (repr(secret)[1:-1], json.dumps(secret)[1:-1], html.escape(secret), html.escape(secret, quote=False))
    yield from (secret.replace("\\", "\\\\").replace("'", "\\'"), secret.encode().hex())


FORMS = {form for secret in (PASSWORD, API_KEY, MONGO) for form in spellings(secret)}


def check(text: str, where: object, *, values: bool = True) -> None:
    """No secret of the settings is in a text; with `values`, nothing that documents hold either."""
    for form in FORMS | (set(spellings(PLANT)) if values else set()):
        assert form not in text, (where, text[max(text.index(form) - 200, 0) :][:400])


def ask(*command: object, code: int | None = 0, values: bool = True, by: Callable[..., Answer] = call) -> Answer:
    """Runs a command and looks at all that it says; `values` False: by contract it may show those of documents."""
    ASKED.append(str(command[0]) if command[0] != "rejects" else f"rejects {command[1]}")
    answer = by(*command)
    if code is not None:
        assert answer.code == code, answer.told
    check(answer.told, command, values=values)
    return answer
