"""How late pages are: averages of what each took, and of how far the list is behind."""

from __future__ import annotations

import pytest

from omgmj.scheduler.list_lag import ListLag


def test_a_page_tells_of_the_middle_between_asking_and_its_coming() -> None:
    """Where pages take a second, one tells of half a second ahead of asking; less what the list is behind."""
    lag = ListLag()
    assert lag.ahead == 0.0
    for _ in range(100):
        lag.on_page(1.0)
    assert lag.ahead == pytest.approx(0.5, abs=0.01)
    for _ in range(100):
        lag.on_newest(2.0)
    assert lag.behind == pytest.approx(2.0, abs=0.01)
    assert lag.ahead == pytest.approx(-1.5, abs=0.01)
    for _ in range(100):
        lag.on_newest(-5.0)
    assert lag.behind == pytest.approx(0.0, abs=0.01)


def test_the_slowest_page_of_late_is_forgotten_slowly() -> None:
    """One slow page counts at once, and for some hundred pages."""
    lag = ListLag()
    for took in (1.0, 8.0, 1.0):
        lag.on_page(took)
    assert 7.5 < lag.slowest < 8.0
    for _ in range(1000):
        lag.on_page(1.0)
    assert lag.slowest == 1.0
