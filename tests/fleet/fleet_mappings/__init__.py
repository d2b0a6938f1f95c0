"""The mappings of a fleet: divided collections, and a table that two collections fill."""

from __future__ import annotations

from typing import Any

from fleet_schema import cars, notes, people, remarks, trips, trucks, visits

from migrator.mapping.children import Children
from migrator.mapping.codecs import DATETIME, INTEGER, TEXT, Double, Enum, ObjectIdText
from migrator.mapping.collection import Collection
from migrator.mapping.conditions import Where
from migrator.mapping.references import Key, reference_to
from migrator.mapping.rules import imply_field, map_field

CUSTOMERS = Key(path="_id", collection="customers", text=True)
DRIVERS = Key(path="_id", collection="drivers", text=True)
NOTES = Key(path="_id", collection="notes")
TRUCKS = Key(path="_id", collection="vehicles.trucks")


def as_text(plain: Any) -> Any:
    """Restore a reference to a text."""
    return plain


MAPPINGS = (
    Collection(
        name="customers",
        table=people,
        key=CUSTOMERS,
        constants={"role": "customer"},
        unique={"email": "duplicate_key"},
        rules=(map_field("email", "email", TEXT), map_field("address.city", "city", TEXT)),
    ),
    Collection(
        name="drivers",
        table=people,
        key=DRIVERS,
        constants={"role": "driver"},
        unique={"email": "duplicate_key"},
        rules=(
            map_field("contact.email", "email", TEXT),
            map_field("home", "city", TEXT),
            Children(
                path="visits",
                table=visits,
                parent="person_id",
                values=True,
                rules=(map_field("value", "place", TEXT),),
            ),
        ),
    ),
    Collection(
        name="vehicles.cars",
        source="vehicles",
        where=Where("kind", ("car",)),
        table=cars,
        key=Key(path="_id", collection="vehicles.cars"),
        rules=(
            imply_field("kind", "car"),
            reference_to("owner", "owner_id", CUSTOMERS, as_text),
            map_field("doors", "doors", INTEGER),
            map_field("plate", "plate", TEXT, required=True),
            map_field("mood", "mood", Enum(("good", "bad", "unknown")), default="unknown"),
        ),
    ),
    Collection(
        name="vehicles.trucks",
        source="vehicles",
        where=Where("kind", ("truck", "van", 7)),
        table=trucks,
        key=TRUCKS,
        rules=(
            reference_to("driver", "driver_id", DRIVERS, as_text, required=True),
            map_field("kind", "kind", TEXT),
            map_field("load", "load", Double(whole_as_int=True)),
        ),
    ),
    Collection(
        name="trips",
        source="events",
        where=Where("meta.type", ("trip", 1)),
        table=trips,
        key=Key(path="_id", collection="trips"),
        rules=(
            reference_to("truck", "truck_id", TRUCKS, ObjectIdText().write),
            map_field("at", "at", DATETIME),
        ),
    ),
    Collection(
        name="notes",
        source="events",
        table=notes,
        key=NOTES,
        rules=(map_field("text", "text", TEXT),),
    ),
    Collection(
        name="remarks",
        table=remarks,
        key=Key(path="_id", collection="remarks"),
        rules=(
            reference_to("note", "note_id", NOTES, ObjectIdText().write),
            map_field("mood", "mood", Enum(("good", "bad"))),
        ),
    ),
)
