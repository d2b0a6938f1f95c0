"""Tables of a fleet: vehicles of one collection in several tables, people of two collections in one table."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ENUM, TIMESTAMP, UUID

metadata = sa.MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
    }
)

people = sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("email", sa.Text),
    sa.Column("city", sa.Text),
    sa.UniqueConstraint("email"),
)

visits = sa.Table(
    "visits",
    metadata,
    sa.Column("person_id", sa.Text, sa.ForeignKey("people.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("place", sa.Text),
    schema="garage",
)

cars = sa.Table(
    "cars",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("owner_id", sa.Text, sa.ForeignKey("people.id")),
    sa.Column("doors", sa.Integer),
    sa.Column("plate", sa.Text, nullable=False),
    sa.Column("mood", ENUM("good", "bad", "unknown", name="mood", schema="garage"), nullable=False),
    sa.Index("cars_owner_id_idx", "owner_id"),
    schema="garage",
)

trucks = sa.Table(
    "trucks",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("driver_id", sa.Text, sa.ForeignKey("people.id"), nullable=False),
    sa.Column("kind", sa.Text),
    sa.Column("load", sa.Double),
    schema="garage",
)

trips = sa.Table(
    "trips",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("truck_id", UUID, sa.ForeignKey("garage.trucks.id")),
    sa.Column("at", TIMESTAMP(timezone=True)),
    schema="logs",
)

notes = sa.Table("notes", metadata, sa.Column("id", UUID, primary_key=True), sa.Column("text", sa.Text), schema="logs")

# of another schema, with the same names of table, keys and index
remarks = sa.Table(
    "notes",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("note_id", UUID, sa.ForeignKey("logs.notes.id")),
    sa.Column("mood", ENUM("good", "bad", name="mood")),
)
