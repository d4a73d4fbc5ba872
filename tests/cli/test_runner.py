"""How a command is run: work for many IDs, and what it does at the signals that move it to and from its terminal.

That the shell, the terminal and the program get along is tested with real ones, in `test_terminals`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator

import pytest

from omgmj.cli.runner import each, run
from omgmj.cli.view import View
from tests.cli.kept import Kept
from tests.cli.streams import Terminal

MOVING = (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal and return that; in the test itself, as pytest puts its own there before."""
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


async def send(number: signal.Signals) -> None:
    """Send this process a signal, and wait until it was heard of."""
    signal.raise_signal(number)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is taken away before the process is stopped, by the signal's own action, and drawn when it goes on."""
    err = on_terminal(monkeypatch)
    seen = []
    really = signal.raise_signal

    def raise_signal(number: int) -> None:
        if signal.getsignal(number) == signal.SIG_DFL:  # It would stop the tests.
            seen.append((number, "0 of 1 done" in Kept(text=err.getvalue()).text))
        else:
            really(number)

    async def work() -> None:
        await send(signal.SIGWINCH)
        for number in (signal.SIGTSTP, signal.SIGCONT):
            await send(number)
            seen.append((number, "0 of 1 done" in Kept(text=err.getvalue()).text))

    monkeypatch.setattr(signal, "raise_signal", raise_signal)
    before = [signal.getsignal(number) for number in MOVING]
    assert run(work, View([1]), lambda: "") == 0
    assert seen == [(signal.SIGTSTP, False), (signal.SIGTSTP, False), (signal.SIGCONT, True)]
    assert [signal.getsignal(number) for number in MOVING] == before


def test_stop_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where whoever started the program has it ignore Ctrl-Z, it does."""
    on_terminal(monkeypatch)

    async def work() -> None:
        assert signal.getsignal(signal.SIGTSTP) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGCONT) != signal.SIG_DFL

    before = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        assert run(work, View([1]), lambda: "") == 0
    finally:
        signal.signal(signal.SIGTSTP, before)


def test_nothing_to_take_away(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a bar these signals do what they always do, also while the program hangs at a pipe that nobody reads."""
    before = [signal.getsignal(number) for number in MOVING]

    async def work() -> None:
        assert [signal.getsignal(number) for number in MOVING] == before

    assert run(work, View([1]), lambda: "") == 0


def test_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a command runs its view is asked again and again to show how far it is."""
    monkeypatch.setattr("omgmj.cli.runner.TICK", 0.001)
    ticks = 0

    async def work() -> None:
        enough = asyncio.Event()

        def tick() -> None:
            nonlocal ticks
            ticks += 1
            if ticks == 3:
                enough.set()

        monkeypatch.setattr(view.display, "tick", tick)
        await enough.wait()

    view = View([1])
    assert run(work, view, lambda: "") == 0


async def ids(count: int, *, pause: float = 0.0) -> AsyncGenerator[int, None]:
    for task_id in range(count):
        await asyncio.sleep(pause)
        yield task_id


@pytest.mark.parametrize("pause", [0.0, 0.3])
async def test_a_few_at_a_time(pause: float) -> None:
    """All are done, no more at once than may be, and those that are there do not wait for those to come."""
    under_way, most, done = 0, 0, []

    async def work(task_id: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1 + task_id % 3)
        under_way -= 1
        done.append(task_id)

    async with asyncio.timeout(20):
        await each(ids(30, pause=pause), 4, work)
    assert sorted(done) == list(range(30))
    assert most == 4
    assert done != sorted(done)


async def test_one_error_ends_all() -> None:
    """What is raised for one is raised as it is, at once, though others are under way and more are to come."""
    cancelled = []

    async def work(task_id: int) -> None:
        try:
            await asyncio.sleep(1 if task_id == 1 else 99)
        except asyncio.CancelledError:
            cancelled.append(task_id)
            raise
        raise KeyError(task_id)

    coming = ids(3)

    async def endless() -> AsyncGenerator[int, None]:
        async for task_id in coming:
            yield task_id
        await asyncio.sleep(1e9)

    async with asyncio.timeout(2):
        with pytest.raises(KeyError) as caught:
            await each(endless(), 5, work)
    assert (caught.value.args, sorted(cancelled)) == ((1,), [0, 2])


async def test_cancelled() -> None:
    """Who waits for all can be cancelled, and so is what is under way."""
    ended = []

    async def work(task_id: int) -> None:
        try:
            await asyncio.sleep(99)
        finally:
            ended.append(task_id)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await each(ids(10), 4, work)
    assert sorted(ended) == [0, 1, 2, 3]
