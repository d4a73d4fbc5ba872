"""Credentials: the token, held masked, and its callable, asked again after a 401."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections import deque
from collections.abc import Awaitable, Callable

import anyio

from omgmj.client.secrets import Secret
from omgmj.errors import AuthError

Token = str | Callable[[], str] | Callable[[], Awaitable[str]]

GRACE = 5.0
"""Seconds for which a token callable is asked again, while it still returns the refused token."""
GRACE_STEP = 0.5
MAX_RENEWALS = 2
"""New tokens that may be refused in a row before the account is taken to be at fault."""
SPREE, SPREE_SECONDS = 10, 60.0
"""New tokens within so many seconds, after which the account is taken to be at fault too, even if some were good."""
UNAUTHORIZED = 401


class Credentials:
    """The token, held masked; a callable is asked at the first use, and again after a 401.

    `known` is the token to send, None where it is still to be asked for. `renewals` counts the new ones that no success
    has proved yet.
    """

    def __init__(self, token: Token) -> None:
        self._ask = token if callable(token) else None
        self.known: Secret | None = None if callable(token) else Secret(token)
        self._lock = anyio.Lock()
        self.renewals: int = 0
        self._renewed_at: deque[float] = deque(maxlen=SPREE)
        self._refused_at = -math.inf

    async def current(self) -> Secret:
        """Return the token to send; `AuthError` if the callable fails, `UsageError` if it returns rubbish."""
        if self.known is None:
            async with self._lock:
                if self.known is None:
                    self.known = await self._fetch()
        return self.known

    def on_accepted(self) -> None:
        """Record that the service took the token."""
        self.renewals = 0

    async def renew(self, used: Secret, sent_at: float) -> bool:
        """After a 401 to a request sent at `sent_at`: whether there is another token now.

        The callable is asked once for all requests that are out, and for some seconds while it returns the old one or
        fails; `AuthError` where it fails to the end.
        """
        if self._ask is None:
            return False
        async with self._lock:
            if self.known != used:
                return True
            if sent_at <= self._refused_at:
                return False
            if self.renewals >= MAX_RENEWALS or self._is_spree():
                # Said once to all that are out; who comes later finds the callable asked again.
                self.renewals, self._refused_at = 0, asyncio.get_running_loop().time()
                self._renewed_at.clear()
                return False
            secret = await self._fetch_another(used)
            if secret is None:
                return False
            self.known = secret
            self.renewals += 1
            self._renewed_at.append(asyncio.get_running_loop().time())
            return True

    def _is_spree(self) -> bool:
        """Whether new tokens come so fast that the tokens themselves cannot be at fault."""
        if len(self._renewed_at) < SPREE:
            return False
        return asyncio.get_running_loop().time() - self._renewed_at[0] < SPREE_SECONDS

    async def _fetch_another(self, used: Secret) -> Secret | None:
        """Ask for a token other than `used` while the grace lasts; None where there is none by then."""
        now = asyncio.get_running_loop().time
        until = now() + GRACE
        while True:
            failure: AuthError | None = None
            try:
                secret = await self._fetch()
                if secret != used:
                    return secret
            except AuthError as error:
                failure = error
            if now() >= until:
                self._refused_at = now()
                if failure is not None:
                    raise failure
                return None
            await asyncio.sleep(GRACE_STEP)

    async def _fetch(self) -> Secret:
        if self._ask is None:
            raise AssertionError  # Only a callable is ever without a token.
        try:
            token = self._ask()
            if inspect.isawaitable(token):
                token = await token
        except Exception as error:
            raise AuthError(f"the token callable failed: {type(error).__name__}", status=UNAUTHORIZED) from error
        return Secret(token)
