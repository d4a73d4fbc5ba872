"""What a queue keeps of an account, kept in memory: for one event loop, gone with it.

It tells the time by the loop's clock, so that batches grow old in virtual time too.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import attrs

from omgmj.errors import OmgmjError
from omgmj.worker.results import Counts, End
from omgmj.worker.storage import BLOCK, ERROR_KEPT, FOLLOWED, Change, Entry, LeaseLost, Meta

T = TypeVar("T")


@attrs.define(eq=False)
class _Batch:
    """A batch: its IDs, the pending ones with their contexts as JSON, its results, and its readers' places."""

    version: int
    expiry: float = 0.0
    ids: set[int] = attrs.field(factory=set)
    pending: dict[int, str] = attrs.field(factory=dict)
    entries: list[Entry] = attrs.field(factory=list)
    counts: Counter[End] = attrs.field(factory=Counter)
    cursors: dict[str, str] = attrs.field(factory=dict)


@attrs.define(eq=False)
class _Told:
    """What was told of an ID, and until when it is kept."""

    expiry: float
    entries: list[tuple[str, bytes, bool]] = attrs.field(factory=list)


class MemoryStore:
    """An account's batches and results, as a `Storage` in memory."""

    def __init__(self) -> None:
        self._batches: dict[str, _Batch] = {}
        self._changes: list[Change] = []
        self._asked: dict[int, float] = {}
        self._told: dict[int, _Told] = {}
        self._holder: str | None = None
        self._numbers = itertools.count(1)
        self._news = asyncio.Event()
        self._ended: OmgmjError | None = None

    def end(self, why: OmgmjError) -> None:
        """Have nobody wait any more for what is to come: `why` is raised instead."""
        self._ended = why
        self._tell_all()

    # Batches.

    async def hand_in(self, batch: str, ids: Sequence[int], texts: Sequence[str] | None, ttl: float) -> int:
        """Have a batch hold these IDs, each once, with contexts as JSON; return how many are new to it."""
        kept = self._find(batch)
        if kept is None:
            # No two lives of a name have the same versions.
            kept = self._batches[batch] = _Batch(next(self._numbers) * 1_000_000)
        wanted = dict(zip(ids, texts or itertools.repeat(""), strict=False))
        new = {task_id: text for task_id, text in wanted.items() if task_id not in kept.ids}
        kept.ids.update(new)
        kept.pending.update(new)
        kept.expiry = max(kept.expiry, _now() + ttl)
        if new:
            self._change(batch, kept, came=tuple(new))
        return len(new)

    async def finish(self, batch: str, meta: Meta, ends: Sequence[tuple[int, End, bytes]], holder: str = "") -> int:  # noqa: ARG002 (no layers here)
        """Mark IDs as done and append their results, those that are pending; return how many."""
        if holder and holder != self._holder:
            raise LeaseLost("another leads the account now")
        kept = self._find(batch)
        if kept is None:
            return 0
        written = [end for end in ends if end[0] in kept.pending]
        for task_id, end, packed in written:
            text = kept.pending.pop(task_id)
            kept.entries.append(Entry(_key(len(kept.entries) + 1), task_id, packed, _context(text)))
            kept.counts[end] += 1
        if written and not holder:
            self._change(batch, kept, went=tuple(task_id for task_id, _, _ in written))
        self._tell_all()
        return len(written)

    async def meta(self, batch: str) -> Meta | None:
        """Return what is known of a batch; None where there is none of this name."""
        kept = self._find(batch)
        return None if kept is None else _meta(kept)

    async def pending(self, batch: str) -> tuple[Meta, set[int]] | None:
        """Return a batch, and the IDs that it waits for; None where there is none of this name."""
        kept = self._find(batch)
        return None if kept is None else (_meta(kept), set(kept.pending))

    async def batches(self) -> dict[str, int]:
        """Return the versions of all batches by name."""
        found = {name: self._find(name) for name in list(self._batches)}
        return {name: kept.version for name, kept in found.items() if kept is not None}

    async def forget(self, batch: str) -> None:
        """Drop all of a batch, and tell the leader."""
        self._batches.pop(batch, None)
        self._changes.append(Change(batch, -1, (), ()))
        self._tell_all()

    # Results.

    async def read(self, batch: str, after: str, count: int, *, block: bool) -> list[Entry]:
        """Return the next results, at most `count`; where there is none, wait a few seconds for one if told to."""

        def found() -> list[Entry]:
            kept = self._find(batch)
            return [] if kept is None else kept.entries[_number(after) :][:count]

        return await self._wait_for(found) if block else found()

    async def cursor(self, batch: str, reader: str) -> str:
        """Return where a reader has come to."""
        kept = self._find(batch)
        return _key(0) if kept is None else kept.cursors.get(reader, _key(0))

    async def move_cursor(self, batch: str, reader: str, key: str) -> None:
        """Write where a reader has come to; a batch that has gone stays gone."""
        kept = self._find(batch)
        if kept is not None:
            kept.cursors[reader] = key

    # Wake-ups.

    async def wake_end(self) -> str:
        """Return where the wake-ups end now."""
        return _key(len(self._changes))

    async def changes(self, after: str) -> tuple[str, list[Change]]:
        """Wait a few seconds for wake-ups; return where they end, and what they tell."""
        told = await self._wait_for(lambda: self._changes[_number(after) :])
        return _key(_number(after) + len(told)), told

    # Progress of single IDs.

    async def ask_to_follow(self, task_id: int) -> None:
        """Ask the leader to tell the progress of an ID, for a while."""
        self._asked[task_id] = _now() + FOLLOWED
        self._changes.append(Change("", 0, (), ()))
        self._tell_all()

    async def followed(self) -> set[int]:
        """Return the IDs whose progress is asked for now."""
        self._asked = {task_id: until for task_id, until in self._asked.items() if until > _now()}
        return set(self._asked)

    async def tell(self, task_id: int, packed: bytes, *, is_last: bool, is_record: bool = True) -> None:
        """Tell the progress of an ID to who follows it."""
        told = self._told[task_id] = self._find_told(task_id) or _Told(0.0)
        told.expiry = _now() + (FOLLOWED if is_record else ERROR_KEPT)
        told.entries.append((_key(next(self._numbers)), packed, is_last))
        if is_last:
            self._asked.pop(task_id, None)
        self._tell_all()

    async def told(self, task_id: int, after: str) -> list[tuple[str, bytes, bool]]:
        """Return what was told of an ID: keys, packed records, whether it is the last; wait a few seconds."""

        def found() -> list[tuple[str, bytes, bool]]:
            told = self._find_told(task_id)
            return [] if told is None else [entry for entry in told.entries if _number(entry[0]) > _number(after)]

        return await self._wait_for(found)

    # The lease.

    async def take(self, holder: str, seconds: float) -> bool:  # noqa: ARG002 (nobody dies in memory)
        """Take the lease where it is free, or held by this holder already."""
        self._holder = self._holder or holder
        return self._holder == holder

    async def renew(self, holder: str, seconds: float) -> bool:  # noqa: ARG002 (nobody dies in memory)
        """Hold the lease for longer; False where another holds it, or nobody."""
        return self._holder == holder

    async def release(self, holder: str) -> None:
        """Let go of the lease, where this holder has it."""
        if self._holder == holder:
            self._holder = None

    async def holder(self) -> str | None:
        """Return who holds the lease."""
        return self._holder

    # What the above share.

    def _find(self, batch: str) -> _Batch | None:
        kept = self._batches.get(batch)
        return kept if kept is not None and kept.expiry > _now() else None

    def _find_told(self, task_id: int) -> _Told | None:
        told = self._told.get(task_id)
        return told if told is not None and told.expiry > _now() else None

    def _change(self, batch: str, kept: _Batch, came: tuple[int, ...] = (), went: tuple[int, ...] = ()) -> None:
        kept.version += 1
        self._changes.append(Change(batch, kept.version, came, went))
        self._tell_all()

    def _tell_all(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _wait_for(self, found: Callable[[], list[T]]) -> list[T]:
        """Return what is found, as soon as there is something, or nothing after a while."""
        end = _now() + BLOCK
        while not (there := found()) and (left := end - _now()) > 0:
            if self._ended is not None:
                raise self._ended.about(self._ended.task_id)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)
        return there


def _now() -> float:
    return asyncio.get_running_loop().time()


def _key(number: int) -> str:
    """Return a key as Redis has them for its streams."""
    return f"{number}-0"


def _number(key: str) -> int:
    return int(key.partition("-")[0])


def _context(text: str) -> Any:
    return json.loads(text) if text else None


def _meta(kept: _Batch) -> Meta:
    return Meta((), 0, kept.expiry, kept.version, Counts(len(kept.ids), *(kept.counts[end] for end in End)))
