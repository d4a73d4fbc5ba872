"""The token stands in no variable of a traceback, as a reporter of errors may send them all."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import omgmj
from omgmj.testing import FakeService

TOKEN = "sk-4711-very-secret"


def hanging_on(error: BaseException) -> Iterator[BaseException]:
    """Give an error and all that hangs on it."""
    todo: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while todo:
        one = todo.pop()
        if one is not None and not any(one is other for other in seen):
            seen.append(one)
            todo += [one.__cause__, one.__context__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]
    return iter(seen)


def report(error: BaseException) -> str:
    """Return all that a reporter sends: texts, and the variables of each frame, their contents too."""

    def shown(value: Any, depth: int = 4) -> str:
        said = repr(value)
        if depth and hasattr(value, "items"):
            said += "".join(f"{name}{shown(one, depth - 1)}" for name, one in value.items())
        elif depth and isinstance(value, list | tuple | set):
            said += "".join(shown(one, depth - 1) for one in value)
        return said + (value if isinstance(value, str) else "")

    said = "".join(traceback.format_exception(error))
    for one in hanging_on(error):
        said += f"{one!r}{one.args!r}{vars(one)!r}"
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if frame.f_code.co_filename != __file__:
                said += "".join(shown(value) for value in list(frame.f_locals.values()))
    return said


async def error_of(call: Awaitable[object]) -> BaseException:
    try:
        await call
    except BaseException as error:  # noqa: BLE001 (it is what this is about)
        return error
    raise AssertionError


async def cancelled(call: Awaitable[object]) -> BaseException:
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0.2)
    task.cancel()
    return await error_of(task)


async def timed_out(call: Awaitable[object]) -> BaseException:
    async def within() -> None:
        async with asyncio.timeout(0.2):
            await call

    return await error_of(within())


CALLS: dict[str, Callable[[omgmj.Session], Awaitable[object]]] = {
    "query": lambda session: session.query(3432),
    "page": lambda session: session.page(),
    "imagine": lambda session: session.imagine("a cat"),
    "wait": lambda session: session.wait(3432),
    "watch": lambda session: anext(session.watch([3432])),
}


@pytest.mark.real_time
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("end", [cancelled, timed_out])
async def test_who_is_cut_off_shows_no_token(
    call: str, end: Callable[[Awaitable[object]], Awaitable[BaseException]]
) -> None:
    """A call that is cancelled, or times out, while its request is out."""
    async with FakeService(tasks=1, token=TOKEN) as fake:
        url = await fake.serve()
        fake.inject("silence", times=None)
        async with omgmj.Session(TOKEN, base_url=url, retry=omgmj.Retry(attempts=1)) as session:
            error = await end(CALLS[call](session))
    assert isinstance(error, asyncio.CancelledError | TimeoutError)
    assert TOKEN not in report(error)


@pytest.mark.real_time
@pytest.mark.parametrize("call", ["query", "page", "imagine"])
@pytest.mark.parametrize(
    "fault", ["silence", "drop_before_headers", "cut_short", "html_200", "unauthorized", "nothing there"]
)
async def test_what_fails_shows_no_token(call: str, fault: str) -> None:
    """A call that fails, in whatever way."""
    async with FakeService(tasks=1, token=TOKEN) as fake:
        url = await fake.serve()
        if fault == "nothing there":
            url = "http://127.0.0.1:1"
        else:
            fake.inject(fault, times=None)
        settings: Any = {"base_url": url, "retry": omgmj.Retry(attempts=1), "request_timeout": 0.3}
        async with omgmj.Session(TOKEN, **settings) as session:
            error = await error_of(CALLS[call](session))
    assert isinstance(error, omgmj.OmgmjError)
    assert TOKEN not in report(error)


@pytest.mark.parametrize(
    "wrong", [{"rate": -1}, {"base_url": "http://evil"}, {"retry": 5}, {"trusted_hosts": "x"}, {"backoff": 5}]
)
def test_wrong_arguments_show_no_token(wrong: dict[str, Any]) -> None:
    """A session that was not made, as another argument is wrong, shows itself, and no token."""
    with pytest.raises(omgmj.UsageError) as caught:
        omgmj.Session(TOKEN, **wrong)
    said = report(caught.value)
    assert TOKEN not in said
    assert "<omgmj.Session " in said


@pytest.mark.parametrize("torn", [f"{TOKEN} x", f"{TOKEN}\nx", f"ü{TOKEN}"])
async def test_a_token_that_is_none_is_not_shown(torn: str) -> None:
    """What was to be a token, and cannot be one, may hold one all the same."""
    with pytest.raises(omgmj.UsageError) as caught:
        omgmj.Session(torn)
    assert TOKEN not in report(caught.value)
    async with FakeService() as fake, fake.session(lambda: torn) as session:
        error = await error_of(session.query(3432))
    assert isinstance(error, omgmj.UsageError)
    assert TOKEN not in report(error)
