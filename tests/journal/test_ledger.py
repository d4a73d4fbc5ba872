"""Who holds what: an ID's row goes when its last consumer has had its end, and not before."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from omgmj.client.secrets import Secret
from omgmj.errors import JournalError, UsageError
from omgmj.journal.ledger import Ledger
from omgmj.journal.memory import MemoryJournal
from omgmj.journal.sqlite import SqliteJournal
from omgmj.models import Submission, Unsettled
from tests.journal.rows import HOST, TOKEN, Failing, Tokens, bound, ids_of, ledger_of, resumed, submissions_of

CAT = Submission("IMAGINE", "a cat", sent_at=datetime(2026, 1, 2, tzinfo=UTC))


async def test_what_is_held_is_resumed(tmp_path: Path) -> None:
    """With its contexts, by the next session, until its consumer has had its end."""
    path = tmp_path / "a.journal"
    ledger = await bound(SqliteJournal(path))
    ledger.hold([1, 2, 3], [{"chat": 1}, None, (2, 3)])
    ledger.hold([4])
    ledger.done(1)
    await ledger.aclose()
    ledger = await bound(SqliteJournal(path))
    assert await resumed(ledger) == {2: None, 3: [2, 3], 4: None}
    ledger.done(4)
    await ledger.aclose()
    ledger = await bound(SqliteJournal(path))
    assert await resumed(ledger) == {2: None, 3: [2, 3]}
    await ledger.aclose()


async def test_nothing_is_written_before_it_is_known_whose_it_is() -> None:
    """What another account's session holds does not get into the journal."""
    journal = MemoryJournal()
    first = await bound(journal)
    await first.aclose()
    second = ledger_of(journal, "sk-of-another")
    with pytest.raises(JournalError, match="another token"):
        await second.written()
    await second.aclose()

    other = ledger_of(journal, host="b.test")
    other.hold([1])
    with pytest.raises(JournalError, match="another host"):
        await other.written()
    await other.aclose()
    assert ids_of(journal) == {}


async def test_what_is_held_before_is_written_then() -> None:
    """A watch may be made before anything is awaited."""
    journal, tokens = MemoryJournal(), Tokens(None)
    ledger = Ledger(journal, (HOST,), tokens, asyncio.get_running_loop())
    ledger.hold([1])
    ledger.prove()
    await asyncio.sleep(1)
    assert ids_of(journal) == {}
    tokens.known = Secret(TOKEN)
    tokens.came.set()
    await ledger.written()
    assert ids_of(journal) == {1: None}
    await ledger.aclose()


async def test_a_token_of_the_same_session_is_learned() -> None:
    """The next session may begin with it."""
    journal = MemoryJournal()
    tokens = Tokens()
    ledger = Ledger(journal, (HOST,), tokens, asyncio.get_running_loop())
    await ledger.written()
    ledger.prove()
    tokens.known = Secret("sk-new")
    ledger.prove()
    ledger.prove()
    await ledger.aclose()
    for token in (TOKEN, "sk-new"):
        ledger = await bound(journal, token)
        await ledger.aclose()


async def test_the_last_holder_decides() -> None:
    """Two that wait for one ID: the row goes with the second, and stays where one had left it unfinished."""
    journal = MemoryJournal()
    ledger = await bound(journal)
    ledger.hold([1, 2, 3, 4])
    ledger.hold([1, 2, 3, 4, 4])
    ledger.done(1)
    ledger.done(1)
    ledger.done(1)
    ledger.done(2)
    ledger.leave([2])
    ledger.leave([3])
    ledger.done(3)
    ledger.done(4)
    await asyncio.sleep(1)
    assert set(ids_of(journal)) == {2, 3, 4}
    assert set(await resumed(ledger)) == {2, 3}
    ledger.done(3)
    ledger.done(4)
    await asyncio.sleep(1)
    assert set(ids_of(journal)) == {2}
    await ledger.aclose()


