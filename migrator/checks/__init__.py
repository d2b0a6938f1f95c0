"""Single checks of a migrated database, each a function that returns `Check` values. `stages.verify` puts them together."""
