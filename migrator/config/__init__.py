"""migrate.toml: reading it (loader), its sections as values (models), the starter file."""
