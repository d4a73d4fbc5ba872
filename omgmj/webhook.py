"""The receiver of callbacks: what the service posts to a webhook, checked, and handed on as a hint of when to poll.

A webhook's URL holds a secret, as nothing signs what is posted. It is compared before a byte of the body is read; the
body is bounded in size and in time; and all that is wrong gets one answer, that of a place where there is nothing.
What a callback claims is believed by nobody: see `Session.notify`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import weakref
from collections import Counter
from collections.abc import AsyncIterable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from omgmj import log
from omgmj.errors import SessionClosed, UsageError
from omgmj.protocol.submissions import check_webhook
from omgmj.validation import check_count, check_seconds

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["Receiver"]

MAX_BYTES = 256 * 1024
"""Bytes of a body; a record has a tenth of that."""
BODIES = 64
"""Ratio: all bodies that are being read may have so many times the bytes of one."""
TIMEOUT = 10.0
"""Seconds that a body may take."""
TAKEN, REFUSED = HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND
"""The two answers."""
QUERY = "secret"
"""The name in a URL's query."""
_LEAST_LENGTH, _MOST_LENGTH, _LEAST_DIFFERENT = 22, 200, 8
"""Characters of a secret: 22 of base64 are 128 bits; so many of them differ at least."""
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")
"""What stands in a URL, and so in a log, as it is."""


