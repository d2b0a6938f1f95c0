"""The records in schema `migrator` (journal, ledger, partitions, rejects, heartbeats), the lock, scratch schemas."""
