"""Collections courses and modules → tables of the same names."""

from __future__ import annotations

from typing import Any

from mappings import shared
from mappings.users import TIER
from migrator.documents.codec import Document
from migrator.mapping.codecs import BOOLEAN, INTEGER, JSON_DATETIME, TEXT, UNREADABLE
from migrator.mapping.collection import Collection, Link
from migrator.mapping.context import ABSENT, Context, Match, Rejected, Row, type_name
from migrator.mapping.json_objects import Entry, JsonObject
from migrator.mapping.references import Reference
from migrator.mapping.rules import imply_field, map_field
from schema.lms import courses as courses_table
from schema.lms import modules as modules_table


def default_instructor(document: Document, row: Row, context: Context) -> str:
    """Return an empty instructor."""
    context.note("defaulted", "instructor")
    return ""


def find_course(context: Context, document: Document) -> Match:
    """Return the course that lists a module without a `courseId`.

    Raises:
        Rejected: the course does not exist, or not exactly one course lists the module.
    """
    value = document.get("courseId", ABSENT)
    if value is ABSENT or value is None or value == "":
        listers = {lister for lister, _ in context.listed(shared.MODULES.uuid(document["_id"]))}
        if len(listers) == 1:
            return Match(listers.pop(), {})
    raise Rejected("orphan", f"courseId ({type_name(value)})")


def default_order(document: Document, row: Row, context: Context) -> int:
    """Return the position of the module in the `modules` of its course; 0 if the course does not list it."""
    for lister, position in context.listed(row["id"]):
        if lister == row["course_id"]:
            return position
    return 0


def restore_course_id(course_id: bytes) -> Any:
    """Return the ObjectId of the course; ABSENT if its UUID is not derived from one."""
    value = shared.AS_OBJECTID.write(course_id)
    return ABSENT if value is UNREADABLE else value


courses = Collection(
    name="courses",
    table=courses_table,
    key=shared.COURSES,
    links=(Link("modules", shared.MODULES),),
    rules=(
        map_field("title", "title", TEXT, required=True),
        map_field("description", "description", TEXT),
        map_field("thumbnailUrl", "thumbnail", TEXT),
        map_field("instructor", "instructor", TEXT, default_factory=default_instructor),
        map_field("instructorBio", "instructor_bio", TEXT),
        map_field("tier", "tier", TIER, default="free"),
        map_field("published", "published", BOOLEAN, default=False),
        map_field("order", "order", INTEGER, default=0),
        *shared.dates(),
        imply_field("__v", 0),
    ),
)

modules = Collection(
    name="modules",
    table=modules_table,
    key=shared.MODULES,
    listed_by="courses.modules",
    rules=(
        Reference(
            path="courseId", column="course_id", key=shared.COURSES, on_missing=find_course, write=restore_course_id
        ),
        map_field("title", "title", TEXT, required=True),
        map_field("description", "description", TEXT),
        map_field("videoUrl", "video_url", TEXT),
        map_field("videoProvider", "video_provider", TEXT),
        map_field("duration", "duration", INTEGER),
        map_field("thumbnail", "thumbnail", TEXT),
        map_field("transcript", "transcript", TEXT),
        map_field("transcriptUrl", "transcript_url", TEXT),
        JsonObject(
            "recording_metadata",
            (
                Entry("streamRecordingId", ("streamRecordingId",), TEXT),
                Entry("recordingDate", ("videoMetadata.recordingDate",), JSON_DATETIME),
                Entry("isEvergreen", ("videoMetadata.isEvergreen",), BOOLEAN),
            ),
        ),
        map_field("published", "published", BOOLEAN, default=False),
        map_field("order", "order", INTEGER, default_factory=default_order),
        *shared.dates(),
        imply_field("__v", 0),
    ),
)