class Receiver:
    """A receiver. `sink` takes each body as it came, such as `session.notify`; it is called in the event loop.

    `secret` is what the URL holds, a new one where it is None: a given one, so that URLs outlive the process, has 22 to
    200 letters, digits and `-._~`, such as `secrets.token_urlsafe()` makes. A body has at most `max_bytes`, and comes
    within `timeout` seconds. Wrong arguments are a `UsageError`.

        receiver = Receiver(session.notify)
        app.add_subapp("/omgmj", receiver.application())
        await session.imagine("a cat", webhook=receiver.url_for("https://bot.example.org/omgmj"))
    """

    def __init__(
        self,
        sink: Callable[[bytes], object],
        *,
        secret: str | None = None,
        max_bytes: int = MAX_BYTES,
        timeout: float = TIMEOUT,
    ) -> None:
        try:
            if not callable(sink):
                raise UsageError(f"the sink must be a function such as session.notify, not {type(sink).__name__}")
            self._secret = secrets.token_urlsafe() if secret is None else _check_secret(secret)
        finally:
            del secret  # Who shows the variables of a traceback shows no secret.
        self._sink = sink
        self._max_bytes = check_count("max_bytes", max_bytes)
        self._timeout = check_seconds("timeout", timeout)
        self._held = 0
        self.counts: Counter[str] = Counter()
        """How many callbacks were `taken`, and how many refused, by what was wrong first.

        That is `method`, `secret`, `content type`, `size`, `time`, `broken off` or `body`; or the `sink` failed.
        """

    def __repr__(self) -> str:
        return f"<omgmj.webhook.Receiver {dict(self.counts)}>"

    def url_for(self, base: str, *, query: bool = False) -> str:
        """Return the URL for `imagine(webhook=…)`: `base`, where others reach this receiver, and the secret.

        The secret is the last part of the path; with `query` it is the parameter `secret`. What query `base` has stays.
        `UsageError` where it is no http or https URL.

            url = receiver.url_for("https://bot.example.org/omgmj")
        """
        try:
            parts = urlsplit(check_webhook(base) or "")
        except UsageError:
            parts = urlsplit("")
        if not parts.hostname or parts.fragment:
            raise UsageError("the base of a webhook must be an http or https URL with a host and without a fragment")
        if query:
            added = f"{QUERY}={self._secret}"
            return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{self._secret}"))

    def knows(self, secret: str | None) -> bool:
        """Whether this is the secret; it takes as long for each wrong one. Ask before a body is read.

        if not receiver.knows(request.query.get("secret")): …
        """
        given = secret if isinstance(secret, str) else ""
        return hmac.compare_digest(given.encode(errors="surrogatepass"), self._secret.encode())

    def take(self, secret: str | None, content_type: str | None, body: bytes) -> int:
        """Take a callback that a framework has read, and return the HTTP status to answer with: 204, else 404.

        `secret` is what stands in the place of the secret in the URL, `content_type` the header; None where there is
        none. A framework that bounds no bodies should ask `knows` first, or hand on a stream to `take_stream`.

            status = receiver.take(request.path_params["secret"], request.headers.get("content-type"), body)
        """
        try:
            if wrong := self._wrong_head(secret, content_type):
                return self._refuse(wrong)
        finally:
            del secret
        return self._take(body)

    async def take_stream(self, secret: str | None, content_type: str | None, body: AsyncIterable[bytes]) -> int:
        """Take a callback whose body is yet to be read, and return the HTTP status to answer with, as `take` does.

        Nothing is read where the secret is wrong, and no more than is taken where it is right.

            status = await receiver.take_stream(secret, request.headers.get("content-type"), request.stream())
        """
        try:
            if wrong := self._wrong_head(secret, content_type):
                return self._refuse(wrong)
        finally:
            del secret
        read = bytearray()
        try:
            async with asyncio.timeout(self._timeout):
                async for chunk in body:
                    if len(read) + len(chunk) > self._max_bytes or self._held + len(chunk) > BODIES * self._max_bytes:
                        return self._refuse("size")
                    self._held += len(chunk)
                    read += chunk
        except TimeoutError:
            return self._refuse("time")
        except Exception:  # noqa: BLE001 (each framework has its own for a client that goes away)
            return self._refuse("broken off")
        finally:
            self._held -= len(read)
        return self._take(bytes(read))

    def application(self) -> web.Application:
        """Return an application of aiohttp.web that takes callbacks: to be served, or mounted by `add_subapp`.

        The secret is the rest of the path behind where it is mounted, or the parameter `secret`. In lines of the logger
        `aiohttp.access` it is masked. What stands before it, such as nginx, has a log of its own.

            app.add_subapp("/omgmj", receiver.application())
        """
        from aiohttp import web  # noqa: PLC0415 (only who serves by it needs it)

        async def answer(request: web.Request) -> web.Response:
            status: int = REFUSED
            if request.method == "POST":
                status = await self.take_stream(
                    request.query.get(QUERY, request.match_info.get("secret")),
                    request.headers.get("Content-Type"),
                    request.content.iter_any(),
                )
            else:
                self._refuse("method")
            # To the letter what aiohttp says where there is nothing.
            return web.Response(status=status, text=None if status == TAKEN else "404: Not Found")

        application = web.Application()
        application.router.add_route("*", "", answer)
        application.router.add_route("*", "/{secret:.*}", answer)
        self._mask()
        return application

    def _wrong_head(self, secret: str | None, content_type: str | None) -> str:
        """Return what is wrong before the body, the secret first; nothing where all is right."""
        if not self.knows(secret):
            return "secret"
        kind = (content_type or "").partition(";")[0].strip().lower()
        is_json = kind in ("", "application/json", "text/json") or kind.endswith("+json")
        return "" if is_json else "content type"

    def _take(self, body: bytes) -> int:
        if len(body) > self._max_bytes:
            return self._refuse("size")
        try:
            self._sink(body)
        except SessionClosed:
            return self._refuse("sink")
        except UsageError:
            return self._refuse("body")
        except Exception as error:  # noqa: BLE001 (whatever it is, who calls is told nothing of it)
            log.sink_failed(error)
            return self._refuse("sink")
        self.counts["taken"] += 1
        return TAKEN

    def _refuse(self, wrong: str) -> int:
        self.counts[wrong] += 1
        return REFUSED

    def _mask(self) -> None:
        """Have the secret masked in aiohttp's access log, as long as there is this receiver."""
        logger, secret = logging.getLogger("aiohttp.access"), self._secret

        def mask(record: logging.LogRecord) -> bool:
            for name, value in vars(record).items():
                if isinstance(value, str) and secret in value:
                    setattr(record, name, value.replace(secret, "…"))
            return True

        logger.addFilter(mask)
        weakref.finalize(self, logger.removeFilter, mask)


def _check_secret(secret: object) -> str:
    """Return a secret that was given; the error does not show it."""
    rule = f"has {_LEAST_LENGTH} to {_MOST_LENGTH} letters, digits and -._~"
    try:
        if not isinstance(secret, str):
            raise UsageError(f"the secret {rule}; it is {type(secret).__name__}")
        if not (_LEAST_LENGTH <= len(secret) <= _MOST_LENGTH and _UNRESERVED.fullmatch(secret)):
            raise UsageError(f"the secret {rule}; this one, of {len(secret)} characters, has not")
        if len(set(secret)) < _LEAST_DIFFERENT:
            raise UsageError(f"the secret is easily guessed: fewer than {_LEAST_DIFFERENT} of its characters differ")
        return secret
    finally:
        del secret
