"""Recordings (Supabase) fill missing values of modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mappings import shared
from mappings.settings import Settings
from migrator.documents.jsonb import Note
from migrator.mapping.codecs import INTEGER, JSON_DATETIME, TEXT
from migrator.mapping.merges import ByKey, ByValue, Fill, Merge, MergeCodes


@dataclass(frozen=True, slots=True)
class TimestampText:
    """Codec of a timestamp as text. PostgreSQL has microseconds, BSON dates do not, so text is the expected type."""

    def read(self, value: Any, note: Note, path: str) -> Any:
        def note_others(code: str, detail: str) -> None:
            if code != "date_coerced":
                note(code, detail)

        return JSON_DATETIME.read(value, note_others, path)

    def write(self, plain: Any) -> Any:
        return JSON_DATETIME.write(plain)


def prefers_recording(settings: Settings) -> bool:
    """Return whether the value of a recording takes precedence over that of the module."""
    return settings.recordings is not None and settings.recordings.prefer == "recording"


mapping = Merge(
    name="recordings",
    section="recordings",
    into="modules",
    by=(
        ByKey(fields=("academy_module_id",), key=shared.MODULES),
        ByValue(fields=("_id", "stream_call_id"), column="recording_metadata", name="streamRecordingId"),
    ),
    newest="created_at",
    codes=MergeCodes(
        unmatched="recording_unmatched",
        ambiguous="recording_ambiguous",
        superseded="recording_superseded",
        conflict="recording_conflict",
    ),
    overwrites=prefers_recording,
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
        # Both IDs lead from a module to its recording, so both are correct. A module without one gets `_id`.
        Fill(
            fields=("_id", "stream_call_id"),
            column="recording_metadata",
            name="streamRecordingId",
            codec=TEXT,
            any_of=True,
        ),
        Fill(fields=("created_at",), column="recording_metadata", name="recordingDate", codec=TimestampText()),
    ),
)
