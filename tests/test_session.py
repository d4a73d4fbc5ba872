"""The doors: query, wait, follow, notify, stats, and a session's life."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import os
import re
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import looptime
import pytest

import omgmj
from omgmj import models
from omgmj.backoff import Facts, Fixed
from omgmj.base_url import BASE_URL
from omgmj.protocol import responses
from omgmj.testing import FakeService, Fault, Life

pytestmark = pytest.mark.in_memory


def now() -> float:
    return asyncio.get_running_loop().time()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


# Query.


async def test_query_asks_once() -> None:
    """A query is one request, and its answer is the record."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(0.0))
        task = await session.query(str(task_id))
        assert (task.id, task.status, fake.requests) == (task_id, "SUCCESS", 1)
        assert task.find_action("U1")


async def test_query_repeats_what_is_transient() -> None:
    """A query is repeated, although it is a POST, after a dropped connection, a 5xx, an HTML page and a 429."""
    async with FakeService(tasks=1) as fake, fake.session(retry=omgmj.Retry(attempts=9)) as session:
        for fault in ("drop_before_headers", "cut_short", "unavailable", "html_200", "rate_limited"):
            fake.inject(fault)
        await session.query(fake.task_ids[0])
        assert fake.requests == 6
        assert session.stats().retries == 5
        assert session.stats().rate_limited == 1


async def test_query_gives_up_within_its_bound() -> None:
    """A direct call ends with the last error after `attempts` tries, and the error names the task."""
    async with FakeService(tasks=1) as fake, fake.session(retry=omgmj.Retry(attempts=3)) as session:
        fake.inject("html_502", times=None)
        with pytest.raises(omgmj.ServiceError, match="502") as caught:
            await session.query(fake.task_ids[0])
        assert caught.value.task_id == fake.task_ids[0]
        assert fake.requests == 3


async def test_query_believes_the_first_no() -> None:
    """`query` raises at the first word that there is no such task; it is the wait that asks again."""
    async with FakeService() as fake, fake.session() as session:
        with pytest.raises(omgmj.TaskNotFound):
            await session.query(77)
        assert fake.requests == 1


async def test_query_feeds_the_poller() -> None:
    """What a query saw counts for those who wait: its final record ends their wait without another poll."""
    async with FakeService() as fake, fake.session(backoff=omgmj.Fixed(500)) as session:
        task_id = fake.add_task(Life.succeed(10))
        waiting = asyncio.ensure_future(session.wait(task_id))
        await asyncio.sleep(20)
        assert fake.requests == 1
        await session.query(task_id)
        assert (await waiting).succeeded
        assert now() == pytest.approx(20, abs=0.1)
        assert fake.requests == 2


# Wait.


async def test_wait_returns_the_final_record() -> None:
    """A wait polls to the end and returns success and failure alike; an exception is there on request."""
    async with FakeService() as fake, fake.session() as session:
        good, bad = fake.add_task(Life.succeed(30)), fake.add_task(Life.fail(20, reason="banned"))
        task = await session.wait(good)
        assert task.succeeded
        assert len(task.actions) >= 8
        task.raise_for_failure()
        task = await session.wait(bad)
        assert task.failed
        with pytest.raises(omgmj.TaskFailed, match="banned"):
            task.raise_for_failure()


async def test_polls_follow_the_policy() -> None:
    """The first poll is at once, the next ones when the policy says, none after the end."""
    async with FakeService() as fake, fake.session() as session:
        await session.wait(fake.add_task(Life.succeed(9)), backoff=omgmj.Fixed(2))
        assert fake.times == pytest.approx([0, 2, 4, 6, 8, 10], abs=0.02)


async def test_wait_timeout_bounds_the_wait_and_tells_all() -> None:
    """`timeout` bounds the wait, not a request; the error carries ID, last record, elapsed and queries."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(100))
        with pytest.raises(omgmj.WaitTimeout, match=f"{task_id} was not done in time") as caught:
            await session.wait(task_id, timeout=21, backoff=omgmj.Fixed(5))
        error = caught.value
        assert isinstance(error, TimeoutError)
        assert (error.task_id, error.queries) == (task_id, 5)
        assert error.elapsed == pytest.approx(21, abs=0.1)
        assert error.last is not None
        assert error.last.status == "IN_PROGRESS"
        assert now() == pytest.approx(21, abs=0.1)
        assert (await session.wait(task_id)).succeeded


async def test_timeout_zero_is_one_poll() -> None:
    """A timeout of 0 makes one poll: the record where it is final, `WaitTimeout` with the record where it is not."""
    async with FakeService() as fake, fake.session() as session:
        done, running = fake.add_task(Life.succeed(0.0)), fake.add_task(Life.succeed(50))
        assert (await session.wait(done, timeout=0)).succeeded
        with pytest.raises(omgmj.WaitTimeout) as caught:
            await session.wait(running, timeout=0)
        assert caught.value.last is not None
        assert fake.requests == 2


async def test_a_timeout_names_the_failed_poll_before_it() -> None:
    """Who times out while polls fail is told why they fail."""
    async with FakeService(tasks=1) as fake, fake.session() as session:
        fake.inject("html_502", times=None)
        with pytest.raises(omgmj.WaitTimeout, match=r"the last poll failed: .*HTTP 502") as caught:
            await session.wait(fake.task_ids[0], timeout=5)
        assert isinstance(caught.value.__cause__, omgmj.ServiceError)
        assert caught.value.last is None


@pytest.mark.parametrize("fault", ["rate_limited", Fault("rate_limited_seconds", seconds=40)])
async def test_timeout_zero_ends_while_the_service_turns_all_away(fault: str | Fault) -> None:
    """One poll that is turned away is one poll: a timeout of 0 ends, and `RateLimited` is the cause."""
    async with FakeService(tasks=1) as fake, fake.session() as session:
        fake.inject(fault, times=None)
        with pytest.raises(omgmj.WaitTimeout, match="too many requests") as caught:
            await session.wait(fake.task_ids[0], timeout=0)
        assert isinstance(caught.value.__cause__, omgmj.RateLimited)
        assert (caught.value.task_id, caught.value.queries, fake.requests) == (fake.task_ids[0], 1, 1)
        assert now() < 1


@pytest.mark.parametrize("timeout", [0, 100])
async def test_a_timeout_in_an_outage_says_why(timeout: float) -> None:
    """Who times out in an outage is told of it, polled or not; a task never seen is not said to go on."""
    async with FakeService(tasks=30) as fake, fake.session() as session:
        fake.down = True
        waiting = [session.wait(task_id, timeout=timeout) for task_id in fake.task_ids]
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, omgmj.WaitTimeout)
            assert "never seen" in str(error)
            assert "the last poll failed: the connection was dropped" in str(error)
            assert "goes on" not in str(error)
            assert isinstance(error.__cause__, omgmj.TransportError)


async def test_a_timeout_after_an_outage_began_tells_what_was_seen() -> None:
    """Of a task that was seen, a timeout in an outage tells the record, why polls fail, and that it goes on."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.steps([(0, "IN_PROGRESS", "46%"), (9999, "SUCCESS", "100%")]))
        waiting = asyncio.ensure_future(session.wait(task_id, timeout=100))
        await asyncio.sleep(30)
        fake.down = True
        with pytest.raises(omgmj.WaitTimeout, match=r"IN_PROGRESS at 46 %.*the last poll failed: .*goes on") as caught:
            await waiting
        assert caught.value.last is not None
        assert isinstance(caught.value.__cause__, omgmj.TransportError)


