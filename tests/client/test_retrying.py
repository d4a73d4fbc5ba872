"""Retrying: what is repeated, how often, after how long, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from omgmj.backoff import Retry
from omgmj.client.retrying import retrying
from omgmj.errors import OmgmjError, RateLimited, TransportError, UsageError

pytestmark = pytest.mark.in_memory
RETRY = Retry(initial=1.0, factor=2.0, jitter=0.0, attempts=4)


def now() -> float:
    return asyncio.get_running_loop().time()


def raising(*errors: Exception | None) -> tuple[list[float], Callable[[], Awaitable[str]]]:
    """Return what raises these in turn, and is done where one is None, and the times at which it was called."""
    called: list[float] = []

    async def attempt() -> str:
        called.append(now())
        if (error := errors[len(called) - 1]) is not None:
            raise error
        return "done"

    return called, attempt


async def test_what_passes_is_repeated_after_its_delay() -> None:
    """Delays grow with each failure, a Retry-After counts where it is longer, and each repetition is told of."""
    slow_down = RateLimited("slow down", status=429, retry_after=30.0)
    called, attempt = raising(TransportError("one"), TransportError("two"), slow_down, None)
    repeated: list[float] = []
    done = await retrying(attempt, RETRY, what="/x", passes=lambda _: True, on_retry=lambda: repeated.append(now()))
    assert done == "done"
    assert called == [0.0, 1.0, 3.0, 33.0]
    assert repeated == called[1:]


async def test_attempts_are_bounded() -> None:
    """The last error is raised as it is when the attempts are used up, without another delay."""
    errors = [TransportError(str(number)) for number in range(5)]
    called, attempt = raising(*errors)
    with pytest.raises(TransportError) as raised:
        await retrying(attempt, RETRY, what="/x", passes=lambda _: True)
    assert raised.value is errors[3]
    assert called == [0.0, 1.0, 3.0, 7.0]


@pytest.mark.parametrize("error", [UsageError("ours"), ZeroDivisionError(), asyncio.CancelledError()])
async def test_what_does_not_pass_is_raised_at_once(error: Exception) -> None:
    """An error that does not pass, and any that is none of ours, ends it at the first attempt."""
    called, attempt = raising(error)

    def passes(error: OmgmjError) -> bool:
        return isinstance(error, TransportError)

    with pytest.raises(type(error)) as raised:
        await retrying(attempt, RETRY, what="/x", passes=passes)
    assert raised.value is error
    assert called == [0.0]


async def test_each_failure_that_passes_is_logged_for_who_debugs(caplog: pytest.LogCaptureFixture) -> None:
    """What is going to be repeated is one line of the level DEBUG: what, which attempt, in how long, and why."""
    _, attempt = raising(TransportError("gone"), UsageError("ours"))
    with caplog.at_level(logging.DEBUG, "omgmj"), pytest.raises(UsageError):
        await retrying(attempt, RETRY, what="/x", passes=lambda error: isinstance(error, TransportError))
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("DEBUG", "/x failed, attempt 1 of 4, next in 1.0 s: gone")
    ]
