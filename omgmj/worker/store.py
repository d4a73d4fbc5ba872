"""What of an account stands in Redis, and every call to it: ints, strings and JSON under one hash tag.

A batch has a hash (`meta`), its IDs in small sets (a set of at most 512 integers costs 5 bytes an ID, a larger one 56),
contexts, a stream of results, and cursors of readers. Its IDs are spread over the sets by their remainder. Where a
batch outgrows its sets there is a next layer of them; IDs are added to the last layer only.

`version` counts what handed in and took back. The wake-up stream tells of it, and is never the truth: it is capped.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

from redis.asyncio import Redis

from omgmj.worker import scripts
from omgmj.worker.connection import trouble
from omgmj.worker.results import Counts, End
from omgmj.worker.storage import BLOCK, ERROR_KEPT, FOLLOWED, Change, Entry, LeaseLost, Meta

BLOCK_MS = int(BLOCK * 1000)
FILL, FULL = 256, 384
"""IDs of a set as a layer begins, and on average at most, so that hardly any passes 512."""
GROUP, GROUPS = 500, 20
"""IDs of a group, which Lua takes on its stack, and groups of a call."""
SETS = 40
"""Sets that are read at once: no answer holds up the loop for long, or is longer than what Redis has to answer in."""
NAMED = 200
"""IDs that a wake-up names at most."""


class Store:
    """An account's part of a Redis. What fails is a `QueueError`."""

    def __init__(self, redis: Redis, account: str) -> None:
        self._redis: Any = redis  # Its types say that each answer may be anything.
        self.prefix: str = "{omgmj:" + account + "}"
        self._hand_in = redis.register_script(scripts.HAND_IN)
        self._finish = redis.register_script(scripts.FINISH)
        self._move = redis.register_script(scripts.MOVE)
        self._take = redis.register_script(scripts.TAKE)
        self._renew = redis.register_script(scripts.RENEW)
        self._release = redis.register_script(scripts.RELEASE)

    # Batches.

    async def hand_in(self, batch: str, ids: Sequence[int], texts: Sequence[str] | None, ttl: float) -> int:
        """Have a batch hold these IDs, each once, with contexts as JSON; return how many are new to it.

        All of it is there at once or not at all. `ttl` is in seconds.
        """
        while True:
            meta = await self.meta(batch)
            added = await self._hand_in_once(batch, meta, ids, texts, ttl)
            if added >= 0:
                return added

    async def _hand_in_once(
        self, batch: str, meta: Meta | None, ids: Sequence[int], texts: Sequence[str] | None, ttl: float
    ) -> int:
        wanted = dict(zip(ids, texts or itertools.repeat(""), strict=False))
        layers = await self._layers_for(batch, meta, wanted)
        expiry, renews = _expiry(meta, ttl)
        layer, sets = len(layers) - 1, layers[-1]
        pieces = [
            (at, group[start : start + GROUP])
            for at, group in _grouped(wanted, sets).items()
            for start in range(0, len(group), GROUP)
        ]
        before, after = meta.text if meta else "", ",".join(map(str, layers))
        calls = range(0, max(len(pieces), 1), GROUPS)
        async with trouble(), self._redis.pipeline(transaction=True) as together:
            for start in calls:
                keys = [self._key(batch), self._batches, self._key(batch, "c"), self._key(batch, "r"), self._wake]
                values: list[Any] = [batch, before, after, expiry, NAMED]
                for at, group in pieces[start : start + GROUPS]:
                    keys += self._key(batch, f"a{layer}.{at}"), self._key(batch, f"p{layer}.{at}")
                    values += [len(group), *group, *(wanted[task_id] for task_id in group)]
                await self._hand_in(keys=keys, args=values, client=together)
            if renews:
                for key in self._keys(batch, layers):
                    together.expireat(key, expiry)
            added = (await together.execute())[: len(calls)]
        return -1 if -1 in added else sum(added)

    async def _layers_for(self, batch: str, meta: Meta | None, wanted: dict[int, str]) -> tuple[int, ...]:
        """Return the layers that a batch is to have, and take out of `wanted` what the older ones have already."""
        if meta is None:
            return (_sets(math.ceil(len(wanted) / FILL)),)
        for layer, sets in enumerate(meta.layers[:-1]):
            await self._leave_out(batch, layer, sets, wanted)
        last = meta.layers[-1]
        if not meta.last or meta.last + len(wanted) <= last * FULL:
            return meta.layers
        await self._leave_out(batch, len(meta.layers) - 1, last, wanted)
        return (*meta.layers, _sets(max(math.ceil(len(wanted) / FILL), 2 * last)))

    async def _leave_out(self, batch: str, layer: int, sets: int, wanted: dict[int, str]) -> None:
        """Take out of `wanted` what a layer has; no ID is added to it any more."""
        groups = _grouped(wanted, sets)
        async with trouble(), self._redis.pipeline(transaction=False) as together:
            for at, group in groups.items():
                together.smismember(self._key(batch, f"a{layer}.{at}"), group)
            answers = await together.execute()
        for group, known in zip(groups.values(), answers, strict=True):
            for task_id, is_known in zip(group, known, strict=True):
                if is_known:
                    del wanted[task_id]

    async def finish(
        self, batch: str, meta: Meta, ends: Sequence[tuple[int, End, bytes]], holder: str = ""
    ) -> int | None:
        """Mark IDs as done and append their results, those that are pending; return how many.

        None: the batch has more layers by now, so read its `meta` again. `holder` is who must hold the lease;
        `LeaseLost` where another does.
        """
        keys = [self._key(batch), self._key(batch, "r"), self._key(batch, "c"), self._lease, self._wake]
        values: list[Any] = [holder, meta.text, batch]
        for task_id, end, packed in ends:
            keys += (self._key(batch, f"p{layer}.{task_id % sets}") for layer, sets in enumerate(meta.layers))
            values += (task_id, end.value, packed)
        async with trouble():
            written = int(await self._finish(keys=keys, args=values))
        if written == -2:
            raise LeaseLost(f"the lease of {self.prefix} is held by another")
        return None if written == -1 else written

    async def meta(self, batch: str) -> Meta | None:
        """Return what is known of a batch; None where there is none of this name."""
        fields = ("layers", "last", "expiry", "version", "total", *End)
        async with trouble():
            found = await self._redis.hmget(self._key(batch), list(fields))
        if found[0] is None:
            return None
        last, expiry, version, *counts = (int(value or 0) for value in found[1:])
        return Meta(tuple(map(int, found[0].split(b","))), last, expiry, version, Counts(*counts))

    async def pending(self, batch: str) -> tuple[Meta, set[int]] | None:
        """Return a batch, and the IDs that it waits for; None where there is none of this name."""
        meta = await self.meta(batch)
        if meta is None:
            return None
        ids: set[int] = set()
        keys = self._sets_of(batch, meta.layers, "p")
        for at in range(0, len(keys), SETS):
            async with trouble(), self._redis.pipeline(transaction=False) as together:
                for key in keys[at : at + SETS]:
                    together.smembers(key)
                for members in await together.execute():
                    ids.update(map(int, members))
        return meta, ids

    async def batches(self) -> dict[str, int]:
        """Return the versions of all batches by name, and drop the names of those that have gone."""
        async with trouble():
            names = sorted(name.decode() for name in await self._redis.smembers(self._batches))
            async with self._redis.pipeline(transaction=False) as together:
                for name in names:
                    together.hget(self._key(name), "version")
                versions = await together.execute()
            gone = [name for name, version in zip(names, versions, strict=True) if version is None]
            if gone:
                await self._redis.srem(self._batches, *gone)
        return {name: int(version) for name, version in zip(names, versions, strict=True) if version is not None}

    async def forget(self, batch: str) -> None:
        """Drop all of a batch, and tell the leader."""
        meta = await self.meta(batch)
        async with trouble(), self._redis.pipeline(transaction=True) as together:
            together.srem(self._batches, batch)
            if meta is not None:
                together.unlink(*self._keys(batch, meta.layers))
            together.xadd(self._wake, {"b": batch, "v": -1}, maxlen=1000)
            await together.execute()

    # Results.

    async def read(self, batch: str, after: str, count: int, *, block: bool) -> list[Entry]:
        """Return the next results, at most `count`; where there is none, wait a few seconds for one if told to."""
        stream = self._key(batch, "r")
        async with trouble():
            found = await self._redis.xread({stream: after}, count=count, block=BLOCK_MS if block else None)
        return [
            Entry(key.decode(), int(fields[b"i"]), fields[b"r"], _context(fields.get(b"c", b"")))
            for _, entries in found or ()
            for key, fields in entries
        ]

    async def cursor(self, batch: str, reader: str) -> str:
        """Return where a reader has come to."""
        async with trouble():
            found = await self._redis.hget(self._key(batch), f"at:{reader}")
        return "0-0" if found is None else found.decode()

    async def move_cursor(self, batch: str, reader: str, key: str) -> None:
        """Write where a reader has come to; a batch that has gone stays gone."""
        async with trouble():
            await self._move(keys=[self._key(batch)], args=[f"at:{reader}", key])

    # Wake-ups.

    async def wake_end(self) -> str:
        """Return where the wake-ups end now."""
        async with trouble():
            last = await self._redis.xrevrange(self._wake, count=1)
        return last[0][0].decode() if last else "0-0"

    async def changes(self, after: str) -> tuple[str, list[Change]]:
        """Wait a few seconds for wake-ups; return where they end, and what they tell."""
        async with trouble():
            found = await self._redis.xread({self._wake: after}, count=100, block=BLOCK_MS)
        told = []
        for _, entries in found or ():
            for key, fields in entries:
                after = key.decode()
                came, went = (_ids(fields.get(name, b"")) for name in (b"a", b"x"))
                told.append(Change(fields[b"b"].decode(), int(fields[b"v"]), came, went))
        return after, told

    # Progress of single IDs.

    async def ask_to_follow(self, task_id: int) -> None:
        """Ask the leader to tell the progress of an ID, for a while."""
        async with trouble(), self._redis.pipeline(transaction=True) as together:
            together.zadd(self.prefix + ":follow", {str(task_id): time.time() + FOLLOWED})
            together.expire(self.prefix + ":follow", FOLLOWED)
            together.xadd(self._wake, {"b": "", "v": 0}, maxlen=1000)
            await together.execute()

    async def followed(self) -> set[int]:
        """Return the IDs whose progress is asked for now."""
        async with trouble():
            await self._redis.zremrangebyscore(self.prefix + ":follow", 0, time.time())
            return {int(member) for member in await self._redis.zrange(self.prefix + ":follow", 0, -1)}

    async def tell(self, task_id: int, packed: bytes, *, is_last: bool, is_record: bool = True) -> None:
        """Tell the progress of an ID to who follows it."""
        stream = f"{self.prefix}:f:{task_id}"
        async with trouble(), self._redis.pipeline(transaction=True) as together:
            together.xadd(stream, {"r": packed, "e": int(is_last)}, maxlen=100)
            # An error is for who asked now: the ID may be handed in next.
            together.expire(stream, FOLLOWED if is_record else ERROR_KEPT)
            if is_last:
                together.zrem(self.prefix + ":follow", task_id)
            await together.execute()

    async def told(self, task_id: int, after: str) -> list[tuple[str, bytes, bool]]:
        """Return what was told of an ID: keys, packed records, whether it is the last; wait a few seconds."""
        async with trouble():
            found = await self._redis.xread({f"{self.prefix}:f:{task_id}": after}, block=BLOCK_MS)
        return [
            (key.decode(), fields[b"r"], fields[b"e"] == b"1") for _, entries in found or () for key, fields in entries
        ]

    # The lease.

    async def take(self, holder: str, seconds: float) -> bool:
        """Take the lease where it is free, or held by this holder already."""
        async with trouble():
            return bool(await self._take(keys=[self._lease], args=[holder, int(seconds * 1000)]))

    async def renew(self, holder: str, seconds: float) -> bool:
        """Hold the lease for longer; False where another holds it, or nobody."""
        async with trouble():
            return bool(await self._renew(keys=[self._lease], args=[holder, int(seconds * 1000)]))

    async def release(self, holder: str) -> None:
        """Let go of the lease, where this holder has it."""
        async with trouble():
            await self._release(keys=[self._lease], args=[holder])

    async def holder(self) -> str | None:
        """Return who holds the lease."""
        async with trouble():
            found = await self._redis.get(self._lease)
        return None if found is None else found.decode()

    async def ping(self) -> None:
        """Ask whether Redis answers."""
        async with trouble():
            await self._redis.ping()

    # Names of keys.

    @property
    def _batches(self) -> str:
        return self.prefix + ":batches"

    @property
    def _wake(self) -> str:
        return self.prefix + ":wake"

    @property
    def _lease(self) -> str:
        return self.prefix + ":lease"

    def _key(self, batch: str, part: str = "m") -> str:
        return f"{self.prefix}:b:{part}:{batch}"

    def _sets_of(self, batch: str, layers: Sequence[int], kind: str) -> list[str]:
        return [self._key(batch, f"{kind}{layer}.{at}") for layer, sets in enumerate(layers) for at in range(sets)]

    def _keys(self, batch: str, layers: Sequence[int]) -> list[str]:
        parts = [self._key(batch, part) for part in "mrc"]
        return parts + self._sets_of(batch, layers, "a") + self._sets_of(batch, layers, "p")


def _sets(least: int) -> int:
    """Return how many sets a layer has: by a number without small factors IDs of any step are spread."""
    sets = max(least, 1)
    while math.gcd(sets, 210) > 1:
        sets += 1
    return sets


def _grouped(ids: Iterable[int], sets: int) -> dict[int, list[int]]:
    """Return IDs by the set that each stands in."""
    groups: dict[int, list[int]] = {}
    for task_id in ids:
        groups.setdefault(task_id % sets, []).append(task_id)
    return groups


def _expiry(meta: Meta | None, ttl: float) -> tuple[int, bool]:
    """Return when a batch goes that is handed in now, and whether all its keys are to be told: that is costly."""
    now = time.time()
    if meta is None or meta.expiry < now + ttl * 0.9:
        return math.ceil(now + ttl), meta is not None
    return int(meta.expiry), False


def _ids(text: bytes) -> tuple[int, ...]:
    return tuple(map(int, text.split(b","))) if text else ()


def _context(text: bytes) -> Any:
    return json.loads(text) if text else None
