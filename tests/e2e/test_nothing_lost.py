"""Kills, fronts and workers that come and go, chance: short forms of `benchmarks kill9`, `soak`, `fleet` and `fuzz`."""

from __future__ import annotations

import shutil

import pytest

from benchmarks import fuzz, kill9, soak
from benchmarks.fleet import figures as fleet
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


@pytest.mark.slow
def test_workers_that_die_stop_and_join_lose_nothing() -> None:
    """Each ID is in its stream of results once, and no rate is passed, whatever befalls the leader, or Redis."""
    need("redis", shutil.which("redis-server"))
    fleet.run(short=True).hold()


def test_chance_loses_nothing() -> None:
    """In worlds of faults and kills each watched task is delivered, each created one known, nothing is sent twice."""
    fuzz.run(short=True).hold()
