"""recordings (Supabase) → into modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mappings import shared
from migrator.config.models import Config
from migrator.documents.jsonb import Note
from migrator.mapping.codecs import INTEGER, JSON_DATETIME, TEXT
from migrator.mapping.merges import ByKey, ByValue, Fill, Merge


@dataclass(frozen=True, slots=True)
class Stamp:
    """PostgreSQL's moments have microseconds, which BSON's dates have not: these came as text, and rightly so."""

    def read(self, value: Any, note: Note, path: str) -> Any:
        def unless_usual(code: str, detail: str) -> None:
            if code != "date_coerced":
                note(code, detail)

        return JSON_DATETIME.read(value, unless_usual, path)

    def write(self, plain: Any) -> Any:
        return JSON_DATETIME.write(plain)


def recording_wins(config: Config) -> bool:
    return config.recordings is not None and config.recordings.prefer == "recording"


mapping = Merge(
    name="recordings",
    section="recordings",
    into="modules",
    by=(
        ByKey(fields=("academy_module_id",), key=shared.MODULES),
        ByValue(fields=("_id", "stream_call_id"), column="recording_metadata", name="streamRecordingId"),
    ),
    newest="created_at",
    overwrites=recording_wins,
    kinds={
        "duration": "integer",
        "participants": "json",
        "posted_to_academy": "boolean",
        "created_at": "timestamp",
        "updated_at": "timestamp",
    },
    fills=(
        Fill(
            fields=("do_spaces_url", "stream_recording_url"),
            column="video_url",
            codec=TEXT,
            sets={"video_provider": "custom"},
        ),
        Fill(fields=("duration",), column="duration", codec=INTEGER),
        Fill(fields=("transcript_text",), column="transcript", codec=TEXT),
        Fill(fields=("transcript_url",), column="transcript_url", codec=TEXT),
        Fill(fields=("thumbnail_url",), column="thumbnail", codec=TEXT),
        # Either id leads from a module to its recording, so either is right; a module that has none gets the row's own.
        Fill(
            fields=("_id", "stream_call_id"),
            column="recording_metadata",
            name="streamRecordingId",
            codec=TEXT,
            any_of=True,
        ),
        Fill(fields=("created_at",), column="recording_metadata", name="recordingDate", codec=Stamp()),
    ),
)