async def test_stall_is_apart_from_timeout() -> None:
    """A stuck task ends with `Stalled`; a slow one that moves does not, however long it takes."""
    async with FakeService() as fake, fake.session(backoff=omgmj.Fixed(10)) as session:
        stuck = fake.add_task(
            Life.steps([(0, "NOT_START", None), (5, "IN_PROGRESS", "46%"), (9999, "SUCCESS", "100%")])
        )
        with pytest.raises(omgmj.Stalled) as caught:
            await session.wait(stuck, stall=300)
        assert now() == pytest.approx(310, abs=1)
        assert caught.value.last is not None
        assert caught.value.last.progress == 46
        slow = fake.add_task(
            Life.steps([(250.0 * i, "IN_PROGRESS", f"{10 * i}%") for i in range(10)] + [(2500, "SUCCESS", "100%")])
        )
        assert (await session.wait(slow, stall=300)).succeeded


async def test_a_stall_is_found_although_every_other_poll_fails() -> None:
    """Failures in between put no stall off: the time between the good polls round them counts."""
    async with FakeService() as fake, fake.session(backoff=omgmj.Fixed(10)) as session:
        task_id = fake.add_task(Life.steps([(0, "IN_PROGRESS", "46%"), (99999, "SUCCESS", "100%")]))

        async def fail_every_other() -> None:
            asked = -2
            while True:
                if fake.requests >= asked + 2:
                    asked = fake.requests
                    fake.inject("html_502")
                await asyncio.sleep(0.25)

        failing = asyncio.ensure_future(fail_every_other())
        with pytest.raises(omgmj.Stalled) as caught:
            await session.wait(task_id, stall=300)
        failing.cancel()
        assert fake.injected["html_502"] >= 20
        assert caught.value.elapsed == pytest.approx(310, abs=15)


async def test_an_outage_is_no_stall() -> None:
    """`stall` counts between successful polls only, so an outage longer than it ends no wait."""
    moves = [
        (0, "IN_PROGRESS", "15%"),
        (120, "IN_PROGRESS", "31%"),
        (240, "IN_PROGRESS", "46%"),
        (900, "SUCCESS", "100%"),
    ]
    async with FakeService() as fake, fake.session(backoff=omgmj.Fixed(10)) as session:
        waiting = asyncio.ensure_future(session.wait(fake.add_task(Life.steps(moves)), stall=200))
        await asyncio.sleep(250)
        fake.outage(fake.now + 600)
        assert (await waiting).succeeded


async def test_an_unknown_status_neither_hangs_nor_ends(caplog: pytest.LogCaptureFixture) -> None:
    """An unknown word is kept, logged once, goes on, ends by `stall`, or by a set finish time."""
    async with FakeService() as fake, fake.session() as session:
        odd = Life.steps([(0, "NOT_START", None), (5, "ENHANCING", "50%"), (1e6, "SUCCESS", "100%")])
        for task_id in (fake.add_task(odd), fake.add_task(odd)):
            with pytest.raises(omgmj.Stalled) as caught:
                await session.wait(task_id, stall=600)
            assert caught.value.last is not None
            assert caught.value.last.status == "ENHANCING"
        assert len([r for r in caplog.records if "ENHANCING" in r.getMessage()]) == 1
        ended = Life.steps([(0, "NOT_START", None), (20, "EXPIRED", "50%", {"finishTime": "2026-01-01T00:00:00Z"})])
        task = await session.wait(fake.add_task(ended))
        assert (task.status, task.is_terminal, task.succeeded) == ("EXPIRED", True, False)


