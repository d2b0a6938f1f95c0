"""Tests with a shared fixture stay in one test process."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("an-example")
def test_xdist_sees_groups(request: pytest.FixtureRequest) -> None:
    """pytest-xdist reads a group from the test's id. Some versions of pytest do not let it write the group there."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("not a process of --dist loadgroup")
    assert request.node.nodeid.endswith("@an-example")
