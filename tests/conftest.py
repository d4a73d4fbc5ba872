"""What all tests share: virtual time for coroutines, and a check that no test leaves a task behind."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
import shutil
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import looptime
import pytest
from hypothesis import HealthCheck, settings

from benchmarks.redis_server import RedisServer

REQUIRED = frozenset(filter(None, os.environ.get("OMGMJ_REQUIRE", "").split(",")))
"""Real parts that must be there: a test that needs one fails without it instead of skipping."""

SEED = os.environ.get("OMGMJ_SEED")
"""Where it is set, tests draw other numbers than they do without, others for each value."""

new_real_loop = import_module(os.environ.get("OMGMJ_LOOP", "asyncio")).new_event_loop
"""What makes the event loop of tests in real time: asyncio, or what the variable names, such as uvloop."""

# The same examples in each run, and no limit of time: a slow machine fails nothing. With a seed of one's own, others.
settings.register_profile(
    "steady", derandomize=SEED is None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run coroutines on an event loop with virtual time, or on a plain one where the test says `real_time`."""
    if request.node.get_closest_marker("real_time"):
        return "asyncio", {"loop_factory": new_real_loop}
    # Before time moves on, the loop takes some empty turns for what may come from a socket or a thread.
    lingers = {} if request.node.get_closest_marker("in_memory") is None else {"noop_cycles": 0}
    return "asyncio", {"loop_factory": lambda: looptime.new_event_loop(start=0, **lingers)}


@pytest.fixture(autouse=True)
def the_same_chance(request: pytest.FixtureRequest) -> None:
    """Have `random`, which a session draws its jitter from, give each test the same numbers in each run."""
    random.seed(f"{SEED or ''} {request.node.nodeid}")


@pytest.fixture(autouse=True)
def nothing_learned(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have the command line keep nothing, as one test would change another's polls; and no cache be the user's."""
    monkeypatch.setenv("OMGMJ_LEARNED", "off")
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def no_task_left(request: pytest.FixtureRequest) -> None:
    """Fail a test that leaves a task in the loop: the runner would cancel it in silence."""
    if isinstance(request.node, pytest.Function) and inspect.iscoroutinefunction(request.node.obj):
        request.getfixturevalue("_tasks_watched")


@pytest.fixture
async def _tasks_watched(anyio_backend: object) -> AsyncIterator[None]:
    yield
    for _ in range(5):
        await asyncio.sleep(0)
    own = asyncio.current_task()
    left = {task for task in asyncio.all_tasks() if task is not own and "TestRunner" not in str(task.get_coro())}
    assert not left, f"tasks left in the loop: {left}"


SETTINGS = ("OMGMJ_TOKEN", "OMGMJ_BASE_URL", "OMGMJ_REDIS", "SSL_CERT_FILE", "XDG_CONFIG_HOME", "NETRC", "FORCE_COLOR")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give a test an environment without settings and an empty home."""
    for name in (*SETTINGS, *PROXIES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def need(part: str, found: object) -> None:
    """Skip a test that needs `part` where it is missing; fail instead where OMGMJ_REQUIRE names it."""
    if not found:
        text = f"{part} is not on this machine"
        if part in REQUIRED:
            pytest.fail(text)
        pytest.skip(text)


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """Start a Redis of the test's own."""
    need("redis", shutil.which("redis-server"))
    folder = tmp_path / "redis"
    folder.mkdir()
    async with RedisServer(folder) as server:
        yield server
