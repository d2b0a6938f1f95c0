"""Modules, recordings and chunks with cases of every rule, and a second implementation of the rules.

The documents are the same in every run. Not here: running the migration.
"""

from __future__ import annotations

import csv
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
from bson import ObjectId

from migrator.ids import collection_tag, objectid_to_uuid

Document = dict[str, Any]
COLUMNS = (
    "id", "stream_call_id", "stream_recording_url", "do_spaces_url", "do_spaces_key", "duration", "participants",
    "transcript_text", "transcript_url", "thumbnail_url", "posted_to_academy", "academy_module_id", "created_at",
    "updated_at",
)  # fmt: skip
START = datetime(2024, 1, 1, 10, tzinfo=UTC)


@dataclass
class Lessons:
    """The documents of MongoDB by collection, the rows of the recordings and the lines of the chunks."""

    documents: dict[str, list[Document]] = field(default_factory=dict)
    recordings: list[dict[str, str]] = field(default_factory=list)
    chunks: list[Document] = field(default_factory=list)

    def bson(self) -> dict[str, list[bytes]]:
        return {name: [bson.encode(each) for each in found] for name, found in self.documents.items()}

    def write(self, folder: Path) -> dict[str, dict[str, str]]:
        """Write `recordings.csv` and `chunks.jsonl`; return the sections of migrate.toml that name them."""
        with (folder / "recordings.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows(self.recordings)
        with (folder / "chunks.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(chunk) + "\n" for chunk in self.chunks)
        return {
            "recordings": {"url": f"csv:{folder / 'recordings.csv'}"},
            "chunks": {"url": f"jsonl:{folder / 'chunks.jsonl'}"},
        }


def oid(kind: int, number: int) -> ObjectId:
    return ObjectId(f"{0x64A00000 + number:08x}{kind:06x}{number:010x}")


def row_id(collection: str, number: ObjectId) -> str:
    return str(UUID(bytes=objectid_to_uuid(number.binary, collection_tag(collection))))


def make_lessons(recordings: int, chunks: int, seed: int = 7) -> Lessons:
    """Make recordings and chunks, with modules and files for them."""
    dice, made = random.Random(seed), Lessons()
    modules = [_make_module(dice, number) for number in range(recordings * 3 // 5)]
    course = {"_id": oid(1, 1), "title": "Course", "instructor": "I", "createdAt": START, "updatedAt": START}
    user = {"_id": oid(3, 1), "email": "u@example.org", "createdAt": START, "updatedAt": START}
    files = make_files(max(1, chunks // 20))
    made.documents = {"courses": [course], "modules": modules, "users": [user], "files": files}
    named: set[str] = set()
    for number in range(recordings):
        recording = _make_recording(dice, number, modules)
        if recording["id"] in named:  # a primary key; a scenario covers an export that contains one twice
            recording["id"] = uuid_of(len(modules) + number)
        named.add(recording["id"])
        made.recordings.append(recording)
    made.chunks = [_make_chunk(dice, number, files) for number in range(chunks)]
    return made


def _make_module(dice: random.Random, number: int) -> Document:
    module: Document = {
        "_id": oid(2, number),
        "courseId": oid(1, 1) if dice.random() < 0.97 else oid(1, 99),
        "title": f"Module {number}",
        "order": number,
        "createdAt": START + timedelta(minutes=number),
        "updatedAt": START + timedelta(minutes=number),
    }
    usual = {
        "videoUrl": dice.choice(["", "https://own", f"https://spaces/{number}"]), "videoProvider": "vimeo",
        "duration": dice.choice([0, 60, 60.0, "61"]), "transcript": dice.choice(["", "own\0", "said"]),
        "transcriptUrl": "https://own.vtt", "thumbnail": dice.choice([None, "own.jpg"]),
        "streamRecordingId": dice.choice([f"call-{number}", uuid_of(number), "elsewhere"]),
        "videoMetadata": dice.choice([{"recordingDate": START, "isEvergreen": True}, {"storage": "s"}, "odd"]),
        "subModules": [oid(4, number)],
    }  # fmt: skip
    return module | {name: value for name, value in usual.items() if dice.random() < 0.45}


def uuid_of(number: int) -> str:
    return str(UUID(int=0xA000_0000_4000_8000 << 64 | number))


def _make_recording(dice: random.Random, number: int, modules: list[Document]) -> dict[str, str]:
    about = dice.randrange(len(modules))
    moment = START + timedelta(minutes=dice.randrange(50), microseconds=dice.choice([0, 1000, 1, 999_999]))
    return {
        "id": uuid_of(about if dice.random() < 0.3 else len(modules) + number),
        "stream_call_id": dice.choice(["", f"call-{about}", "nobody"]),
        "stream_recording_url": dice.choice(["", "https://stream"]),
        "do_spaces_url": dice.choice(["", f"https://spaces/{about}"]),
        "duration": dice.choice(["", "60", "75", "75.0", "1:15", "99999999999"]),
        "participants": dice.choice(["", '[{"name": "Ann, \\"A\\""}]', "[1, 99999999999999999999]", "{"]),
        "transcript_text": dice.choice(["", "said", 'two\nlines, "quoted"', "a\0b", "\0"]),
        "transcript_url": dice.choice(["", "https://own.vtt", "https://spaces.vtt"]),
        "thumbnail_url": dice.choice(["", "t.jpg"]),
        "posted_to_academy": dice.choice(["", "true", "f", "maybe"]),
        "academy_module_id": dice.choice(["", str(modules[about]["_id"]), str(oid(2, 10**6))]),
        "created_at": dice.choice(["", moment.isoformat(sep=" "), moment.isoformat(sep=" "), "infinity"]),
        "updated_at": moment.isoformat(),
    }


def make_files(count: int) -> list[Document]:
    """Make files, as chunks name them."""
    return [_make_file(number) for number in range(count)]


def _make_file(number: int) -> Document:
    return {
        "_id": oid(5, number), "file_id": str(UUID(int=0xF000_0000_4000_8000 << 64 | number)), "user": oid(3, 1),
        "filename": f"{number}.txt", "filepath": f"/{number}.txt", "type": "text/plain", "bytes": 1, "source": "local",
        "embedded": number % 2 == 0, "createdAt": START, "updatedAt": START,
    }  # fmt: skip


def _make_chunk(dice: random.Random, number: int, files: list[Document]) -> Document:
    file = dice.choice(files)
    name = str(file["_id"]) if str(file["_id"]).endswith("7") else file["file_id"]
    name = "gone" if dice.random() < 0.1 else name.upper() if dice.random() < 0.1 else name
    text = " ".join(f"word{dice.randrange(1000)}" for _ in range(dice.randrange(5, 150)))
    return {
        "id": f"c{number}", "file_id": name, "content": text,
        "metadata": {"page": number % 9, "user_id": "u", "digest": f"{dice.getrandbits(128):032x}"},
    }  # fmt: skip


# --- second implementation of the rules -----------------------------------------------------------------------------


def used_recordings(made: Lessons) -> dict[int, dict[str, str]]:
    """Return the recording that is used for each module, by number (mapping-decisions.md, Recordings)."""
    loaded = [m for m in made.documents["modules"] if m["courseId"] == oid(1, 1)]
    by_id = {str(module["_id"]): module["order"] for module in loaded}
    by_stream: dict[str, int] = {}
    for module in loaded:
        by_stream.setdefault(module.get("streamRecordingId", ""), module["order"])
    candidates: dict[int, list[dict[str, str]]] = {}
    for each in made.recordings:
        names = [by_id.get(each["academy_module_id"]), by_stream.get(each["id"]), by_stream.get(each["stream_call_id"])]
        found = next((number for number in names if number is not None), None)
        if found is not None and (names[0] is not None or each["id"] in by_stream or each["stream_call_id"]):
            candidates.setdefault(found, []).append(each)
    return {number: newest(several) for number, several in candidates.items()}


def newest(several: list[dict[str, str]]) -> dict[str, str]:
    dated = [each for each in several if each["created_at"] not in ("", "infinity")]
    if not dated:
        return min(several, key=lambda each: each["id"])
    latest = max(datetime.fromisoformat(each["created_at"]) for each in dated)
    return min(
        (each for each in dated if datetime.fromisoformat(each["created_at"]) == latest), key=lambda each: each["id"]
    )


def expected_duration(module: Document, recording: dict[str, str] | None, prefer: str) -> int | None:
    own = None if "duration" not in module else int(float(module["duration"]))
    text = "" if recording is None else recording["duration"]
    theirs = int(float(text)) if text in ("60", "75", "75.0") else None
    return theirs if own is None or (theirs is not None and prefer == "recording") else own


def expected_video(module: Document, recording: dict[str, str] | None, prefer: str) -> tuple[str | None, str | None]:
    own, provider = module.get("videoUrl"), module.get("videoProvider")
    theirs = "" if recording is None else recording["do_spaces_url"] or recording["stream_recording_url"]
    if theirs and (not own or (own != theirs and prefer == "recording")):
        return theirs, "custom"
    return own, provider
