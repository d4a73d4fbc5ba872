"""What a watch or a follow keeps in the journal, until its reader has had what came of each ID."""

from __future__ import annotations

import asyncio
import copy
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import omgmj
from omgmj.journal.journal import Changes
from omgmj.testing import FakeService, Life

pytestmark = pytest.mark.in_memory
ENDLESS = Life.steps([(0, "IN_PROGRESS", "15%"), (1e9, "SUCCESS", "100%")])


def kept(journal: omgmj.MemoryJournal) -> list[int]:
    """Return the IDs that stand in the journal now."""
    found: list[int] = []
    while page := journal.read_ids(found[-1] if found else -1):
        found += [row.task_id for row in page]
    return found


def sent(journal: omgmj.MemoryJournal) -> list[int | None]:
    """Return the IDs of the submissions that stand there, None for one without."""
    return [row.task_id for row in journal.read_submissions(-1)]


async def lingered() -> None:
    """Wait until what lingers is written."""
    await asyncio.sleep(0.1)


async def test_an_id_is_kept_until_its_reader_comes_back() -> None:
    """A record that was handed out stands in the journal until the next one is asked for."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake, fake.session(journal=journal) as session:
        first, second = fake.add_task(Life.succeed(10)), fake.add_task(Life.succeed(20))
        watch = session.watch([first, second])
        assert (await anext(watch)).id == first
        await lingered()
        assert kept(journal) == [first, second]
        assert (await anext(watch)).id == second
        await lingered()
        assert kept(journal) == [second]
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
        await lingered()
        assert kept(journal) == []


async def test_ids_are_on_disk_before_the_first_record_comes() -> None:
    """The first step of a reader waits for the journal, where 5,000 IDs stand by then, however few are let in."""
    journal = omgmj.MemoryJournal()
    async with (
        FakeService(tasks=5000) as fake,
        fake.session(journal=journal) as session,
        session.watch(fake.task_ids, max_watched=10) as watch,
    ):
        await anext(watch)
        assert len(kept(journal)) == 5000


async def test_what_a_killed_process_watched_is_resumed_with_its_contexts() -> None:
    """A copy of the journal at the moment of a crash brings back what was not done with; nothing else is delivered."""
    journal = omgmj.MemoryJournal()
    async with FakeService(tasks=20) as fake, fake.session(journal=journal) as session:
        got: list[int] = []
        async with session.watch({task_id: {"chat": task_id} for task_id in fake.task_ids}) as watch:
            async for task in watch:
                got.append(task.id)
                if len(got) == 12:
                    await lingered()
                    died = copy.deepcopy(journal)
                    break
        async with fake.session(journal=died) as second:
            results = second.resume()
            again = {task.id: results.context(task) async for task in results}
        assert set(got) | again.keys() == set(fake.task_ids)
        assert set(got) & again.keys() == {got[-1]}, "the one that was in hand"
        assert all(context == {"chat": task_id} for task_id, context in again.items())
        assert kept(died) == []


@pytest.mark.parametrize("kind", [omgmj.TaskNotFound, omgmj.WaitTimeout])
async def test_an_id_that_is_waited_for_again_as_its_error_is_told_is_kept(kind: type[omgmj.OmgmjError]) -> None:
    """It stands in the journal until its reader has had what came of it then, and no longer."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake, fake.session(journal=journal) as session:
        again, told = 99, asyncio.Event()
        if kind is omgmj.WaitTimeout:
            fake.add_task(Life.succeed(100), task_id=again)

        def on_error(error: omgmj.OmgmjError) -> None:
            assert isinstance(error, kind)
            if kind is omgmj.TaskNotFound:
                fake.add_task(Life.succeed(40), task_id=again)
            watch.add([again])
            told.set()

        watch = session.watch([again], on_error=on_error, timeout=60)
        reader = asyncio.ensure_future(anext(watch))
        await told.wait()
        await lingered()
        assert kept(journal) == [again]
        assert (await reader).id == again
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
        await lingered()
        assert kept(journal) == []