async def test_a_new_task_is_not_found_for_a_moment() -> None:
    """An ID that is unknown right after it was made is waited for; one that stays unknown is believed."""
    async with FakeService() as fake, fake.session() as session:
        assert (await session.wait(fake.add_task(Life.succeed(30), unknown_for=7))).succeeded
        before = now()
        with pytest.raises(omgmj.TaskNotFound) as caught:
            await session.wait(99)
        assert caught.value.task_id == 99
        assert fake.asked[99] == 3
        assert now() - before == pytest.approx(10, abs=0.1)


async def test_one_blip_does_not_end_a_wait() -> None:
    """Whatever fails in passing, the wait goes on to the final record."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(60))
        for fault in (
            "drop_before_headers",
            "drop_after_headers",
            "cut_short",
            "empty_body",
            "html_200",
            "html_520",
            "not_object",
            "wrong_type",
            "forbidden_html",
            "rate_limited",
            "rate_limited_zero",
            "server_error",
        ):
            fake.inject(fault)
        assert (await session.wait(task_id)).succeeded
        assert sum(fake.injected.values()) == 12


async def test_a_garbled_record_is_believed_after_a_minute() -> None:
    """An ID whose record cannot be read ends alone, with an error that names the field."""
    async with FakeService(tasks=2) as fake, fake.session(sweeps=False) as session:
        bad, good = fake.task_ids
        fake.inject(Fault("wrong_type", field="status", value=5), times=None, task_id=bad)
        with pytest.raises(omgmj.DecodeError) as caught:
            await session.wait(bad)
        assert (caught.value.field, caught.value.task_id, fake.asked[bad]) == ("$.data.status", bad, 4)
        assert 60 <= fake.now < 62
        assert (await session.wait(good)).succeeded


async def test_an_odd_field_keeps_no_record_from_its_user(caplog: pytest.LogCaptureFixture) -> None:
    """A record with an odd field is delivered, and the field is warned of once in a session."""
    async with FakeService(tasks=2) as fake, fake.session() as session:
        fake.inject(Fault("wrong_type", field="actions", value=5), times=None)
        for task_id in fake.task_ids:
            task = await session.wait(task_id)
            assert (task.succeeded, task.actions, task.raw["actions"]) == (True, (), 5)
    (line,) = [record.getMessage() for record in caplog.records if "odd" in record.getMessage()]
    assert "actions is a whole number, not a list" in line


async def test_long_words_are_kept_and_shown_short(caplog: pytest.LogCaptureFixture) -> None:
    """A status word of a megabyte is short in the record, in the log and in the error of a wait."""
    async with FakeService(tasks=1) as fake, fake.session(backoff=Fixed(1.0)) as session:
        (task_id,) = fake.task_ids
        for number in range(40):
            word = f"{number}{'W' * 10**6}"
            fake.inject(Fault("wrong_type", field="status", value=word), task_id=task_id)
        with pytest.raises(omgmj.WaitTimeout) as caught:
            await session.wait(task_id, timeout=30)
        assert len(str(caught.value)) < 300
        assert caught.value.last is not None
        assert len(caught.value.last.source) < 10_000
        assert 10 < len(caplog.records) <= 20
        assert all(len(record.getMessage()) < 300 for record in caplog.records)


async def test_a_rotated_token_is_not_fatal() -> None:
    """A token callable is asked once more after a 401, and the waits go on."""
    tokens = ["old"]
    async with FakeService(tasks=20, token="old") as fake, fake.session(lambda: tokens[-1]) as session:
        waiting = [asyncio.ensure_future(session.wait(task_id)) for task_id in fake.task_ids]
        await asyncio.sleep(5)
        fake.tokens.clear()
        fake.tokens.add("new")
        asyncio.get_running_loop().call_later(5, tokens.append, "new")
        assert all(task.succeeded for task in await asyncio.gather(*waiting))


async def test_a_token_that_rotates_every_few_seconds_ends_no_watch() -> None:
    """A token that is good for three seconds, from a callable that takes a while, ends no watch."""
    async with FakeService(tasks=20, token="token-0") as fake:
        now = asyncio.get_running_loop().time

        async def token() -> str:
            await asyncio.sleep(0.5)
            fake.tokens.clear()
            fake.tokens.add(f"token-{now() // 3:.0f}")
            return f"token-{now() // 3:.0f}"

        async with fake.session(token) as session:
            records = [task async for task in session.watch(fake.task_ids)]
    assert {task.id for task in records} == set(fake.task_ids)


def test_http_to_a_trusted_host() -> None:
    """A host of a container network is gone to over http where it is trusted by name."""
    session = omgmj.Session("t", base_url="http://new-api:3000", trusted_hosts=("new-api",))
    assert repr(session) == "<omgmj.Session http://new-api:3000>"
    for wrong in ((), ("api",), "new-api", ("new-*",)):
        with pytest.raises(omgmj.UsageError):
            omgmj.Session("t", base_url="http://new-api:3000", trusted_hosts=wrong)


async def test_an_account_error_reaches_everyone() -> None:
    """A token that is refused for good ends all waits at once, each with an error of its own."""
    async with FakeService(tasks=3) as fake, fake.session() as session:
        waiting = [asyncio.ensure_future(session.wait(task_id)) for task_id in fake.task_ids]
        await asyncio.sleep(1)
        fake.tokens.clear()
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in errors] == [omgmj.AuthError] * 3
        assert len({id(error) for error in errors}) == 3
        fake.tokens.add("t")
        assert (await session.wait(fake.task_ids[0])).succeeded


# One stream an ID.


async def test_a_thousand_waits_are_one_stream() -> None:
    """`wait` of one task from 1,000 coroutines makes one stream of polls."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(20))
        tasks = await asyncio.gather(*(session.wait(task_id, backoff=omgmj.Fixed(2)) for _ in range(1000)))
        assert len(tasks) == 1000
        assert fake.requests == 11


