"""The service make-believe, for tests: in memory or on a loopback port, in virtual or in real time.

    async with FakeService(tasks=3) as fake, fake.session() as session:
        async for task in session.watch(fake.task_ids):
            print(task.id, task.status)

It is a product: users' tests, this project's own, `omgmj demo` and README run on it. What is answered is decided in
`service`, which is pure. `fake_service` is the door, with a clock and the faults of a line; `memory_transport` and
`http_server` are the two ways in, `webhook_sender` is the one way out.
"""

from omgmj.testing.fake_service import IN_MEMORY, PNG, FakeService
from omgmj.testing.memory_transport import InMemoryTransport
from omgmj.testing.service.account import BANNED, Created
from omgmj.testing.service.fake_task import VARIANTS
from omgmj.testing.service.faults import FAULTS, Fault, FaultShares
from omgmj.testing.service.lives import PRESETS, Life, Lives, Moment
from omgmj.testing.service.simulator import EPOCH

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
    "Moment",
]