@pytest.mark.parametrize("life", ["unknown", "unreadable"])
async def test_a_verdict_on_an_id_ends_it(life: str) -> None:
    """An ID that is unknown, or whose record cannot be read, leaves the journal when its error was told."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake, fake.session(journal=journal, outage=None) as session:
        good, bad = fake.add_task(Life.succeed(2000)), 99
        if life == "unreadable":
            fake.add_task(ENDLESS, task_id=bad)
            fake.inject("html_200", times=None, task_id=bad)
        errors: list[omgmj.OmgmjError] = []
        async for _ in session.watch([good, bad], on_error=errors.append):
            pass
        assert [error.task_id for error in errors] == [bad]
        assert not isinstance(errors[0], omgmj.WaitError)
        await lingered()
        assert kept(journal) == []


async def test_errors_that_are_raised_at_the_end_are_kept_until_the_reader_comes_back() -> None:
    """Without `on_error` a verdict is in `WatchErrors`; who asks once more after it is done with those IDs."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake, fake.session(journal=journal) as session:
        watch = session.watch([fake.add_task(Life.succeed(100)), 99])
        await anext(watch)
        with pytest.raises(omgmj.WatchErrors):
            await anext(watch)
        await lingered()
        assert kept(journal) == [99]
        with pytest.raises(StopAsyncIteration):
            await anext(watch)
        await lingered()
        assert kept(journal) == []


def _raise(*_: object) -> float:
    raise ValueError("a policy's own fault")


@pytest.mark.parametrize(
    "limits",
    [{"timeout": 30}, {"stall": 30}, {"backoff": lambda *_: None}, {"backoff": _raise}],
    ids=["timeout", "stall", "gave up", "policy"],
)
async def test_the_end_of_a_wait_alone_keeps_its_id(limits: dict[str, Any]) -> None:
    """A timeout, a stall and a policy that says stop, or fails, end the wait; the task goes on, so its ID is kept."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake, fake.session(journal=journal) as session:
        task_id = fake.add_task(ENDLESS)
        errors: list[omgmj.OmgmjError] = []
        async for _ in session.watch([task_id], on_error=errors.append, **limits):
            pass
        assert len(errors) == 1
        await lingered()
        assert kept(journal) == [task_id]
        assert session.resume().pending == ()  # Not read yet.
        async with session.resume() as again:
            await lingered()
            assert again.pending == (task_id,)


async def _account(fake: FakeService, watch: omgmj.Watch) -> None:
    fake.tokens.clear()
    with pytest.raises(omgmj.AuthError):
        await anext(watch)


async def _outage(fake: FakeService, watch: omgmj.Watch) -> None:
    fake.down = True
    with pytest.raises(omgmj.ServiceUnavailable):
        await anext(watch)


async def _closed(fake: FakeService, watch: omgmj.Watch) -> None:
    await watch.aclose()


@pytest.mark.parametrize(("end", "outage"), [(_account, None), (_outage, 100), (_closed, None)])
async def test_what_ends_all_waits_keeps_all_ids(
    end: Callable[[FakeService, omgmj.Watch], Any], outage: float | None
) -> None:
    """A refused token, an outage's end and a close leave all in the journal, to be resumed."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake, fake.session(journal=journal, outage=outage) as session:
        ids = [fake.add_task(Life.succeed(5)), fake.add_task(ENDLESS)]
        watch = session.watch(ids)
        assert (await anext(watch)).id == ids[0]
        await end(fake, watch)
        await lingered()
        # The reader of the first record came back, save where the watch was closed.
        left = ids if end is _closed else ids[1:]
        assert kept(journal) == left
        fake.heal()
        fake.tokens.add(fake.token)
        async with session.resume() as again:
            await lingered()
            assert again.pending == (ids[1],)
            assert end is not _closed or (await anext(again)).id == ids[0]


