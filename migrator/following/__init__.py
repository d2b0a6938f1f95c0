"""Following a live source: changes are received as dirty keys, and applied to the rows of a finished run.

A dirty key says that a document changed, not how. Applying it takes the newest document and resolves it again, so that
repeated, late and duplicate events have no effect (design: docs/decisions.md).
Not here: the change stream of the server (`sources/change_stream.py`), the records (`state/sync.py`, `state/dirty.py`).
"""
