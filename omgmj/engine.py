"""The parts of a session that live in its event loop, put together, and what takes several of them at once.

That is: pages that also feed the waits, submissions whose tasks the waits know, and the clocks for the search of lost
ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

import anyio

from omgmj.backoff.policies import Retry
from omgmj.backoff.rate import Rate
from omgmj.base_url import BaseUrl
from omgmj.client.credentials import Credentials
from omgmj.client.exchange import Exchange
from omgmj.client.limiter import Limiter
from omgmj.client.proxies import Proxies
from omgmj.client.threads import in_thread
from omgmj.client.transport import Transport
from omgmj.errors import SessionClosed
from omgmj.images.uploads import Given, data_uris
from omgmj.listing.reconcile import reconcile
from omgmj.models import Reconciled, Submission, TaskPage
from omgmj.polling.poller import Poller
from omgmj.protocol import messages, pages
from omgmj.protocol.messages import Answer
from omgmj.protocol.submissions import Draft
from omgmj.validation import check_since

if TYPE_CHECKING:
    from omgmj.client.aiohttp_adapter import Http

LADEN = 8
"""Submissions with images that are encoded or on their way at once."""


class Engine:
    """A session's transport, limiter, exchange and poller."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: Transport,
        limiter: Limiter,
        exchange: Exchange,
        poller: Poller,
    ) -> None:
        self.loop = loop
        self.transport = transport
        self.limiter = limiter
        self.exchange = exchange
        self.poller = poller
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
    ) -> Self:
        """Put together what a session was told; the arguments are its own, checked."""
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
        return cls(
            loop, transport, limiter, exchange, Poller(exchange, limiter, retry, loop, outage=outage, sweeps=sweeps)
        )

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

    async def submit(self, write: Callable[[list[str]], Draft], images: Sequence[Given]) -> int:
        """Create a task and return its ID; `write` drafts it with the images' data URIs, which is done in a thread."""
        await self.begin()
        if not images:
            return await self._send(write([]))
        # Each holds many megabytes from here on.
        async with self._laden:
            with self.exchange.open():
                draft = await in_thread(lambda: write(data_uris(images)))
            return await self._send(draft)

    async def _send(self, draft: Draft) -> int:
        task_id = await self.exchange.submit(draft)
        self.poller.planner.verdicts.on_good_call()
        self.poller.planner.first_polls.created(task_id, self.loop.time())
        return task_id

    async def reconcile(self, submission: Submission, since: datetime | None) -> Reconciled:
        """Return the tasks made after `since`, by this machine's clock, that may have come of a submission.

        None: after it was sent, by the service's clock where that was known. Not among them are those whose IDs this
        session got as the answers to other submissions.
        """
        clock = self.exchange.clock

        def ahead() -> timedelta:
            served = clock.served()
            return timedelta() if served is None else served - clock.now()

        if since is None and submission.served_at is not None:
            since, ahead = submission.served_at, timedelta
        is_known = self.poller.planner.first_polls.is_created
        since = check_since(submission.sent_at if since is None else since)
        return await reconcile(self.page, submission, since, ahead=ahead, is_known=is_known)

    async def aclose(self) -> None:
        """End all that is under way, and let go of the connections."""
        if self.poller.planner.progress.asking:
            await asyncio.sleep(0)  # As in `begin`; but a session that is closed by who was cancelled is closed.
        closed = SessionClosed("the session was closed")
        self.limiter.close()
        self.exchange.close(closed)
        try:
            await self.poller.aclose(closed)
        finally:
            await self.transport.aclose()