async def test_closing_the_session_keeps_what_is_in_hand() -> None:
    """Records that wait for their reader when the session is closed, and one that was just handed out, are kept."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake:
        ids = [fake.add_task(Life.succeed(5)) for _ in range(3)]
        session = fake.session(journal=journal)
        watch = session.watch(ids)
        await anext(watch)
        await session.aclose()
        assert kept(journal) == ids
        del watch


async def test_discard_and_forget_remove_ids() -> None:
    """Who discards an ID, or forgets it, has no use for it in a later run; a watch of a forgotten one goes on."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake, fake.session(journal=journal) as session:
        ids = [fake.add_task(Life.succeed(20)) for _ in range(3)]
        async with session.watch(ids) as watch:
            await lingered()
            watch.discard(ids[:1])
            session.forget(ids[1:2])
            await lingered()
            assert kept(journal) == ids[2:]
            assert sorted([task.id async for task in watch]) == ids[1:]
        await lingered()
        assert kept(journal) == []


async def test_an_id_of_two_watches_is_kept_for_both() -> None:
    """The first reader that is done with an ID does not take it from the other; one that leaves early keeps it."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake, fake.session(journal=journal) as session:
        ids = [fake.add_task(Life.succeed(10)) for _ in range(2)]
        one, two = session.watch(ids), session.watch(ids)
        assert len([task async for task in one]) == 2
        await lingered()
        assert kept(journal) == ids
        await anext(two)
        unread = await anext(two)
        await two.aclose()
        await lingered()
        assert kept(journal) == [unread.id]


async def test_a_follow_keeps_its_id_until_its_end_was_read() -> None:
    """Following writes its ID too; who leaves early, or reads the end and never comes back, finds it again."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake, fake.session(journal=journal) as session:
        task_id = fake.add_task(Life.succeed(20))
        async for task in session.follow(task_id):
            assert kept(journal) == [task_id]
            if task.is_terminal:
                break
        await lingered()
        assert kept(journal) == [task_id]
        assert [task.status async for task in session.follow(task_id)] == ["SUCCESS"]
        await lingered()
        assert kept(journal) == []


async def test_a_handle_that_is_dropped_leaves_its_ids_to_the_next() -> None:
    """`resume` has what a dropped watch and a dropped follow held, their unread records too, and not what is held."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake, fake.session(journal=journal) as session:
        ids = [fake.add_task(Life.succeed(5)) for _ in range(4)]
        watch, follow = session.watch(ids[:2]), session.follow(ids[2])
        holding = session.watch(ids[3:])
        assert (await anext(watch)).id in ids[:2]
        await anext(follow)
        await asyncio.sleep(30)
        del watch, follow
        async with session.resume() as again:
            assert sorted([task.id async for task in again]) == ids[:3]
        await holding.aclose()


async def test_a_resumed_watch_is_open_for_more() -> None:
    """IDs are added to a resumed watch as to any, with contexts, and what it resumed counts as seen before."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake, fake.session(journal=journal) as session:
        slow = fake.add_task(Life.succeed(300))
        await session.watch([slow, 98]).aclose()
        await lingered()
        async with fake.session(journal=copy.deepcopy(journal)) as second:
            errors: list[tuple[int | None, float]] = []
            watch = second.resume(on_error=lambda error: errors.append((error.task_id, fake.now)))
            watch.add({99: "new"})
            assert watch.context(99) == "new"
            assert [task.id async for task in watch] == [slow]
            # 99 was never seen, and is told soon; 98 was waited for before, so that it cannot be "not there yet".
            assert [task_id for task_id, _ in errors] == [99, 98]
            assert errors[0][1] < 60
            assert errors[1][1] > 300


