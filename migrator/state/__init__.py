"""What the tool keeps in schema `migrator`: journal, ledger, partitions, rejects, activity, lock, scratch schemas."""
