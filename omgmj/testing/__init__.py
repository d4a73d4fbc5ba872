"""The service make-believe, for tests: in memory or on a loopback port, in virtual or in real time.

    async with FakeService(tasks=3) as fake, fake.session() as session:
        async for task in session.watch(fake.task_ids):
            print(task.id, task.status)

It is a product: users' tests, this project's own, `omgmj demo` and README run on it. What is answered is decided in
`service`, which is pure. `fake_service` is the door, with a clock and the faults of a line; `memory_transport` and
`http_server` are the two ways in, `webhook_sender` is the one way out. `MemoryQueue` is `omgmj.worker.Queue` in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omgmj.testing.fake_service import IN_MEMORY, PNG, FakeService
from omgmj.testing.memory_transport import InMemoryTransport
from omgmj.testing.service.account import BANNED, Created
from omgmj.testing.service.fake_task import VARIANTS
from omgmj.testing.service.faults import FAULTS, Fault, FaultShares
from omgmj.testing.service.lives import PRESETS, Life, Lives, Moment
from omgmj.testing.service.simulator import EPOCH

if TYPE_CHECKING:
    from omgmj.testing.memory_queue import MemoryQueue
else:

    def __getattr__(name: str) -> object:
        # Who serves on loopback needs none of what waits.
        if name != "MemoryQueue":
            raise AttributeError(f"module 'omgmj.testing' has no attribute {name!r}")
        from omgmj.testing.memory_queue import MemoryQueue  # noqa: PLC0415 (only where it is needed)

        return MemoryQueue


__all__ = [
    "BANNED",
    "EPOCH",
    "FAULTS",
    "IN_MEMORY",
    "PNG",
    "PRESETS",
    "VARIANTS",
    "Created",
    "FakeService",
    "Fault",
    "FaultShares",
    "InMemoryTransport",
    "Life",
    "Lives",
    "MemoryQueue",
    "Moment",
]