@pytest.mark.parametrize("count", [1, 2, 20])
async def test_a_journal_of_nothing_but_unknown_ids_comes_to_an_end(count: int) -> None:
    """Where the service has forgotten all of them, and answers the list, they are told in minutes, not in a day."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake:
        async with fake.session(journal=journal) as session, session.watch(range(9001, 9001 + count)) as watch:
            reader = asyncio.ensure_future(anext(watch))
            await lingered()
            reader.cancel()
        assert len(kept(journal)) == count
        began_at, errors = fake.now, list[omgmj.OmgmjError]()
        async with fake.session(journal=journal) as session:
            assert [task async for task in session.resume(on_error=errors.append)] == []
        assert {type(error) for error in errors} == {omgmj.TaskNotFound}
        assert (len(errors), kept(journal)) == (count, [])
        assert 360 < fake.now - began_at < 900


async def test_the_journal_of_another_account_delivers_nothing_and_forgets_nothing() -> None:
    """Another account's session gets an error at the first step of each handle, and the journal stays as it was."""
    journal = omgmj.MemoryJournal()
    async with FakeService(tasks=3) as fake:
        async with fake.session(journal=journal) as session:
            watch = session.watch([*fake.task_ids, 99])
            await anext(watch)
            await watch.aclose()
        before = kept(journal)
        assert 99 in before
        fake.tokens.add("another")
        async with fake.session("another", journal=journal) as session:
            for handle in (session.resume(), session.watch(fake.task_ids), session.follow(99)):
                with pytest.raises(omgmj.JournalError, match="another token"):
                    await anext(handle)
                await handle.aclose()
            with pytest.raises(omgmj.JournalError, match="another token"):
                await session.imagine("a cat")
            assert fake.created == []
            assert (await session.wait(fake.task_ids[0])).is_terminal
        assert kept(journal) == before


async def test_a_handle_that_was_refused_the_journal_waits_no_longer_than_it_is_held() -> None:
    """Nothing keeps the error, whose traceback holds the handle: who lets go of it ends the wait."""
    journal = omgmj.MemoryJournal()
    async with FakeService(tasks=1) as fake:
        async with fake.session(journal=journal) as session, session.watch([*fake.task_ids, 99]) as watch:
            await anext(watch)
        async with fake.session("another", journal=journal) as session:
            for make in (lambda: session.watch([99]), lambda: session.follow(99)):
                with pytest.raises(omgmj.JournalError):
                    await anext(make())
                gc.collect()  # A traceback's frames may hold each other.
                await lingered()
                assert session.stats().watched == 0


async def test_a_token_that_was_never_taken_claims_no_journal() -> None:
    """A journal that was begun with a wrong token is not of that account: the right one goes on with it."""
    journal = omgmj.MemoryJournal()
    async with FakeService(tasks=1) as fake:
        async with fake.session("wrong", journal=journal) as session:
            with pytest.raises(omgmj.AuthError):
                await anext(session.watch(fake.task_ids))
        async with fake.session(journal=journal) as session:
            assert [task.id async for task in session.resume()] == fake.task_ids


async def test_a_token_that_changed_meanwhile_is_known_in_the_next_run() -> None:
    """The account goes by each token that the service took in this session, the later ones too."""
    journal, tokens = omgmj.MemoryJournal(), ["first"]
    async with FakeService() as fake:
        fake.tokens.update(("first", "second"))
        ids = [fake.add_task(Life.succeed(after)) for after in (10, 100, 900)]
        async with fake.session(lambda: tokens[-1], journal=journal) as session:
            watch = session.watch(ids)
            await anext(watch)
            tokens.append("second")
            fake.tokens.remove("first")
            await anext(watch)
            await watch.aclose()
        async with fake.session("second", journal=journal) as session:
            assert [task.id async for task in session.resume()] == ids[1:]


async def test_a_journal_has_one_session() -> None:
    """A second session with the same journal is refused until the first is closed."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake:
        async with fake.session(journal=journal):
            with pytest.raises(omgmj.JournalError, match="another session"):
                await fake.session(journal=journal).__aenter__()
        async with fake.session(journal=journal):
            pass


@pytest.mark.real_time
async def test_a_session_that_is_refused_the_journal_opens_nothing() -> None:
    """A second session on one journal leaves no connections behind that nobody closes."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake, fake.session(journal=journal) as session, session.watch([1]):
        opened: list[bool] = []

        def connect() -> Any:
            opened.append(True)

        second = omgmj.Session("t", base_url="http://127.0.0.1:1", journal=journal, http=connect)
        with pytest.raises(omgmj.JournalError, match="in use by another session"):
            second.watch([1])
        assert opened == []
        await second.aclose()