async def test_the_earliest_policy_counts() -> None:
    """Waiters of one ID with different policies share polls; the earliest due counts, and leaves with its waiter."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(100))
        slow = asyncio.ensure_future(session.wait(task_id, backoff=omgmj.Fixed(20)))
        await asyncio.sleep(5)
        with pytest.raises(omgmj.WaitTimeout):
            await session.wait(task_id, backoff=omgmj.Fixed(3), timeout=10)
        assert fake.times == pytest.approx([0, 5, 8, 11, 14], abs=0.1)
        assert (await slow).succeeded
        assert len(fake.times) < 12


@pytest.mark.parametrize("answer", [float("nan"), -1.0, float("inf"), "soon", True])
async def test_a_policy_that_makes_no_sense_ends_its_own_wait(answer: object) -> None:
    """A policy that returns what is no delay gives a clear error to its wait; others of the same ID go on."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(20))
        other = asyncio.ensure_future(session.wait(task_id))
        with pytest.raises(omgmj.UsageError, match="backoff policy") as caught:
            await session.wait(task_id, backoff=lambda facts, roll: answer)  # type: ignore[arg-type]
        assert caught.value.task_id == task_id
        assert (await other).succeeded


async def test_a_policy_may_say_stop_or_raise() -> None:
    """None from a policy is `GaveUp`; what it raises is the cause of its wait's error."""

    def stops(facts: Facts, roll: float) -> float | None:
        return None if facts.attempt == 3 else roll + 1

    def raises(facts: Facts, roll: float) -> float:
        return facts.attempt / 0 + roll

    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(50))
        with pytest.raises(omgmj.GaveUp) as gave_up:
            await session.wait(task_id, backoff=stops)
        assert gave_up.value.queries == 3
        with pytest.raises(omgmj.UsageError, match="ZeroDivisionError") as caught:
            await session.wait(task_id, backoff=raises)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


# Leaving.


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    """Cancellation passes through untouched; no new poll starts, and no task of ours is left."""
    async with FakeService(latency=1.0) as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(500))
        waiting = asyncio.ensure_future(session.wait(task_id))
        await asyncio.sleep(3.5)
        waiting.cancel("mine")
        with pytest.raises(asyncio.CancelledError, match="mine"):
            await waiting
        asked = fake.requests
        await asyncio.sleep(100)
        assert fake.requests == asked
        assert [task for task in asyncio.all_tasks() if "omgmj" in task.get_name()] == []


