"""Names are looked up in threads that nobody waits for.

The threads that asyncio keeps are waited for when its loop ends: while DNS is down an interrupt would end nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

Found = tuple[int, int, str, int]
"""Family, protocol, address and port."""


async def look_up(host: str, port: int, family: int = socket.AF_UNSPEC) -> list[Found]:
    """Return where a name leads to; `OSError` where that is not known."""
    loop = asyncio.get_running_loop()
    looked_up: asyncio.Future[list[Found]] = loop.create_future()

    def tell(found: list[Found] | Exception) -> None:
        if looked_up.done():
            return
        if isinstance(found, Exception):
            looked_up.set_exception(found)
        else:
            looked_up.set_result(found)

    def work() -> None:
        found: list[Found] | Exception
        try:
            found = [
                (kind, protocol, str(address[0]), int(address[1]))
                for kind, _, protocol, _, address in socket.getaddrinfo(
                    host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
            ]
        except (OSError, UnicodeError) as error:
            found = error
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody wants to know any more.
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=work, name="omgmj-name", daemon=True).start()
    return await looked_up
