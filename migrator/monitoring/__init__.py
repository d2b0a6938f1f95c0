"""Observes a running migration: its progress, what it waits for, and whether it is throttled."""