@pytest.mark.parametrize("bound", ["asyncio", "anyio"])
async def test_foreign_timeouts_end_a_wait(bound: str) -> None:
    """`asyncio.timeout` and anyio's `move_on_after` round a wait end it on time, and only it."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(50))
        if bound == "asyncio":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5):
                    await session.wait(task_id)
        else:
            with anyio.move_on_after(5) as scope:
                await session.wait(task_id)
            assert scope.cancelled_caught
        assert now() == pytest.approx(5)
        assert (await session.wait(task_id)).succeeded


async def test_a_poll_that_is_out_outlives_subscription() -> None:
    """A new watch joins the poll that the last waiter left out, and starts no second one beside it."""
    async with FakeService(latency=4.0) as fake, fake.session(sweeps=False) as session:
        task_id = fake.add_task(Life.succeed(1))
        with pytest.raises(omgmj.WaitTimeout):
            await session.wait(task_id, timeout=1)
        assert (await session.wait(task_id)).succeeded
        assert (fake.requests, fake.in_flight_peak) == (1, 1)


# Follow.


async def test_follow_yields_changes_only_and_the_end() -> None:
    """Each change comes once, none goes back, the final record is the last."""
    life = Life.steps(
        [
            (0, "NOT_START", None),
            (10, "IN_PROGRESS", "0%"),
            (20, "IN_PROGRESS", "31%"),
            (40, "IN_PROGRESS", "78%"),
            (50, "SUCCESS", "100%"),
        ]
    )
    async with FakeService() as fake, fake.session(backoff=omgmj.Fixed(1)) as session:
        fake.inject("backwards", times=3)
        seen = [(task.status, task.progress) async for task in session.follow(fake.add_task(life))]
        assert seen == [
            ("NOT_START", None),
            ("IN_PROGRESS", 0),
            ("IN_PROGRESS", 31),
            ("IN_PROGRESS", 78),
            ("SUCCESS", 100),
        ]
        assert fake.injected["backwards"] == 3


async def test_a_slow_reader_gets_the_latest_and_the_end() -> None:
    """Who reads seldom misses states in between, never the final record."""
    async with FakeService() as fake, fake.session(backoff=omgmj.Fixed(1)) as session:
        seen = []
        async for task in session.follow(fake.add_task(Life.succeed(60))):
            seen.append(task.status)
            await asyncio.sleep(25)
        assert len(seen) <= 4
        assert seen[-1] == "SUCCESS"


async def test_a_late_follower_gets_the_last_record_at_once() -> None:
    """Who comes late to an ID sees its last record without a request."""
    async with FakeService() as fake, fake.session(backoff=omgmj.Fixed(30)) as session:
        task_id = fake.add_task(Life.succeed(50))
        waiting = asyncio.ensure_future(session.wait(task_id))
        await asyncio.sleep(10)
        async with session.follow(task_id) as changes:
            assert (await anext(changes)).status == "NOT_START"
            assert (now(), fake.requests) == (10, 1)
        assert (await waiting).succeeded


async def test_follow_raises_what_a_wait_raises() -> None:
    """A follow that comes to no end raises after what it has seen."""
    async with FakeService() as fake, fake.session() as session:
        seen = []
        with pytest.raises(omgmj.WaitTimeout):
            async for task in session.follow(fake.add_task(Life.succeed(500)), timeout=30):
                seen.append(task.status)
        assert seen[0] == "NOT_START"


async def test_leaving_a_follow_early() -> None:
    """`break` ends a follow at once; so does `aclose`, for whoever reads as well."""
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.succeed(500))
        async for _ in session.follow(task_id):
            break
        assert session.stats().watched == 0
        changes = session.follow(task_id)
        assert (await anext(changes)).status == "NOT_START"
        reading = asyncio.ensure_future(anext(changes, None))
        await settled()
        await changes.aclose()
        assert await reading is None
        assert session.stats().watched == 0


async def test_who_comes_back_during_a_poll_sees_the_record() -> None:
    """The same answer to the letter is news to who came after those had left who knew it."""
    async with FakeService(latency=4.0) as fake, fake.session(backoff=omgmj.Fixed(10)) as session:
        task_id = fake.add_task(Life.steps([(0, "IN_PROGRESS", "15%"), (500, "SUCCESS", "100%")]))
        async for task in session.follow(task_id):
            assert task.progress == 15
            break
        waiting = asyncio.ensure_future(session.wait(task_id))
        await asyncio.sleep(5)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async for task in session.follow(task_id):
            assert task.progress == 15
            break


# Notify.


async def test_notify_makes_exactly_one_more_poll() -> None:
    """A push is one more poll, a burst of pushes two at most, and IDs that nobody watches are ignored."""
    async with FakeService() as fake, fake.session(backoff=omgmj.Fixed(500)) as session:
        task_id = fake.add_task(Life.succeed(100))
        waiting = asyncio.ensure_future(session.wait(task_id))
        await asyncio.sleep(50)
        session.notify({"taskId": task_id, "status": "SUCCESS"})
        await asyncio.sleep(10)
        assert fake.requests == 2
        for _ in range(50):
            session.notify(f'{{"taskId": {task_id}}}'.encode())
        session.notify({"taskId": 5})
        await asyncio.sleep(10)
        assert fake.requests == 4
        assert not waiting.done()
        await asyncio.sleep(40)
        session.notify({"taskId": task_id})
        assert (await waiting).succeeded
        assert now() == pytest.approx(110, abs=0.1)


async def test_a_push_during_a_poll_makes_one_more_after_it() -> None:
    """The poll that is out may be older than the push, so another follows it; never two at once."""
    async with FakeService(latency=4) as fake, fake.session(backoff=omgmj.Fixed(500)) as session:
        task_id = fake.add_task(Life.succeed(3))
        waiting = asyncio.ensure_future(session.wait(task_id))
        await asyncio.sleep(3.5)
        session.notify({"taskId": task_id})
        session.notify({"taskId": task_id})
        assert (await waiting).succeeded
        assert (fake.requests, fake.in_flight_peak) == (2, 1)


@pytest.mark.parametrize(
    "payload", [{}, [], b"", b"[1]", "{", {"taskId": "x"}, {"taskId": True}, {"taskId": -1}, 5, b"\xff"]
)
async def test_a_webhook_body_that_is_rubbish(payload: object) -> None:
    """What names no task is a `UsageError`, whatever it is."""
    async with FakeService() as fake, fake.session() as session:
        with pytest.raises(omgmj.UsageError):
            session.notify(payload)  # type: ignore[arg-type]


# Outage.


async def test_an_outage_in_the_middle_of_2000_waits(caplog: pytest.LogCaptureFixture) -> None:
    """Ten minutes without an answer: one line in the log, nobody given up, under 100 requests, all resume."""
    caplog.set_level(logging.INFO, "omgmj")
    async with FakeService(tasks=2000, lives="mix", seed=3) as fake, fake.session(rate=200.0) as session:
        watching = asyncio.ensure_future(drained(session.watch(fake.task_ids)))
        await asyncio.sleep(40)
        before = fake.requests
        fake.outage(fake.now + 600)
        await asyncio.sleep(599)
        assert fake.requests - before < 100
        assert session.stats().watched > 1000
        done = await watching
        assert sorted(done) == fake.task_ids
        assert len(caplog.records) == 1


async def test_an_outage_of_silence_is_found_out_too(caplog: pytest.LogCaptureFixture) -> None:
    """A service that takes connections and never answers is an outage as well."""
    async with FakeService(tasks=500, lives="mix") as fake, fake.session() as session:
        watching = asyncio.ensure_future(drained(session.watch(fake.task_ids)))
        await asyncio.sleep(40)
        before = fake.requests
        fake.inject("silence", times=None)
        await asyncio.sleep(600)
        # Those that were out are asked once more, early; then it is one probe at a time.
        assert fake.requests - before < 150
        fake.heal()
        assert sorted(await watching) == fake.task_ids
        assert len(caplog.records) == 1


async def drained(watch: omgmj.Watch) -> list[int]:
    return [task.id async for task in watch]


async def test_one_id_alone_is_given_up_after_ten_minutes() -> None:
    """An ID is given up only when it fails on and on, at least 8 times and 10 minutes, while others succeed."""
    async with FakeService() as fake, fake.session() as session:
        bad, good = fake.add_task(Life.succeed(5)), fake.add_task(Life.succeed(2000))
        fake.inject("server_error", times=None, task_id=bad)
        other = asyncio.ensure_future(session.wait(good))
        with pytest.raises(omgmj.ServiceError) as caught:
            await session.wait(bad)
        assert caught.value.task_id == bad
        assert 600 <= now() <= 640
        assert fake.asked[bad] >= 8
        assert (await other).succeeded


# Budget.


async def test_one_budget_for_everything() -> None:
    """All that a session does stays in any window under rate times its length and a burst, whatever waits."""
    async with FakeService(tasks=300) as fake, fake.session(rate=50.0, backoff=omgmj.Fixed(1)) as session:
        queries = [asyncio.ensure_future(session.query(task_id)) for task_id in fake.task_ids]
        await drained(session.watch(fake.task_ids))
        await asyncio.gather(*queries)
        times = sorted(fake.times)
        for window in (0.1, 1.0, 10.0):
            for place, start in enumerate(times):
                assert bisect_left(times, start + window) - place <= 50 * window + 1 + 1


async def test_too_many_ids_for_the_rate_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """When the pace is too low, one warning says so, and `stats` shows how many are overdue."""
    async with FakeService(tasks=2000, lives="mix") as fake, fake.session(rate=10.0) as session:
        fake.inject("list_forbidden", times=None)
        watching = asyncio.ensure_future(drained(session.watch(fake.task_ids)))
        await asyncio.sleep(150)
        stats = session.stats()
        assert stats.watched > 1000
        assert stats.overdue > 500
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 1
        assert re.fullmatch(r"polls are \d+ s late: \d+ watched tasks are too many for 10 requests a second", said[0])
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_queries_cancelled_while_they_are_held_leave_nothing() -> None:
    """Thousands of queries that are cancelled during a Retry-After leave nothing in the limiter's queue."""
    async with FakeService(tasks=1) as fake, fake.session() as session:
        fake.inject(Fault("rate_limited_seconds", seconds=50))
        queries = [asyncio.ensure_future(session.query(fake.task_ids[0])) for _ in range(5000)]
        await asyncio.sleep(1)
        limiter = session._open().limiter
        assert len(limiter._queue) >= 4990
        for query in queries:
            query.cancel()
        await asyncio.gather(*queries, return_exceptions=True)
        assert (len(limiter._queue), limiter.in_flight) == (0, 0)
        assert (await session.query(fake.task_ids[0])).id == fake.task_ids[0]
        assert now() == pytest.approx(50, abs=0.5)


