"""Whose a row is, the migration's or somebody else's: what a revert must know before it takes anything away."""