async def test_what_is_forgotten_is_gone() -> None:
    """Whoever holds it, and whether anybody does; their leaving changes nothing then."""
    journal = MemoryJournal()
    ledger = await bound(journal)
    ledger.hold([1, 2, 3])
    ledger.hold([1])
    ledger.leave([2])
    ledger.forget([1, 2, 99])
    ledger.done(1)
    ledger.leave([1, 3])
    await ledger.written()
    assert set(ids_of(journal)) == {3}
    ledger.hold([1])
    assert set(await resumed(ledger)) == {3}
    ledger.done(1)
    await ledger.aclose()
    assert set(ids_of(journal)) == {3}


async def test_a_context_that_is_no_json_refuses_its_chunk() -> None:
    """Nothing of the chunk is noted, and the text names the ID."""
    journal = MemoryJournal()
    ledger = await bound(journal)
    with pytest.raises(UsageError, match="the context of task 2 is not JSON"):
        ledger.hold([1, 2, 3], [1, object(), 3])
    with pytest.raises(UsageError, match="the context is not JSON"):
        await ledger.intend(CAT, object())
    await ledger.aclose()
    assert ids_of(journal) == {}
    assert submissions_of(journal) == []


async def test_a_context_stays_until_there_is_another() -> None:
    """Who holds an ID without one keeps what the journal has; what went and comes again has none."""
    journal = MemoryJournal()
    ledger = await bound(journal)
    ledger.hold([1, 2], ["a", "b"])
    ledger.hold([1, 2])
    ledger.hold([1, 2], [None, "c"])
    await ledger.written()
    assert ids_of(journal) == {1: '"a"', 2: '"c"'}
    ledger.forget([1])
    ledger.hold([1])
    await ledger.written()
    assert ids_of(journal) == {1: None, 2: '"c"'}
    await ledger.aclose()


async def test_a_resume_takes_what_nobody_holds(tmp_path: Path) -> None:
    """Thousands, in chunks, each held as it is handed out; two resumes beside each other share them."""
    journal = SqliteJournal(tmp_path / "a.journal")
    ledger = await bound(journal)
    ledger.hold(range(1, 5001))
    ledger.leave(range(1, 4001))
    seen: list[int] = []

    async def take() -> None:
        async for task_ids, contexts in ledger.resume():
            assert len(task_ids) == len(contexts) <= 1000
            seen.extend(task_ids)
            for task_id in task_ids[::2]:
                ledger.done(task_id)
            await asyncio.sleep(0.01)

    await asyncio.gather(take(), take())
    assert sorted(seen) == list(range(1, 4001))
    assert await resumed(ledger) == {}
    await ledger.aclose()


async def test_what_changes_during_a_resume(tmp_path: Path) -> None:
    """What goes while its page is read is not handed out, and what is left meanwhile is."""
    journal = SqliteJournal(tmp_path / "a.journal")
    ledger = await bound(journal)
    ledger.hold(range(1, 3001))
    ledger.leave(range(1, 3001))
    seen: set[int] = set()
    async for task_ids, _ in ledger.resume():
        seen.update(task_ids)
        if 1 in task_ids:
            ledger.forget([1500, 2500])
            ledger.hold([2600])
        elif 2600 not in task_ids and ledger._held.issuperset([2600]):
            ledger.leave([2600])
    assert {1500, 2500}.isdisjoint(seen)
    assert {1, 1499, 2999} <= seen
    await ledger.aclose()


async def test_what_a_full_disk_keeps_out_is_resumed_too() -> None:
    """It is in memory, and may be all there is."""
    journal = Failing()
    ledger = await bound(journal)
    ledger.hold([1, 2], ["a", "b"])
    await ledger.written()
    journal.fails = True
    ledger.hold([3, 4], ["c", None])
    ledger.leave([1, 2, 3, 4])
    ledger.forget([2])
    await ledger.written()
    assert await resumed(ledger) == {1: "a", 3: "c", 4: None}
    journal.fails = False
    await ledger.aclose()


