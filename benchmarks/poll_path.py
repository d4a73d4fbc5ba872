"""One poll's way through the code: files, calls and moves between files. `python -m benchmarks.poll_path` lists them.

One task is watched over the fake service in virtual time, and each answer shows more progress than the one before.
Counted is each call of a function inside `omgmj`; a coroutine that goes on and, before Python 3.12, a comprehension are
calls too. The fake service is left out, and so is what attrs generates. The answer goes from the transport's return to
the first call in a file of the watch: then it is told. A cycle goes from one poll's send to the next one's. Of several
cycles the one with most calls is shown.

A move is a call in another file than the call before it: so often a reader turns to another file. Beside it stand the
calls whose caller is in another file, which leaves out turning back. Commit 3df256a has 19 files and 37 moves for the
answer, 172 calls and 109 moves for the cycle (by caller 32 and 97).
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import PurePath
from types import FrameType
from typing import Any, NamedTuple

import looptime

import omgmj
from benchmarks.report import Bound, Report
from omgmj.testing import FakeService, InMemoryTransport, Life

ROOT = PurePath(omgmj.__file__).parent
ROOM = "testing/"
"""The fake service's folder."""
WATCH = {"polling/watch.py", "polling/inbox.py"}
"""The names of the files that are told of a record."""
EPOCH = datetime(2031, 1, 1, tzinfo=UTC)
"""A time that no other benchmark has: a `Date` that was read before is remembered."""
WARM, CYCLES = 2, 10
"""So many polls are let pass, and so many cycles are polled."""
BOUNDS = {"answer: files": 19, "answer: moves": 36, "cycle: calls": 132, "cycle: moves": 76}
"""At most."""


class Call(NamedTuple):
    """A call: its file, a path inside `omgmj`, its name, and the file of its caller, None where that is outside."""

    file: str
    name: str
    caller: str | None


class Recorder:
    """A transport into the fake service that keeps all calls, and at which of them a request went or an answer came."""

    limit = None

    def __init__(self, transport: InMemoryTransport) -> None:
        self.calls: list[Call] = []
        self.sent: list[int] = []
        self.answered: list[int] = []
        self._transport = transport

    async def send(self, *request: Any) -> Any:
        """Send, and note when."""
        self.sent.append(len(self.calls))
        answer = await self._transport.send(*request)
        self.answered.append(len(self.calls))
        return answer

    def stream(self, url: str) -> AbstractAsyncContextManager[Any]:
        """Download."""
        return self._transport.stream(url)

    async def aclose(self) -> None:
        """Close."""
        await self._transport.aclose()

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """Keep a call that is ours: a function for `sys.setprofile`."""
        file = _inside(frame) if event == "call" else None
        if file is not None and not file.startswith(ROOM):
            self.calls.append(Call(file, frame.f_code.co_qualname, _inside(frame.f_back)))


def _inside(frame: FrameType | None) -> str | None:
    """Return the path of a frame's file inside `omgmj`; None where it is outside."""
    file = PurePath(frame.f_code.co_filename) if frame else ROOT.parent
    return file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else None


async def record() -> Recorder:
    """Record the polls of one watch."""
    random.seed(0)  # Jitter moves polls, and what is asked between them.
    told = [(second, "IN_PROGRESS", f"{second // 5}%") for second in range(0, 500, 5)]
    async with FakeService(epoch=EPOCH) as fake:
        fake.inject("list_forbidden", times=None)
        task_id = fake.add_task(Life.steps([*told, (500, "SUCCESS", "100%")]))
        recorder = Recorder(fake.transport())
        async with fake.session(transport=recorder) as session, session.watch([task_id]):
            sys.setprofile(recorder.profile)
            try:
                while len(recorder.sent) <= WARM + CYCLES:  # noqa: ASYNC110 (nothing tells of each poll)
                    await asyncio.sleep(1)
            finally:
                sys.setprofile(None)
    return recorder


class Way(NamedTuple):
    """The calls of the longest cycle, and those among them of the answer."""

    cycle: Sequence[Call]
    answer: Sequence[Call]


def find() -> Way:
    """Record, and return the cycle with most calls."""
    gc.disable()  # A finalizer in between would count.
    try:
        with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
            recorder = runner.run(record())
    finally:
        gc.enable()
    cycles = itertools.islice(zip(itertools.pairwise(recorder.sent), recorder.answered, strict=False), WARM, None)
    (begin, end), answered = max(cycles, key=lambda one: one[0][1] - one[0][0])
    told = next(at for at in range(answered, end) if recorder.calls[at].file in WATCH)
    return Way(recorder.calls[begin:end], recorder.calls[answered : told + 1])


def files(calls: Iterable[Call]) -> int:
    """Return in how many files the calls are."""
    return len({call.file for call in calls})


def moves(calls: Iterable[Call]) -> int:
    """Return how many calls are in another file than the call before."""
    return sum(one.file != other.file for one, other in itertools.pairwise(calls))


def moves_by_caller(calls: Iterable[Call]) -> int:
    """Return how many calls have a caller in another file, or outside."""
    return sum(call.file != call.caller for call in calls)


def run(*, short: bool) -> Report:  # noqa: ARG001 (it takes a moment only)
    """Count. The figures are the same each time."""
    found = find()
    figures: dict[str, Callable[[Sequence[Call]], int]] = {
        "files": files,
        "calls": len,
        "moves": moves,
        "moves by caller": moves_by_caller,
    }
    counts = {
        f"{name}: {what}": count(calls)
        for name, calls in {"answer": found.answer, "cycle": found.cycle}.items()
        for what, count in figures.items()
    }
    # A poll passes the limiter, the schedule, the exchange and the policy at least.
    assert counts["answer: files"] >= 5, counts
    assert counts["cycle: calls"] > counts["answer: calls"] >= 20, counts
    return Report(
        head=("a poll's way", "measured"),
        rows=[(name, str(count)) for name, count in counts.items()],
        bounds=[Bound(name, counts[name], most, "") for name, most in BOUNDS.items()],
        bars=[(f"omgmj, {name}", count) for name, count in counts.items()],
        unit="files, calls and moves between files",
        short=[],
    )


if __name__ == "__main__":
    found = find()
    for number, call in enumerate(found.cycle):
        moved = number > 0 and call.file != found.cycle[number - 1].file
        print(f"{'->' if moved else '  '} {call.file} {call.name}")
