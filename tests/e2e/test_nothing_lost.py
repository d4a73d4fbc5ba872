"""Kills, a front that comes and goes, chance: short forms of `python -m benchmarks kill9`, `soak` and `fuzz`."""

from __future__ import annotations

import shutil

import pytest

from benchmarks import fuzz, kill9, soak
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


def test_chance_loses_nothing() -> None:
    """In worlds of faults and kills each watched task is delivered, each created one known, nothing is sent twice."""
    fuzz.run(short=True).hold()
