"""The parts of a session that live in its event loop, put together, and what takes several of them at once.

That is: pages that also feed the waits, submissions whose tasks the waits know, and the clocks for the search of lost
ones.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio
import attrs

from omgmj.backoff.policies import Retry
from omgmj.backoff.rate import Rate
from omgmj.base_url import BaseUrl
from omgmj.client.credentials import Credentials
from omgmj.client.exchange import Exchange
from omgmj.client.limiter import Limiter
from omgmj.client.proxies import Proxies
from omgmj.client.transport import Transport
from omgmj.errors import SessionClosed, UsageError
from omgmj.images.uploads import Given, data_uris
from omgmj.journal.journal import Journal
from omgmj.journal.ledger import Ledger
from omgmj.learned import Keeper
from omgmj.listing.reconcile import reconcile, until_found
from omgmj.listing.tasks import Fetch
from omgmj.models import Reconciled, Submission, TaskPage, Unsettled
from omgmj.polling.hold import Hold
from omgmj.polling.poller import Poller
from omgmj.protocol import messages, pages
from omgmj.protocol.messages import Answer, Fate, Passage
from omgmj.protocol.submissions import Draft, kind_made
from omgmj.threads import in_thread
from omgmj.validation import check_since

if TYPE_CHECKING:
    from omgmj.client.aiohttp_adapter import Http

LADEN = 8
"""Submissions with images that are encoded or on their way at once."""


class Engine:
    """A session's transport, limiter, exchange, poller; the ledger of its journal and the keeper of what it learned.

    The last two are None where nothing is kept.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: Transport,
        limiter: Limiter,
        exchange: Exchange,
        poller: Poller,
        ledger: Ledger | None,
        keeper: Keeper | None,
    ) -> None:
        self.loop = loop
        self.transport = transport
        self.limiter = limiter
        self.exchange = exchange
        self.poller = poller
        self.ledger = ledger
        self.keeper = keeper
        self._laden = anyio.Semaphore(LADEN)

    @classmethod
    def build(
        cls,
        loop: asyncio.AbstractEventLoop,
        *,
        base_url: BaseUrl,
        credentials: Credentials,
        request_timeout: float,
        max_in_flight: int,
        rate: float,
        retry: Retry,
        outage: float | None,
        sweeps: bool,
        proxies: Proxies,
        http: Http | None,
        transport: Transport | None,
        journal: Journal | None,
        learned: Path | None,
    ) -> Self:
        """Put together what a session was told; the arguments are its own, checked."""
        # First, as it may be refused: nothing is open yet.
        ledger = None if journal is None else Ledger(journal, base_url.hosts, credentials, loop)
        if transport is None:
            # Not before it is needed: aiohttp takes longer to import than all the rest.
            from omgmj.client.aiohttp_adapter import HttpTransport  # noqa: PLC0415

            loopback = base_url.is_loopback
            transport = HttpTransport(http, max_in_flight=max_in_flight, loopback=loopback, proxies=proxies)
        limit = transport.limit
        limiter = Limiter(Rate(rate, loop.time()), max_in_flight if limit is None else min(limit, max_in_flight), loop)
        exchange = Exchange(
            transport, base_url, credentials, limiter, request_timeout=request_timeout, retry=retry, loop=loop
        )
        poller = Poller(exchange, limiter, retry, loop, outage=outage, sweeps=sweeps)
        keeper = None
        if learned is not None:
            keeper = Keeper(learned, base_url.hosts, credentials, poller.planner.learning, loop)
            poller.tell_ends(keeper.on_end)
        return cls(loop, transport, limiter, exchange, poller, ledger, keeper)

    async def begin(self) -> None:
        """Let happen first what is under way in this very step, before a call or a wait begins."""
        if self.must_yield():
            await asyncio.sleep(0)

    def must_yield(self) -> bool:
        """Whether something is under way in this very step, and is to happen first.

        A task may have been cancelled already, and hears of it where it awaits next: that is nobody's failure. And one
        that starts eagerly runs in the middle of whoever made it, which may be a policy that is being asked.
        """
        task = asyncio.current_task(self.loop)
        return self.poller.planner.progress.asking or (task is not None and task.cancelling() > 0)

    def hold(self) -> Hold | None:
        """Return what a new handle holds in the journal; None where there is no journal."""
        return None if self.ledger is None else Hold(self.ledger)

    def journal(self) -> Ledger:
        """Return the ledger of the journal; `UsageError` where there is none."""
        if self.ledger is None:
            raise UsageError("this session has no journal: give Session(journal=omgmj.SqliteJournal(path))")
        return self.ledger

    async def page(self, number: int, size: int) -> TaskPage:
        """Return a page of the list, and feed the waits with it."""

        def read(answer: Answer) -> tuple[TaskPage, Answer]:
            return pages.read_page(answer, number, size, self.poller.health.odd), answer

        await self.begin()
        asked_at = self.loop.time()
        page, answer = await self.exchange.call(messages.page_request(number, size), read)
        self.poller.planner.verdicts.on_page(self.loop.time())
        for task in page.tasks:
            self.poller.feed_listed(task, answer, asked_at)
        return page

    async def submit(self, write: Callable[[list[str]], Draft], images: Sequence[Given], context: object = None) -> int:
        """Create a task and return its ID; `write` drafts it with the images' data URIs, which is done in a thread.

        The journal keeps what is sent, with its `context`, until the task's final record was delivered.
        """
        if context is not None and self.ledger is None:
            raise UsageError("a context is kept in the journal, and this session has none: give Session(journal=…)")
        await self.begin()
        if not images:
            return await self._send(write([]), context)
        # Each holds many megabytes from here on.
        async with self._laden:
            with self.exchange.open():
                draft = await in_thread(lambda: write(data_uris(images)))
            return await self._send(draft, context)

    async def _send(self, draft: Draft, context: object) -> int:
        passage, ledger = Passage(), self.ledger
        if ledger is None:
            task_id = await self.exchange.submit(draft, passage)
        else:
            with self.exchange.open():
                sent_at, served_at = self.exchange.clock.now(), self.exchange.clock.served()
                sent = attrs.evolve(draft.submission, sent_at=sent_at, served_at=served_at)
                key = await ledger.intend(sent, context)
            try:
                task_id = await self.exchange.submit(draft, passage)
            except BaseException:
                if passage.fate is Fate.SENT:
                    ledger.uncertain(key)
                else:
                    ledger.refused(key)
                raise
            ledger.made(key, task_id)
        self.poller.planner.verdicts.on_good_call()
        sent = draft.submission
        self.poller.planner.first_polls.created(
            task_id, self.loop.time(), webhook=sent.webhook is not None, pool=sent.pool, kind=kind_made(sent)
        )
        return task_id

    async def reconcile(
        self, submission: Submission, since: datetime | None, wait: float, fetch: Fetch | None = None
    ) -> Reconciled:
        """Return the tasks made after `since`, by this machine's clock, that may have come of a submission.

        None: after it was sent, by the service's clock where that was known. Not among them are those whose IDs this
        session, or an earlier one with its journal, got as the answers to other submissions. It searches again for up
        to `wait` seconds until there is one. `fetch` reads pages in place of `page`.
        """
        clock = self.exchange.clock

        def ahead() -> timedelta:
            served = clock.served()
            return timedelta() if served is None else served - clock.now()

        if since is None and submission.served_at is not None:
            since, ahead = submission.served_at, timedelta
        created, ledger = self.poller.planner.first_polls.is_created, self.ledger

        def is_known(task_id: int) -> bool:
            return created(task_id) or (ledger is not None and ledger.is_made(task_id))

        since = check_since(submission.sent_at if since is None else since)
        search = partial(reconcile, fetch or self.page, submission, since, ahead=ahead, is_known=is_known)
        return await until_found(search, wait, self._pause)

    async def _pause(self, seconds: float) -> None:
        """Wait, or end with the session."""
        with self.exchange.open():
            await asyncio.sleep(seconds)

    async def unsettled(self) -> list[Unsettled]:
        """Return the submissions that may have made a task nobody knows of, with the tasks that may be theirs."""
        read: dict[tuple[int, int], TaskPage] = {}

        async def fetch(number: int, size: int) -> TaskPage:
            if (number, size) not in read:
                read[number, size] = await self.page(number, size)
            return read[number, size]

        return [
            attrs.evolve(one, found=await self.reconcile(one.submission, None, 0.0, fetch))
            for one in await self.journal().unsettled()
        ]

    async def aclose(self) -> None:
        """End all that is under way, and let go of the connections."""
        if self.poller.planner.progress.asking:
            await asyncio.sleep(0)  # As in `begin`; but a session that is closed by who was cancelled is closed.
        closed = SessionClosed("the session was closed")
        self.limiter.close()
        self.exchange.close(closed)
        async with contextlib.AsyncExitStack() as rest:
            for part in (self.keeper, self.ledger, self.transport):  # The last one first.
                if part is not None:
                    rest.push_async_callback(part.aclose)
            await self.poller.aclose(closed)
