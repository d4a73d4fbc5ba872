"""How a command is run: what it does at the signals that move it to and from its terminal.

That the shell, the terminal and the program get along is tested with real ones, in `test_terminals`.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from omgmj.runs import run
from omgmj.screen import View
from tests.kept import Kept
from tests.test_screen import Terminal

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
    monkeypatch.setattr("omgmj.runs.TICK", 0.001)
    ticks = 0

    async def work() -> None:
        enough = asyncio.Event()

        def tick() -> None:
            nonlocal ticks
            ticks += 1
            if ticks == 3:
                enough.set()

        monkeypatch.setattr(view, "tick", tick)
        await enough.wait()

    view = View([1])
    assert run(work, view, lambda: "") == 0
