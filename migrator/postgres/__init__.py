"""PostgreSQL as such: catalog, DDL and recorded changes, COPY, privileges, errors, foreign keys. No mapping here."""
