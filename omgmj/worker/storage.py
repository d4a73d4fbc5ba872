"""What is kept of an account: what a store of it does, wherever it keeps it, and the values that come and go.

`store` keeps it in Redis, `testing.memory_store` in memory; the doors, the lease and the leader know neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import attrs

from omgmj.errors import QueueError
from omgmj.worker.results import Counts, End

T = TypeVar("T")

BLOCK = 5.0
"""Seconds that a read waits for what is to come, well below the time in which Redis has to answer."""
PATIENCE = 60.0
"""Seconds for which a call is repeated while Redis is away."""
PAUSE = 0.5
FOLLOWED = 60
"""Seconds for which progress is kept, and told unless it is asked for again."""
ERROR_KEPT = 2


class Change(NamedTuple):
    """What a wake-up tells: the batch and its version, IDs that came or went; none of both means: read it again."""

    batch: str
    version: int
    came: tuple[int, ...]
    went: tuple[int, ...]


class Entry(NamedTuple):
    """A result as it stands in the stream."""

    key: str
    task_id: int
    packed: bytes
    context: Any


@attrs.frozen
class Meta:
    """What is known of a batch: its layers of sets, how many IDs the last one has, and when it goes (Unix time).

    A store that needs no layers has none.
    """

    layers: tuple[int, ...]
    last: int
    expiry: float
    version: int
    counts: Counts

    @property
    def text(self) -> str:
        """The layers as they stand in Redis."""
        return ",".join(map(str, self.layers))


class Storage(Protocol):
    """A store of one account. What fails is a `QueueError`."""

    # Batches.

    async def hand_in(self, batch: str, ids: Sequence[int], texts: Sequence[str] | None, ttl: float) -> int:
        """Have a batch hold these IDs, each once, with contexts as JSON; return how many are new to it.

        All of it is there at once or not at all. `ttl` is in seconds.
        """
        ...

    async def finish(
        self, batch: str, meta: Meta, ends: Sequence[tuple[int, End, bytes]], holder: str = ""
    ) -> int | None:
        """Mark IDs as done and append their results, those that are pending; return how many.

        None: the batch has more layers by now, so read its `meta` again. `holder` is who must hold the lease;
        `LeaseLost` where another does.
        """
        ...

    async def meta(self, batch: str) -> Meta | None:
        """Return what is known of a batch; None where there is none of this name."""
        ...

    async def pending(self, batch: str) -> tuple[Meta, set[int]] | None:
        """Return a batch, and the IDs that it waits for; None where there is none of this name."""
        ...

    async def batches(self) -> dict[str, int]:
        """Return the versions of all batches by name, and drop the names of those that have gone."""
        ...

    async def forget(self, batch: str) -> None:
        """Drop all of a batch, and tell the leader."""
        ...

    async def read(self, batch: str, after: str, count: int, *, block: bool) -> list[Entry]:
        """Return the next results, at most `count`; where there is none, wait a few seconds for one if told to."""
        ...

    async def cursor(self, batch: str, reader: str) -> str:
        """Return where a reader has come to."""
        ...

    async def move_cursor(self, batch: str, reader: str, key: str) -> None:
        """Write where a reader has come to; a batch that has gone stays gone."""
        ...

    async def wake_end(self) -> str:
        """Return where the wake-ups end now."""
        ...

    async def changes(self, after: str) -> tuple[str, list[Change]]:
        """Wait a few seconds for wake-ups; return where they end, and what they tell."""
        ...

    async def ask_to_follow(self, task_id: int) -> None:
        """Ask the leader to tell the progress of an ID, for a while."""
        ...

    async def followed(self) -> set[int]:
        """Return the IDs whose progress is asked for now."""
        ...

    async def tell(self, task_id: int, packed: bytes, *, is_last: bool, is_record: bool = True) -> None:
        """Tell the progress of an ID to who follows it."""
        ...

    async def told(self, task_id: int, after: str) -> list[tuple[str, bytes, bool]]:
        """Return what was told of an ID: keys, packed records, whether it is the last; wait a few seconds."""
        ...

    async def take(self, holder: str, seconds: float) -> bool:
        """Take the lease where it is free, or held by this holder already."""
        ...

    async def renew(self, holder: str, seconds: float) -> bool:
        """Hold the lease for longer; False where another holds it, or nobody."""
        ...

    async def release(self, holder: str) -> None:
        """Let go of the lease, where this holder has it."""
        ...

    async def holder(self) -> str | None:
        """Return who holds the lease."""
        ...


class LeaseLost(QueueError):
    """Another holds the lease now."""


class Away(QueueError):
    """Redis does not answer now; it may later."""


async def patiently(call: Callable[[], Awaitable[T]], patience: float = PATIENCE) -> T:
    """Call again while Redis is away, for at most `patience` seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while True:
        try:
            return await call()
        except Away:
            if loop.time() >= end:
                raise
        await asyncio.sleep(PAUSE)
