"""Writes a draft as text: packages as a person writes them, the configuration, and the review."""
