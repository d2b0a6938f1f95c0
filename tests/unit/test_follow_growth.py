"""The warning that the source changes faster than changes are applied."""

from __future__ import annotations

import pytest

from migrator.workflows import follow_watches


@pytest.mark.parametrize(
    ("waiting", "warned"),
    [((0, 5_000), False), ((0, 20_000), True), ((20_000, 19_000), False), ((20_000, 20_001), True)],
    ids=["few", "many", "fewer than before", "more than before"],
)
def test_growth(waiting: tuple[int, int], warned: bool) -> None:
    """It is given if many changes wait, and more than a minute ago."""
    watch = follow_watches.GrowthWatch()
    start = watch._since
    watch.observe(start + 61, waiting[0], 0)
    found = watch.observe(start + 122, waiting[1], 6_100)
    assert (found is not None) == warned
    assert watch.observe(start + 123, 10**6, 6_100) is None, "at most one per minute"
    if found is not None:
        assert "(100/s)" in found.text
