"""Batches: what goes together, when, and what happens when the disk fails."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings

import pytest

from omgmj.errors import JournalError, SessionClosed
from omgmj.journal.journal import Changes
from omgmj.journal.memory import MemoryJournal
from omgmj.journal.writer import LINGER, RETRY
from omgmj.models import Submission
from tests.journal.rows import Failing, bound, ids_of, resumed

FULL = "the journal cannot be written: the disk is full; it is tried again"
WELL = "the journal is written again, and nothing is missing"
CAT = Submission("IMAGINE", "a cat")


async def test_changes_of_one_moment_go_together() -> None:
    """The first goes at once, all that come while it is out go as the next."""
    journal = Failing()
    ledger = await bound(journal)
    await ledger.written()
    journal.batches.clear()
    for task_id in range(1, 101):
        ledger.hold([task_id])
        await asyncio.sleep(0)
    await ledger.written()
    assert len(journal.batches) <= 4
    assert len(ids_of(journal)) == 100
    await ledger.aclose()


async def test_ends_linger() -> None:
    """Ends of a moment go together, and none waits for longer than that."""
    journal = Failing()
    ledger = await bound(journal)
    ledger.hold(range(1, 1001))
    await ledger.written()
    journal.batches.clear()
    for task_id in range(1, 1001):
        ledger.done(task_id)
        await asyncio.sleep(LINGER / 100)
    await asyncio.sleep(2 * LINGER)
    assert ids_of(journal) == {}
    assert len(journal.batches) <= 1000 / 100 + 2
    await ledger.aclose()


async def test_written_waits_for_what_was_told_before() -> None:
    """Also for what is out already, and not where there is nothing."""
    journal = MemoryJournal()
    ledger = await bound(journal)
    for task_id in (1, 2, 3):
        ledger.hold([task_id])
        await asyncio.sleep(0)
        await ledger.written()
        assert task_id in ids_of(journal)
    ledger.hold([4])
    assert ledger._writer.out.held == set()
    waits = [asyncio.create_task(ledger.written()) for _ in range(2)]
    await asyncio.sleep(0)
    assert ledger._writer.out.held == {4}
    await ledger.written()
    assert 4 in ids_of(journal)
    await asyncio.gather(*waits)
    await ledger.written()
    await ledger.aclose()


async def test_who_waits_may_be_cancelled() -> None:
    """What it waited for is written all the same, and the others hear of it."""
    journal = MemoryJournal()
    ledger = await bound(journal)
    ledger.hold([1])
    first, second = (asyncio.create_task(ledger.written()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert ids_of(journal) == {1: None}
    await ledger.aclose()


async def test_a_full_disk_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    """One error in the log, a try each five seconds, one line when it is well; then nothing is missing."""
    loop = asyncio.get_running_loop()
    journal = Failing()
    ledger = await bound(journal)
    ledger.hold([1, 2], [{"a": 1}, {"b": 2}])
    await ledger.written()
    journal.fails = True
    journal.batches.clear()
    began = loop.time()
    ledger.done(1)
    ledger.hold([3])
    await ledger.written()
    assert loop.time() - began < 1
    while loop.time() - began < 60:
        ledger.hold([int(loop.time() * 1000)])
        await ledger.written()
        await asyncio.sleep(0.1)
    assert 11 <= len(journal.batches) <= 14
    assert caplog.messages == [f"{FULL}, and a crash before that loses what is not written"]
    ledger.hold([2])
    ledger.forget([3])
    journal.fails = False
    await asyncio.sleep(RETRY + 1)
    assert caplog.messages[1:] == [WELL]
    found = ids_of(journal)
    assert found[2] == '{"b":2}'
    assert not {1, 3} & found.keys()
    assert len(found) > 500
    journal.fails = True
    ledger.hold([3])
    await ledger.written()
    assert len(caplog.messages) == 3
    journal.fails = False
    await ledger.aclose()
    assert 3 in ids_of(journal)


async def test_an_intent_fails_at_once() -> None:
    """It says so to its caller, and goes through as soon as the disk lets it, whatever else is not written."""
    loop = asyncio.get_running_loop()
    journal = Failing()
    ledger = await bound(journal)
    await ledger.written()
    journal.fails = True
    ledger.hold([1])
    await ledger.written()
    began = loop.time()
    with pytest.raises(JournalError, match="the disk is full") as caught:
        await ledger.intend(CAT)
    assert str(caught.value) == "the journal cannot be written: the disk is full"
    journal.fails = False
    key = await ledger.intend(CAT)
    assert loop.time() - began < 1
    assert [row.key for row in journal.read_submissions(0)] == [key]
    assert ids_of(journal) == {}
    await asyncio.sleep(RETRY + 0.1)
    assert ids_of(journal) == {1: None}
    await ledger.aclose()


async def test_intents_of_a_moment_share_a_batch() -> None:
    """A hundred at once are a few commits, and those that fail, fail each for itself."""
    journal = Failing()
    ledger = await bound(journal)
    await ledger.written()
    journal.batches.clear()
    keys = await asyncio.gather(*(ledger.intend(CAT) for _ in range(100)))
    assert len(set(keys)) == 100
    assert len(journal.batches) <= 2
    journal.fails = True
    errors = await asyncio.gather(*(ledger.intend(CAT) for _ in range(3)), return_exceptions=True)
    assert len({id(error) for error in errors if isinstance(error, JournalError)}) == 3
    journal.fails = False
    await ledger.aclose()
    assert len(journal.read_submissions(0)) == 100


async def test_an_error_of_our_own_is_told_like_the_disk_s() -> None:
    """Nobody waits for ever where the journal raises what it never should."""

    class Broken(MemoryJournal):
        def write(self, changes: Changes) -> None:
            raise ZeroDivisionError

    ledger = await bound(Broken())
    await ledger.written()
    with pytest.raises(JournalError, match="the journal failed: ZeroDivisionError"):
        await ledger.intend(CAT)
    await ledger.aclose()


async def test_the_end_writes_all() -> None:
    """What lingers too; whoever closes it twice waits for the same end, and a cancelled one ends it all the same."""
    closed = []

    class Closing(Failing):
        def close(self) -> None:
            closed.append(len(self.read_ids(0)))

    journal = Closing()
    ledger = await bound(journal)
    ledger.hold(range(1, 11))
    await ledger.written()
    ledger.done(1)
    ledger.hold([20])
    cancelled = asyncio.create_task(ledger.aclose())
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(ledger.aclose(), ledger.aclose())
    assert closed == [10]
    await ledger.aclose()
    assert closed == [10]
    ledger.done(2)
    ledger.leave([3])
    ledger.prove()
    await ledger.written()
    for call in (ledger.hold, ledger.forget):
        with pytest.raises(SessionClosed):
            call([1])
    for wait in (ledger.intend(CAT), ledger.unsettled(), resumed(ledger)):
        with pytest.raises(SessionClosed):
            await wait
    assert len(ids_of(journal)) == 10


async def test_the_end_on_a_full_disk() -> None:
    """It is tried once more, and then let be."""
    journal = Failing()
    ledger = await bound(journal)
    await ledger.written()
    journal.fails = True
    ledger.hold([1])
    await ledger.written()
    ledger.hold([2])
    tries = len(journal.batches)
    await ledger.aclose()
    assert len(journal.batches) == tries + 1
    assert journal.batches[-1].held == {1, 2}


async def test_a_session_that_is_dropped_leaves_nothing_behind() -> None:
    """Its thread ends, nothing is said, and what was written is there for the next one."""
    journal = MemoryJournal()
    ledger = await bound(journal)
    ledger.hold([1])
    await ledger.written()
    before = {thread for thread in threading.enumerate() if thread.name.startswith("omgmj")}
    assert before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del ledger
        gc.collect()
        for thread in before:
            thread.join(5)
    assert not any(thread.is_alive() for thread in before)
    again = await bound(journal)
    assert await resumed(again) == {1: None}
    await again.aclose()