async def test_what_needs_a_journal_says_so() -> None:
    """Without a journal there is nothing to resume, and no place for the context of a submission."""
    async with FakeService() as fake, fake.session() as session:
        for call in (session.resume, lambda: session.forget([1])):
            with pytest.raises(omgmj.UsageError, match="journal"):
                call()
        with pytest.raises(omgmj.UsageError, match="journal"):
            await session.unsettled()
        with pytest.raises(omgmj.UsageError, match="journal"):
            await session.imagine("a cat", context=1)
        assert fake.created == []


async def test_a_context_that_is_not_json_is_refused() -> None:
    """Among the first thousand at the call; later, when its chunk is taken in, as the end of the watch."""
    async with FakeService() as fake, fake.session(journal=omgmj.MemoryJournal()) as session:
        with pytest.raises(omgmj.UsageError, match="task 1 is not JSON"):
            session.watch({1: object()})
        with pytest.raises(omgmj.UsageError, match="not JSON"):
            await session.imagine("a cat", context={1: 2})
        contexts: dict[int, Any] = dict.fromkeys(range(1, 3000)) | {2500: {1, 2}}
        watch = session.watch(contexts)
        with pytest.raises(omgmj.UsageError, match="task 2500 is not JSON"):
            await anext(watch)
        assert fake.created == []


async def test_ids_of_an_endless_source_are_written_as_they_come() -> None:
    """What was drawn from a source and not brought to its end is resumed."""
    journal = omgmj.MemoryJournal()

    async def source() -> AsyncIterator[int]:
        for task_id in fake.task_ids:
            yield task_id
        await asyncio.Event().wait()

    async with FakeService(tasks=5) as fake, fake.session(journal=journal) as session:
        async with session.watch(source(), on_error=print) as watch:
            await anext(watch)
            await anext(watch)
        await lingered()
        assert len(kept(journal)) == 4
        assert len([task.id async for task in session.resume()]) == 4


# Submissions.


async def test_a_submission_is_settled_by_whatever_delivers_its_end() -> None:
    """A task that was made here stands in the journal, with its context, until its end was delivered, by whatever."""
    journal = omgmj.MemoryJournal()
    async with FakeService(lives="fast") as fake, fake.session(journal=journal) as session:
        made = [await session.imagine(f"cat {number}", context={"chat": number}) for number in range(4)]
        await lingered()
        assert sent(journal) == made
        await session.wait(made[0])
        watch = session.watch(made[1:2])
        assert [watch.context(task) async for task in watch] == [{"chat": 1}]
        async for _ in session.follow(made[2]):
            pass
        await lingered()
        assert sent(journal) == made[3:]
        died = copy.deepcopy(journal)
        async with fake.session(journal=died) as second:
            results = second.resume()
            assert [(task.id, results.context(task)) async for task in results] == [(made[3], {"chat": 3})]
            assert await second.unsettled() == []
        assert (kept(died), sent(died)) == ([], [])


async def test_the_intent_is_written_before_anything_is_sent() -> None:
    """Where the journal cannot be written nothing is sent, and the error says so."""

    class Full(omgmj.MemoryJournal):
        def write(self, changes: Changes) -> None:
            if changes.intents:
                raise omgmj.JournalError("the disk is full")
            super().write(changes)

    async with FakeService() as fake, fake.session(journal=Full()) as session:
        with pytest.raises(omgmj.JournalError, match="the disk is full"):
            await session.imagine("a cat")
        assert fake.requests == 0