# What a poll costs.


async def test_a_poll_does_no_more_than_a_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is decoded once, and not at all where it is the last one to the letter."""
    decoded = []
    read = models.read_task
    monkeypatch.setattr(responses, "read_task", lambda *args, **kw: decoded.append(1) or read(*args, **kw))  # type: ignore[func-returns-value]
    async with FakeService() as fake, fake.session() as session:
        task_id = fake.add_task(Life.steps([(0, "IN_PROGRESS", "15%"), (100, "SUCCESS", "100%")]))
        await session.wait(task_id, backoff=omgmj.Fixed(2))
        assert (fake.requests, len(decoded)) == (51, 2)


async def test_no_task_and_no_timer_an_id() -> None:
    """Thousands of watched IDs are a handful of asyncio tasks and timers, hundreds of waits with timeouts too."""
    loop = asyncio.get_running_loop()
    async with FakeService(latency=0.5) as fake, fake.session(rate=1000.0) as session:
        watch = session.watch([fake.add_task(Life.succeed(1000)) for _ in range(3000)], timeout=3000)
        waited = [fake.add_task(Life.succeed(1000)) for _ in range(500)]
        waits = [asyncio.ensure_future(session.wait(task_id, timeout=3000)) for task_id in waited]
        await asyncio.sleep(10)
        assert session.stats().watched == 3500
        assert len([task for task in asyncio.all_tasks() if "omgmj" in task.get_name()]) <= 64 + 1
        assert len([timer for timer in loop._scheduled if not timer.cancelled()]) <= 64 + 5  # type: ignore[attr-defined]
        await watch.aclose()
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def test_there_is_no_sync_facade() -> None:
    """Nothing but the command line starts an event loop, so nothing fails inside one that runs."""
    for file in Path(omgmj.__file__).parent.rglob("*.py"):
        starts = re.findall(
            r"asyncio\.(?:run|Runner)\(|run_until_complete|anyio\.run\(|new_event_loop", file.read_text()
        )
        assert not starts or file.name == "runner.py", file
    for name in ("query", "wait", "aclose"):
        assert inspect.iscoroutinefunction(getattr(omgmj.Session, name))


# Life.


async def test_polls_run_in_an_empty_context() -> None:
    """Polls do not run in the contextvars of whoever was first to wait, nor of who came since."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    seen = set()

    def policy(facts: Facts, roll: float) -> float:
        seen.add(variable.get())
        return 2.0

    async with FakeService(tasks=3, latency=3.0) as fake, fake.session(backoff=policy) as session:
        waiting = []
        for task_id in fake.task_ids:
            variable.set(f"the request for {task_id}")
            waiting.append(asyncio.ensure_future(session.wait(task_id)))
            await asyncio.sleep(1)
        await asyncio.gather(*waiting)
        assert seen == {"none"}


async def test_use_after_close() -> None:
    """A closed session refuses every call; closing twice is fine."""
    async with FakeService(tasks=1) as fake:
        session = fake.session()
        await session.aclose()
        await session.aclose()
        calls: list[Callable[[], object]] = [
            lambda: session.watch([1]),
            lambda: session.follow(1),
            lambda: session.notify({"taskId": 1}),
        ]
        for call in calls:
            with pytest.raises(omgmj.SessionClosed, match="closed"):
                call()
        for waits in (session.query(1), session.wait(1)):
            with pytest.raises(omgmj.UsageError):
                await waits


