"""BSON documents as values: decoding, equality, raw bytes, residues, JSON for jsonb. No mapping and no SQL here."""
