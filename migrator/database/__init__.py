"""PostgreSQL as such: its catalog, definitions and what was changed of them, sessions, COPY."""
