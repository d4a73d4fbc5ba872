"""The process is killed, and nginx comes and goes: short forms of `python -m benchmarks kill9` and `soak`."""

from __future__ import annotations

import shutil

import pytest

from benchmarks import kill9, soak
from tests.conftest import need


@pytest.mark.slow
def test_a_killed_process_loses_nothing() -> None:
    """Each watched task reaches its reader, at most twice, and each task that was made is known, over some kills."""
    kill9.run(short=True).hold()


@pytest.mark.slow
def test_a_soak_loses_nothing() -> None:
    """Two fronts are stopped in turn, faults of every name befall requests: no task is lost, no socket is left."""
    need("nginx", shutil.which("nginx"))
    soak.run(short=True).hold()