async def test_what_a_killed_process_was_sending_is_found() -> None:
    """The intent is in the journal while the answer is out; the next run finds the task, until it is told to forget."""
    journal = omgmj.MemoryJournal()
    async with FakeService(latency=2) as fake:
        async with fake.session(journal=journal) as session:
            sending = asyncio.ensure_future(session.imagine("a cat in a hat", context=[1, 2]))
            await asyncio.sleep(1.5)
            assert [one.fields["prompt"] for one in fake.created] == ["a cat in a hat"]
            assert await session.unsettled() == [], "it is under way"
            died = copy.deepcopy(journal)
            made = await sending
        await asyncio.sleep(5)
        async with fake.session(journal=died) as session:
            (lost,) = await session.unsettled()
            assert (lost.submission.prompt, lost.context) == ("a cat in a hat", [1, 2])
            assert [task.id for task in lost.found] == [made]
            session.forget([lost])
            assert await session.unsettled() == []
        assert sent(died) == []


async def test_a_lost_answer_stays_in_the_journal_and_a_refusal_does_not() -> None:
    """What is uncertain is unsettled at once; what surely made nothing leaves no trace."""
    journal = omgmj.MemoryJournal()
    async with FakeService() as fake, fake.session(journal=journal) as session:
        fake.inject(omgmj.testing.Fault("drop_before_headers", only="submissions"))
        with pytest.raises(omgmj.SubmissionUncertain):
            await session.imagine("lost")
        fake.inject(omgmj.testing.Fault("code_400", only="submissions"))
        with pytest.raises(omgmj.ServiceError):
            await session.imagine("refused")
        (lost,) = await session.unsettled()
        assert (lost.submission.prompt, len(lost.found)) == ("lost", 1)
        await lingered()
        assert sent(journal) == [None]


@pytest.mark.parametrize("after", [0.5, 1.5])
async def test_a_cancelled_submission_is_kept_where_it_may_have_been_read(after: float) -> None:
    """Cancelled while it queues it was never sent, and leaves no trace; cancelled later it is unsettled."""
    journal = omgmj.MemoryJournal()
    async with FakeService(latency=2) as fake, fake.session(journal=journal, max_in_flight=1) as session:
        if after < 1:
            queries = asyncio.ensure_future(asyncio.gather(session.query(99), return_exceptions=True))
            await asyncio.sleep(0)
        sending = asyncio.ensure_future(session.imagine("a cat"))
        await asyncio.sleep(after)
        sending.cancel()
        await asyncio.wait([sending])
        if after < 1:
            await queries
        await asyncio.sleep(5)
        assert len(await session.unsettled()) == len(fake.created) == (after > 1)


async def test_many_lost_answers_cost_one_reading_of_the_list() -> None:
    """Whatever the number of unsettled submissions, each page is read once to search for all of them."""
    async with FakeService(tasks=50) as fake, fake.session(journal=omgmj.MemoryJournal()) as session:
        fake.inject(omgmj.testing.Fault("drop_before_headers", only="submissions"), times=8)
        for number in range(8):
            with pytest.raises(omgmj.SubmissionUncertain):
                await session.imagine(f"cat number {number}")
        lost = await session.unsettled()
        assert [[task.prompt for task in one.found] for one in lost] == [[f"cat number {one}"] for one in range(8)]
        assert set(fake.pages.values()) == {1}


async def test_what_an_earlier_run_knows_is_no_lost_task() -> None:
    """Of two submissions of one prompt, the one whose ID the journal has is not found for the one that was lost."""
    journal = omgmj.MemoryJournal()
    async with FakeService(lives="mix") as fake:
        async with fake.session(journal=journal) as session:
            known = await session.imagine("a cat")
            fake.inject(omgmj.testing.Fault("drop_before_headers", only="submissions"))
            with pytest.raises(omgmj.SubmissionUncertain):
                await session.imagine("a cat")
        async with fake.session(journal=journal) as session:
            (lost,) = await session.unsettled()
            assert [task.id for task in lost.found] == [one.task_id for one in fake.created if one.task_id != known]
