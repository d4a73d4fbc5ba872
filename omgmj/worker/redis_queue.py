"""The queue that is kept in Redis."""

from __future__ import annotations

from typing import Self

from omgmj.worker.connection import connect
from omgmj.worker.queue import TTL, BaseQueue, check_name
from omgmj.worker.store import Store


class Queue(BaseQueue):
    """IDs that are waited for on other machines, by way of Redis; `omgmj worker` waits for them.

    `account` names whose tasks they are, as the workers know it. `ttl` is how many seconds a batch is kept after the
    last hand-in to it. Whoever can write to that Redis can run code on the workers: use `rediss://` and an ACL.
    """

    def __init__(self, url: str, *, account: str = "default", ttl: float = TTL) -> None:
        """Check the arguments; nothing is opened yet. Raise `UsageError`."""
        self._redis = connect(url)
        self._kept = Store(self._redis, check_name("account", account))
        super().__init__(self._kept, account, ttl)

    async def __aenter__(self) -> Self:
        """Raise `QueueError` where Redis cannot be reached."""
        try:
            await self._kept.ping()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; what was handed in goes on."""
        await self._redis.aclose()
