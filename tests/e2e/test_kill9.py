"""The process is killed: a short form of `python -m benchmarks kill9`."""

from __future__ import annotations

import pytest

from benchmarks import kill9


@pytest.mark.slow
def test_a_killed_process_loses_nothing() -> None:
    """Each watched task reaches its reader, at most twice, and each task that was made is known, over some kills."""
    kill9.run(short=True).hold()
