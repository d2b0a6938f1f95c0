"""courses → courses, modules → modules."""

from __future__ import annotations

from typing import Any

from mappings import shared
from mappings.users import TIER
from migrator.documents.codec import Document
from migrator.mapping.codecs import BOOLEAN, INTEGER, JSON_MOMENT, TEXT, UNREADABLE
from migrator.mapping.collection import Collection, Link
from migrator.mapping.context import ABSENT, Context, Found, Rejected, Row, kind_of
from migrator.mapping.references import Reference
from migrator.mapping.rules import Entry, JsonObject, imply, take
from schema.lms import courses as courses_table
from schema.lms import modules as modules_table


def no_instructor(document: Document, row: Row, context: Context) -> str:
    context.note("defaulted", "instructor")
    return ""


def listing_course(context: Context, document: Document) -> Found:
    """A module that names no course belongs to the one course that lists it."""
    value = document.get("courseId", ABSENT)
    if value is ABSENT or value is None or value == "":
        listers = {lister for lister, _ in context.listed(shared.MODULES.uuid(document["_id"]))}
        if len(listers) == 1:
            return Found(listers.pop(), {})
    raise Rejected("orphan", f"courseId ({kind_of(value)})")


def place_in_course(document: Document, row: Row, context: Context) -> int:
    """A module without `order` stands where its course's `modules` has it."""
    for lister, position in context.listed(row["id"]):
        if lister == row["course_id"]:
            return position
    return 0


def course_back(course_id: bytes) -> Any:
    value = shared.AS_OBJECTID.write(course_id)
    return ABSENT if value is UNREADABLE else value


courses = Collection(
    name="courses",
    table=courses_table,
    key=shared.COURSES,
    constants=shared.tenant,
    links=(Link("modules", shared.MODULES),),
    rules=(
        take("title", "title", TEXT, required=True),
        take("description", "description", TEXT),
        take("thumbnailUrl", "thumbnail", TEXT),
        take("instructor", "instructor", TEXT, otherwise=no_instructor),
        take("instructorBio", "instructor_bio", TEXT),
        take("tier", "tier", TIER, default="free"),
        take("published", "published", BOOLEAN, default=False),
        take("order", "order", INTEGER, default=0),
        *shared.dates(),
        imply("__v", 0),
    ),
)

modules = Collection(
    name="modules",
    table=modules_table,
    key=shared.MODULES,
    constants=shared.tenant,
    listed_by="courses.modules",
    rules=(
        Reference(path="courseId", column="course_id", key=shared.COURSES, gone=listing_course, write=course_back),
        take("title", "title", TEXT, required=True),
        take("description", "description", TEXT),
        take("videoUrl", "video_url", TEXT),
        take("videoProvider", "video_provider", TEXT),
        take("duration", "duration", INTEGER),
        take("thumbnail", "thumbnail", TEXT),
        take("transcript", "transcript", TEXT),
        take("transcriptUrl", "transcript_url", TEXT),
        JsonObject(
            "recording_metadata",
            (
                Entry("streamRecordingId", ("streamRecordingId",), TEXT),
                Entry("recordingDate", ("videoMetadata.recordingDate",), JSON_MOMENT),
                Entry("isEvergreen", ("videoMetadata.isEvergreen",), BOOLEAN),
            ),
        ),
        take("published", "published", BOOLEAN, default=False),
        take("order", "order", INTEGER, otherwise=place_in_course),
        *shared.dates(),
        imply("__v", 0),
    ),
)