async def test_closing_from_another_task_reaches_everyone() -> None:
    """`aclose` from another task cancels what is out at once and gives every waiter `SessionClosed`."""
    async with FakeService(tasks=4) as fake:
        session = fake.session(rate=0.5)
        fake.inject("silence", times=None)
        watch = session.watch(fake.task_ids[:2])
        out = [
            asyncio.ensure_future(call)
            for call in (
                session.query(fake.task_ids[0]),
                session.query(fake.task_ids[1]),
                session.wait(fake.task_ids[2]),
                anext(session.follow(fake.task_ids[3])),
                anext(watch),
            )
        ]
        await asyncio.sleep(1)
        before = now()
        await asyncio.ensure_future(session.aclose())
        assert [type(error) for error in await asyncio.gather(*out, return_exceptions=True)] == [
            omgmj.SessionClosed
        ] * 5
        assert now() == before


async def test_open_and_close_in_different_tasks() -> None:
    """A bot may open a session in one task and close it in another: no cancel scope of ours spans user code."""
    async with FakeService(tasks=3) as fake:
        session = await asyncio.ensure_future(fake.session().__aenter__())
        assert (await asyncio.ensure_future(session.wait(fake.task_ids[0]))).succeeded
        await asyncio.ensure_future(session.aclose())


async def test_a_crash_of_the_driver_reaches_every_waiter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of our own is no silence: every waiter gets it as the cause, and new waits are refused with it."""
    async with FakeService(tasks=2) as fake, fake.session() as session:
        waiting = [asyncio.ensure_future(session.wait(task_id)) for task_id in fake.task_ids]
        await asyncio.sleep(1)
        monkeypatch.setattr("omgmj.scheduler.planner.Planner.saw", lambda *_, **__: 1 / 0)
        monkeypatch.setattr("omgmj.scheduler.planner.Planner.unchanged", lambda *_, **__: 1 / 0)
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, omgmj.SessionClosed)
            assert "ZeroDivisionError" in repr(error.__cause__)
        with pytest.raises(omgmj.SessionClosed, match="crashed"):
            await session.wait(fake.task_ids[0])


async def test_a_refusal_from_before_an_account_error_ends_nobody_who_came_after_it() -> None:
    """Who hears that the token is not taken, mends it and waits again is not ended by polls that were out by then."""
    async with FakeService(tasks=20, token="token-of-old", latency=1.0) as fake:
        tokens = ["token-of-old"]
        errors: list[omgmj.AuthError] = []

        async def persist(task_id: int) -> omgmj.Task:
            while True:
                try:
                    return await session.wait(task_id)
                except omgmj.AuthError as error:
                    errors.append(error)
                    tokens[0] = "token-of-new"

        async with fake.session(lambda: tokens[0], rate=1000.0) as session:
            fake.inject("list_forbidden", times=None)
            waiting = [asyncio.ensure_future(persist(task_id)) for task_id in fake.task_ids]
            await asyncio.sleep(5)
            fake.tokens.clear()
            fake.tokens.add("token-of-new")
            assert all(task.is_terminal for task in await asyncio.gather(*waiting))
        assert len(errors) == 20


async def test_a_driver_that_somebody_cancelled_leaves_nobody_waiting() -> None:
    """Who cancels all tasks of the loop cancels ours too: every waiter is told, and who comes later does not hang."""
    async with FakeService(tasks=2) as fake, fake.session() as session:
        fake.inject("silence", times=None)
        waiting = [asyncio.ensure_future(session.wait(task_id)) for task_id in fake.task_ids]
        await asyncio.sleep(1)
        for task in asyncio.all_tasks():
            if task.get_name() == "omgmj poller":
                task.cancel()
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, omgmj.SessionClosed)
        fake.heal()
        with pytest.raises(omgmj.SessionClosed, match="was cancelled"):
            await session.wait(fake.task_ids[0])
        assert (await session.query(fake.task_ids[0])).id == fake.task_ids[0]


def test_a_second_loop_is_refused() -> None:
    """A session belongs to the loop of its first use; before that it touches none."""
    with pytest.raises(omgmj.UsageError, match="event loop"):
        omgmj.Session("t").watch([1])
    session = omgmj.Session("t", base_url="http://127.0.0.1:9")

    async def use() -> None:
        with pytest.raises(omgmj.WaitTimeout):
            await session.wait(1, timeout=0.001)

    async def use_again() -> None:
        with pytest.raises(omgmj.UsageError, match="belongs to the event loop"):
            await session.query(1)

    async def both() -> None:
        await use()
        await session.aclose()

    asyncio.run(both())
    session._closed = False
    asyncio.run(use_again())


def test_closing_from_a_wrong_loop_is_refused() -> None:
    """`aclose` in another loop, or in none, is refused and closes nothing: the session works on in its own."""
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        fake = FakeService(tasks=1)
        runner.run(fake.__aenter__())
        session = fake.session()
        assert runner.run(session.wait(fake.task_ids[0])).succeeded
        with pytest.raises(omgmj.UsageError, match="belongs to the event loop"):
            asyncio.run(session.aclose())
        assert "closed" not in repr(session)
        assert runner.run(session.query(fake.task_ids[0])).succeeded
        runner.run(session.aclose())
        assert "closed" in repr(session)
        with pytest.raises(omgmj.SessionClosed):
            runner.run(session.query(fake.task_ids[0]))
        runner.run(fake.__aexit__())


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Token and base URL come from the environment where none is given."""
    monkeypatch.setenv("OMGMJ_TOKEN", "sk-from-the-environment")
    monkeypatch.setenv("OMGMJ_BASE_URL", "https://mirror.example/")
    assert repr(omgmj.Session()) == "<omgmj.Session https://mirror.example>"
    monkeypatch.delenv("OMGMJ_BASE_URL")
    assert BASE_URL in repr(omgmj.Session())
    monkeypatch.delenv("OMGMJ_TOKEN")
    with pytest.raises(omgmj.UsageError, match="OMGMJ_TOKEN"):
        omgmj.Session()


