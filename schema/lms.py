"""Tables of courses and modules."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, Table, Text, false, text
from sqlalchemy.dialects.postgresql import JSONB

from schema.base import created_at, metadata, owner, tenant, tier_column, updated_at, uuid_key

courses = Table(
    "courses",
    metadata,
    uuid_key(),
    tenant(),
    Column("title", Text, nullable=False),
    Column("description", Text),
    Column("thumbnail", Text),
    Column("instructor", Text, nullable=False),
    Column("instructor_bio", Text),
    tier_column(),
    Column("published", Boolean, server_default=false()),
    Column("order", Integer, server_default=text("0")),
    created_at(),
    updated_at(),
    Index("courses_tenant_id_idx", "tenant_id"),
)

modules = Table(
    "modules",
    metadata,
    uuid_key(),
    owner("course_id", "courses.id"),
    tenant(),
    Column("title", Text, nullable=False),
    Column("description", Text),
    Column("video_url", Text),
    Column("video_provider", Text),
    Column("duration", Integer),
    Column("thumbnail", Text),
    Column("transcript", Text),
    Column("transcript_url", Text),
    Column("recording_metadata", JSONB),
    Column("published", Boolean, server_default=false()),
    Column("order", Integer, server_default=text("0")),
    created_at(),
    updated_at(),
    Index("modules_course_id_idx", "course_id"),
)
