"""The served fake at its door: packed bodies, what it says in the log, and where it listens."""

from __future__ import annotations

import gzip
import json
import logging
from typing import Any

import aiohttp
import pytest

from omgmj.errors import UsageError
from omgmj.testing import FakeService

QUERY = "/api/v1/ai/draw/mj/query"
BODY = b"model=midjourney&taskId=3432"


async def post(url: str, body: bytes, token: str = "t", **headers: str) -> tuple[int, Any]:  # noqa: S107
    sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-www-form-urlencoded", **headers}
    # What the body is packed with is the test's business, not the client's.
    async with aiohttp.ClientSession() as http, http.post(url + QUERY, data=body, headers=sent) as response:
        return response.status, json.loads(await response.read())


async def test_packed_body(caplog: pytest.LogCaptureFixture) -> None:
    """A body packed by gzip is read; garbage that says it is one is a 400, one line in the log and no traceback."""
    packed = {"Content-Encoding": "gzip"}
    async with FakeService(tasks=1) as fake:
        url = await fake.serve()
        with caplog.at_level(logging.INFO):
            status, answer = await post(url, gzip.compress(BODY), **packed)
            assert (status, answer["data"]["taskId"]) == (200, 3432)
            assert not caplog.records
            for garbage in (b"garbage", gzip.compress(BODY)[:-3]):
                status, answer = await post(url, garbage, **packed)
                assert (status, answer["statusCode"]) == (400, 400)
            assert (await post(url, BODY))[0] == 200
            assert (await post(url, BODY[1:]))[0] == 400
            assert "odel" in fake.refused.pop()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert all(record.exc_info is None for record in caplog.records)
    reasons = [reason.removeprefix("400: ") for reason in fake.refused]
    assert caplog.messages == [f"the fake service refused a request: {reason}" for reason in reasons]
    assert "not the gzip" in reasons[0]


async def test_beyond_loopback(caplog: pytest.LogCaptureFixture) -> None:
    """Where others can reach it the fake needs a token of its own, and says so; it is asked at this machine itself."""
    async with FakeService(tasks=1) as fake:
        for host in ("0.0.0.0", "::", "fake"):  # noqa: S104 (that is the point)
            with pytest.raises(UsageError, match="token"):
                await fake.serve(host=host)
        assert not caplog.records
        await fake.serve(host="localhost")
    async with FakeService(tasks=1, token="secret-enough") as fake:
        url = await fake.serve(host="0.0.0.0")  # noqa: S104
        assert url.startswith("http://127.0.0.1:")
        assert (await post(url, BODY))[0] == 401
        assert (await post(url, BODY, "secret-enough"))[0] == 200
    (said,) = (message for message in caplog.messages if "listens" in message)
    assert said.startswith(f"the fake service listens at 0.0.0.0, port {url.rpartition(':')[2]}: ")
