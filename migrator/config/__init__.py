"""The configuration: reading migrate.toml (loader), its sections as values (models), starter file and example."""
