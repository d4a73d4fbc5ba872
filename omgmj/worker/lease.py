"""The lease of an account: who holds it leads, and nobody sends without it.

It is renewed at Redis. How long it holds is reckoned here, by this machine's clock that never stands still, from before
each renewal was sent: a process that was stopped for a while sees that it holds no more before it sends again.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager

from omgmj.client.secrets import Secret
from omgmj.client.transport import Stream, Transport
from omgmj.protocol.messages import Answer, Passage, Request
from omgmj.worker.storage import LeaseLost, Storage

MARGIN = 0.1
"""Part of the lease that is given away for clocks that go differently."""
RENEWALS = 5
"""Renewals in the time of a lease."""


class Lease:
    """An account's lease for `seconds`, held by a worker of that name."""

    def __init__(self, store: Storage, holder: str, seconds: float) -> None:
        self.holder: str = holder
        self._store = store
        self._seconds = seconds
        self._until = float("-inf")
        self._renewed = asyncio.Event()

    @property
    def is_held(self) -> bool:
        """Whether it surely holds now."""
        return time.monotonic() < self._until

    async def take(self) -> None:
        """Wait until it is ours."""
        while True:
            began = time.monotonic()
            if await self._store.take(self.holder, self._seconds):
                self._hold(began)
                return
            await asyncio.sleep(self._seconds / RENEWALS / 2)

    async def keep(self) -> None:
        """Renew it again and again; `LeaseLost` where another holds it, `QueueError` where Redis is gone."""
        while True:
            await asyncio.sleep(self._seconds / RENEWALS)
            began = time.monotonic()
            if not await self._store.renew(self.holder, self._seconds):
                raise LeaseLost("its lease has gone: another worker leads now, or Redis lost what it held")
            self._hold(began)

    async def release(self) -> None:
        """Let go of it."""
        self._until = float("-inf")
        await self._store.release(self.holder)

    async def held(self) -> None:
        """Wait until it surely holds."""
        while not self.is_held:
            await self._renewed.wait()

    def _hold(self, began: float) -> None:
        self._until = began + self._seconds * (1 - MARGIN)
        renewed, self._renewed = self._renewed, asyncio.Event()
        renewed.set()


class LeasedTransport:
    """A transport that sends nothing unless a lease holds."""

    def __init__(self, transport: Transport, lease: Lease) -> None:
        self._transport = transport
        self._lease = lease

    @property
    def limit(self) -> int | None:
        """Bound of the requests that are carried at once."""
        return self._transport.limit

    async def send(self, base_url: str, request: Request, token: Secret, passage: Passage | None = None) -> Answer:
        """Look at the lease, then send."""
        await self._lease.held()
        return await self._transport.send(base_url, request, token, passage)

    def stream(self, url: str) -> AbstractAsyncContextManager[Stream]:
        """Fetch a file, which takes nothing of the account's rate."""
        return self._transport.stream(url)

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._transport.aclose()