async def test_a_submission_is_known_from_before_it_is_sent() -> None:
    """Its intent is there when it may be sent, and unsettled once its answer is lost."""
    journal = MemoryJournal()
    ledger = await bound(journal)
    key = await ledger.intend(CAT, {"chat": 1})
    assert [row.key for row in submissions_of(journal)] == [key]
    assert await ledger.unsettled() == []
    ledger.uncertain(key)
    assert await ledger.unsettled() == [Unsettled(CAT, {"chat": 1}, key=key)]
    lost = await ledger.intend(CAT)
    await ledger.aclose()
    next_one = await bound(journal)
    assert await next_one.unsettled() == [Unsettled(CAT, {"chat": 1}, key=key), Unsettled(CAT, key=lost)]
    assert await next_one.intend(CAT) > lost
    next_one.drop([key, lost])
    assert await next_one.unsettled() == []
    await next_one.aclose()


async def test_a_damaged_submission_hides_no_other() -> None:
    """It is left out."""
    journal = MemoryJournal()
    ledger = await bound(journal)
    for _ in range(2):
        ledger.uncertain(await ledger.intend(CAT))
    journal._submissions[1] = journal._submissions[1]._replace(submission="{")
    assert [one.key for one in await ledger.unsettled()] == [2]
    await ledger.aclose()


async def test_what_was_refused_was_nothing() -> None:
    """Its row goes, and so does that of one that was cancelled before it could be sent."""
    journal = MemoryJournal()
    ledger = await bound(journal)
    ledger.refused(await ledger.intend(CAT))
    cancelled = asyncio.create_task(ledger.intend(CAT))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert await ledger.unsettled() == []
    await ledger.aclose()
    assert submissions_of(journal) == []


async def test_what_was_made_is_resumed_until_it_is_settled() -> None:
    """With its context, once, and by whoever waits for it; the end of any wait settles it."""
    journal = MemoryJournal()
    ledger = await bound(journal)
    for task_id in (11, 12, 13, 14):
        ledger.made(await ledger.intend(CAT, {"chat": task_id}), task_id)
    assert ledger.contexts((11, 99)) == [{"chat": 11}, None]
    assert ledger.contexts((99,)) is None
    ledger.settle(11)
    ledger.settle(99)
    assert ledger.contexts((11,)) is None
    ledger.hold([12])
    assert await resumed(ledger) == {13: {"chat": 13}, 14: {"chat": 14}}
    ledger.done(12)
    ledger.done(13)
    await ledger.aclose()
    assert [row.task_id for row in submissions_of(journal)] == [14]
    ledger = await bound(journal)
    assert await resumed(ledger) == {14: {"chat": 14}}
    ledger.leave([14])
    ledger.forget([14])
    await ledger.aclose()
    assert submissions_of(journal) == []
    assert ids_of(journal) == {}


async def test_what_was_made_and_is_watched_without_a_context_has_its_own() -> None:
    """Also in the next session."""
    journal = MemoryJournal()
    ledger = await bound(journal)
    ledger.made(await ledger.intend(CAT, "c"), 11)
    ledger.hold([11])
    await ledger.aclose()
    ledger = await bound(journal)
    assert await resumed(ledger) == {11: "c"}
    await ledger.aclose()


async def test_an_id_that_is_not_written_yet_counts() -> None:
    """Also while the disk is full, a submission that has its ID is not unsettled, and is resumed."""
    journal = Failing()
    ledger = await bound(journal)
    key = await ledger.intend(CAT)
    journal.fails = True
    ledger.made(key, 11)
    await ledger.written()
    assert await ledger.unsettled() == []
    assert await resumed(ledger) == {11: None}
    ledger.done(11)
    await ledger.written()
    assert await resumed(ledger) == {}
    journal.fails = False
    await ledger.aclose()
    assert submissions_of(journal) == []
