"""Watching on several machines, by way of Redis: `Queue` hands in and reads, `Worker` waits (extra `worker`).

    async with Queue("redis://localhost") as queue:
        batch = await queue.watch([3432, 3433])
        async for result in batch.results():
            print(result.task_id, result.task or result.error)

Rate and sweeps belong to an account, so one worker leads an account, and the others stand by. One process alone needs
none of this: `Session.watch` with a journal survives its crashes. `engine` is what docket does for us, `leader` the
work, `lease` who may do it, `queue` the doors. These know no Redis: `storage` is what they ask of a store, `store` and
`scripts` what stands in Redis, `connection` how it is reached, `redis_queue` the doors to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omgmj.worker.engine import Standing, Worker
    from omgmj.worker.queue import Batch
    from omgmj.worker.redis_queue import Queue
    from omgmj.worker.results import Counts, Result
else:
    # Imported at the first use: who hands in and reads needs no docket, and `omgmj.testing.MemoryQueue` no Redis.
    _LAZY = {
        **dict.fromkeys(("Standing", "Worker"), "engine"),
        "Batch": "queue",
        "Queue": "redis_queue",
        **dict.fromkeys(("Counts", "Result"), "results"),
    }

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415 (not among the names of the package)

        from omgmj.errors import UsageError  # noqa: PLC0415 (as above)

        if name not in _LAZY:
            raise AttributeError(f"module 'omgmj.worker' has no attribute {name!r}")
        try:
            return getattr(import_module(f"omgmj.worker.{_LAZY[name]}"), name)
        except ModuleNotFoundError as missing:
            if missing.name is None or missing.name.partition(".")[0] not in ("docket", "redis"):
                raise
            raise UsageError("omgmj.worker needs redis and pydocket: pip install 'omgmj[worker]'") from None


__all__ = ["Batch", "Counts", "Queue", "Result", "Standing", "Worker"]
