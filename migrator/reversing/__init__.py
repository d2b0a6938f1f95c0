"""Returning changes: after the application has been switched to PostgreSQL, its changes go back to MongoDB.

Triggers record which rows changed, and what they were. Returning a row merges what the application changed into the
document of MongoDB (design: docs/decisions.md).
Not here: the opposite direction (`following`), the commands and their loops (`workflows`).
"""