@pytest.mark.parametrize("token", ["", " ", "sk-a\nb", "sk-ä", "sk-a\r\nX: y", "sk a", 5, b"sk"])
def test_a_token_that_cannot_be_sent(token: object) -> None:
    """A missing, empty or unsendable token is a `UsageError` that says where to put it, and does not show it."""
    with pytest.raises(omgmj.UsageError, match="OMGMJ_TOKEN") as caught:
        omgmj.Session(token)  # type: ignore[arg-type]
    assert "sk" not in str(caught.value).replace("Session(token)", "")


BAD_NUMBERS = [float("nan"), float("inf"), -1, "5", True]


@pytest.mark.parametrize("value", [*BAD_NUMBERS, 0])
@pytest.mark.parametrize("name", ["request_timeout", "rate", "max_in_flight"])
def test_bad_session_numbers(name: str, value: object) -> None:
    """NaN, infinite, negative and zero settings are refused by name."""
    with pytest.raises(omgmj.UsageError, match=name):
        omgmj.Session("t", **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", BAD_NUMBERS)
@pytest.mark.parametrize("name", ["timeout", "stall"])
async def test_bad_wait_numbers(name: str, value: object) -> None:
    """NaN, infinite and negative bounds are refused by name, before anything is sent."""
    async with FakeService(tasks=1) as fake, fake.session() as session:
        bounds: dict[str, Any] = {name: value}
        with pytest.raises(omgmj.UsageError, match=name):
            await session.wait(fake.task_ids[0], **bounds)
        with pytest.raises(omgmj.UsageError, match=name):
            session.watch(fake.task_ids, **bounds)
        with pytest.raises(omgmj.UsageError, match=name):
            session.follow(fake.task_ids[0], **bounds)
        assert fake.requests == 0


@pytest.mark.parametrize("task_id", [True, 0, -1, 1.0, "", " 5", "5x", "٣", 2**63, None, b"5", "9" * 5000])
async def test_bad_task_ids(task_id: object) -> None:
    """What is no task ID is a `UsageError` at every door, before anything is sent."""
    async with FakeService() as fake, fake.session() as session:
        with pytest.raises(omgmj.UsageError, match="task ID"):
            await session.query(task_id)  # type: ignore[arg-type]
        with pytest.raises(omgmj.UsageError, match="task ID"):
            await session.wait(task_id)  # type: ignore[arg-type]
        with pytest.raises(omgmj.UsageError, match="task ID"):
            session.watch([5, task_id])  # type: ignore[list-item]
        with pytest.raises(omgmj.UsageError, match="task ID"):
            session.follow(task_id)  # type: ignore[arg-type]
        assert fake.requests == 0


def test_bad_policies_and_transports() -> None:
    """A class instead of a policy, a number instead of a retry, http and transport together: refused."""
    with pytest.raises(omgmj.UsageError, match="policy"):
        omgmj.Session("t", backoff=omgmj.Adaptive)  # type: ignore[arg-type]
    with pytest.raises(omgmj.UsageError, match="policy"):
        omgmj.Session("t", backoff=3)  # type: ignore[arg-type]
    with pytest.raises(omgmj.UsageError, match="Retry"):
        omgmj.Session("t", retry=3)  # type: ignore[arg-type]
    with pytest.raises(omgmj.UsageError, match="exclude"):
        omgmj.Session("t", http=lambda: None, transport=object())  # type: ignore[arg-type]
    for transport in (object(), "http://proxy.test", FakeService()):
        with pytest.raises(omgmj.UsageError, match=f"transport must have send, .*; {type(transport).__name__} has not"):
            omgmj.Session("t", transport=transport)  # type: ignore[arg-type]


def test_import_is_light() -> None:
    """`import omgmj` loads neither aiohttp nor what the command line needs; `Session` alone does not either."""
    code = (
        "import sys, omgmj; omgmj.errors.UsageError;"
        "heavy = {'aiohttp', 'rich', 'cyclopts', 'sqlite3', 'omgmj.testing', 'omgmj.cli', 'omgmj.webhook'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); omgmj.Session('t');"
        "assert 'rich' not in sys.modules and dir(omgmj) and omgmj.Task"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONWARNINGS": "error"})


def test_everything_public_is_exported() -> None:
    """All of our errors, and every name of `__all__`, can be had from `omgmj`."""
    names = {
        name for name, value in vars(omgmj.errors).items() if isinstance(value, type) and issubclass(value, Exception)
    }
    assert names - {"OmgmjError"} <= set(omgmj.__all__)
    for name in omgmj.__all__:
        public = getattr(omgmj, name)
        assert not inspect.isclass(public) or public.__module__.startswith("omgmj.")
    with pytest.raises(AttributeError, match="nonsense"):
        omgmj.nonsense  # type: ignore[attr-defined]  # noqa: B018 (the access is the test)


async def test_the_token_is_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """The token appears in no repr, log line, error, cause or context."""
    caplog.set_level(logging.DEBUG)
    secret = "sk-very-secret-0123456789"
    async with FakeService(tasks=1, token="other") as fake:
        session = fake.session(secret)
        shown = [repr(session), repr(vars(session)), repr(vars(session._open()))]
        with pytest.raises(omgmj.AuthError) as caught:
            await session.wait(fake.task_ids[0])
        await session.aclose()
    error: BaseException | None = caught.value
    while error is not None:
        shown += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    assert not any(secret in text for text in [*shown, caplog.text])
