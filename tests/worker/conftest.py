"""A real Redis for the tests of what works by way of it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.redis_server import RedisServer
from tests.conftest import need


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """Start a Redis of the test's own."""
    need("redis", shutil.which("redis-server"))
    folder = tmp_path / "redis"
    folder.mkdir()
    async with RedisServer(folder) as server:
        yield server
