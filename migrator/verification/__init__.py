"""Single checks of a migrated database: functions that return `Check` values. `stages.verify` puts them together."""
