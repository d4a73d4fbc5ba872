"""Watching on several machines, by way of Redis: `Queue` hands in and reads, `Worker` waits (extra `worker`).

    async with Queue("redis://localhost") as queue:
        batch = await queue.watch([3432, 3433])
        async for result in batch.results():
            print(result.task_id, result.task or result.error)

Rate and sweeps belong to an account, so one worker leads an account, and the others stand by. One process alone needs
none of this: `Session.watch` with a journal survives its crashes. `engine` is what docket does for us, `leader` the
work, `lease` who may do it, `store` and `scripts` what stands in Redis, `queue` the doors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omgmj.errors import UsageError

try:
    from omgmj.worker.queue import Batch, Queue
except ModuleNotFoundError as missing:  # pragma: no cover (the tests have it)
    if missing.name is None or missing.name.partition(".")[0] != "redis":
        raise
    raise UsageError("omgmj.worker needs redis and pydocket: pip install 'omgmj[worker]'") from None
from omgmj.worker.results import Counts, Result

if TYPE_CHECKING:
    from omgmj.worker.engine import Standing, Worker
else:

    def __getattr__(name: str) -> object:
        # Who hands in and reads needs no docket, which takes long to import.
        if name not in ("Standing", "Worker"):
            raise AttributeError(f"module 'omgmj.worker' has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 (only where it is needed)

        return getattr(import_module("omgmj.worker.engine"), name)


__all__ = ["Batch", "Counts", "Queue", "Result", "Standing", "Worker"]
