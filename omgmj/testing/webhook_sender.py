"""The make-believe service's calls to webhooks, sent over real HTTP when they are due, in virtual or in real time.

What is to be sent, and when, is handed in by `fake_service`; a call that fails is not repeated.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import aiohttp

from omgmj.testing.service.webhooks import WebhookCall

TIMEOUT = 10.0
"""Seconds that a receiver may take."""


class WebhookSender:
    """A sender. `take` gives the calls that are due by a time of the service's, `next_at` says when the next one is."""

    def __init__(self, take: Callable[[float], list[WebhookCall]], next_at: Callable[[], float | None]) -> None:
        self.sent: Counter[str] = Counter()
        """How many calls were `delivered`, and how many `failed`."""
        self._take = take
        self._next_at = next_at
        self._started: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waits_for: float | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession | None = None

    def start(self) -> None:
        """Begin to send: the service's time is 0 now."""
        self._started = asyncio.get_running_loop().time()
        self.wake()

    def wake(self) -> None:
        """Look when the next call is due, and wait for that; does nothing before the start and after the end."""
        at = self._next_at()
        if self._started is None or at == self._waits_for:
            return
        if self._timer:
            self._timer.cancel()
        self._waits_for = at
        if at is not None:
            self._timer = asyncio.get_running_loop().call_at(self._started + at, self._send_due, at)

    async def stop(self) -> None:
        """Send nothing more; calls under way are cut off."""
        self._started = None
        if self._timer:
            self._timer.cancel()
        for task in self._calls:
            task.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        if self._http:
            await self._http.close()

    def _send_due(self, now: float) -> None:
        for call in self._take(now):
            task = asyncio.create_task(self._send(call))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        self.wake()

    async def _send(self, call: WebhookCall) -> None:
        await asyncio.sleep(call.delay)
        self._http = self._http or aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        headers = {"Content-Type": "application/json"}
        try:
            # A redirect might lead away from this machine.
            async with self._http.post(call.url, data=call.body, headers=headers, allow_redirects=False) as response:
                taken = 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            taken = False
        self.sent["delivered" if taken else "failed"] += 1
