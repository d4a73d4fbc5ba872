"""Credentials: the token, held masked, and its callable, asked again after a 401."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable

import anyio

from omgmj.client.secrets import Secret
from omgmj.errors import AuthError, OmgmjError, UsageError

Token = str | Callable[[], str] | Callable[[], Awaitable[str]]

GRACE = 5.0
"""Seconds for which a token callable is asked again, while what it gives is no token that the service takes."""
GRACE_STEP = 0.5
"""Seconds from one asking to the next, at least."""
LEAST = 3
"""Times that it is asked at least before it is given up, however long it takes."""
SETTLED = 1.0
"""Seconds for which a new token that was taken once is not asked for anew: another refusal is not its fault."""
PATIENCE = 60.0
"""Seconds that a call waits for a token at most."""
UNAUTHORIZED = 401


class Credentials:
    """The token, held masked; a callable is asked at the first use, and again after a 401.

    `known` is the token to send, None where it is still to be asked for. `in_doubt`: no success has proved it since it
    was asked for. From the first asking to a success, whatever a callable does is "not yet" while the grace lasts: that
    it raises, that it gives the old token, a torn one, or none.
    """

    def __init__(self, token: Token) -> None:
        try:
            self._ask = token if callable(token) else None
            self.known: Secret | None = None if callable(token) else Secret(token)
        finally:
            del token  # Who shows the variables of a traceback shows no token.
        self.in_doubt: bool = False
        self._lock = anyio.Lock()
        self._began = -math.inf  # when it was asked for first, since a success or a long silence
        self._times = 0  # how often since then
        self._asked_at = self._answered_at = self._renewed_at = -math.inf
        self._given_up_at = -math.inf
        self._failure: OmgmjError | None = None  # what the last asking came to, where it came to no token

    async def current(self) -> Secret:
        """Return the token to send; `AuthError` if the callable fails, `UsageError` if it returns rubbish."""
        called_at = asyncio.get_running_loop().time()
        async with self._lock:
            if self.known is None:
                if self._failure is not None and called_at <= self._given_up_at:
                    raise self._failure.about(None)
                self.known = await self._other_than(None)
            return self.known

    def on_accepted(self, token: Secret) -> None:
        """Record that the service took a token."""
        if token is self.known:
            self.in_doubt = False
            self._answered_at = -math.inf

    async def renew(self, used: Secret, sent_at: float) -> bool:
        """After a 401 to a request sent at `sent_at`: whether there is another token now.

        The callable is asked once for all requests that are out, and for some seconds while it returns the old one or
        fails; `AuthError` where it fails to the end.
        """
        if self._ask is None:
            return False
        now = asyncio.get_running_loop().time
        async with self._lock:
            if self.known != used:
                return True
            if sent_at <= self._given_up_at:
                return False  # Said once to all that were out; who comes later finds the callable asked again.
            if not self.in_doubt and now() < self._renewed_at + SETTLED:
                return False
            try:
                self.known = await self._other_than(used)
            except UsageError as error:
                raise AuthError(str(error), status=UNAUTHORIZED) from None
            if self.known == used:
                return False
            self._renewed_at = now()
            return True

    async def _other_than(self, used: Secret | None) -> Secret:
        """Ask for a token other than `used` while the grace lasts; return `used`, or raise, where there is none."""
        now = asyncio.get_running_loop().time
        if now() > self._answered_at + GRACE:
            self._began, self._times = now(), 0
        self.in_doubt = True
        secret, self._failure = used, None
        try:
            while self._times < LEAST or now() < self._began + GRACE:
                await asyncio.sleep(self._asked_at + GRACE_STEP - now())
                self._asked_at = now()
                self._times += 1
                secret, self._failure = used, None
                try:
                    secret = await self._fetch()
                except OmgmjError as error:
                    self._failure = error
                self._answered_at = now()
                if secret is not None and secret != used:
                    return secret
        except asyncio.CancelledError:
            self._answered_at = -math.inf
            raise
        self._given_up_at, self._answered_at = now(), -math.inf
        if secret is None or self._failure is not None:
            raise self._failure or AssertionError
        return secret

    async def _fetch(self) -> Secret:
        if self._ask is None:
            raise AssertionError  # Only a callable is ever without a token.
        try:
            given = self._ask()
            if inspect.isawaitable(given):
                given = await given
        except Exception as error:
            raise AuthError(f"the token callable failed: {type(error).__name__}", status=UNAUTHORIZED) from error
        try:
            return Secret(given)
        finally:
            del given  # As above.
