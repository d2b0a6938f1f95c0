"""BSON documents: decoding, equality, raw bytes, residues, JSON for jsonb, fingerprints. No mapping or SQL."""
