"""The compiled versions of `profiler.Profiler` and `sketch.Sketch`; None if there was no C compiler."""

from __future__ import annotations

__all__ = ["Profiler", "Sketch", "hash_text"]

try:
    from migrator.scaffold.native._profiler import Profiler
    from migrator.scaffold.native._sketch import Sketch, hash_text
except ImportError:  # not compiled: the Python versions do the same, but slower
    Profiler = Sketch = hash_text = None  # type: ignore[assignment,misc]
