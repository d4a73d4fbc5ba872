"""Which fault befalls which request to the make-believe service: those asked for by hand, and those by share.

Pure; chance comes from a seed. What each fault does is `simulator`'s business.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable

import attrs

from omgmj.errors import UsageError
from omgmj.testing.service.faults import OF_LIST, Fault, FaultShares, as_fault, check_shares
from omgmj.testing.service.lives import check_number


@attrs.define
class _Order:
    """A fault asked for by hand, `left` times, or until it is called off where that is None."""

    fault: Fault
    left: int | None


class FaultInjection:
    """What is to go wrong. Faults asked for by hand wait in rows: one for each ID, each kind of call, and all calls."""

    def __init__(self, shares: FaultShares, seed: int) -> None:
        self.chance: random.Random = random.Random(f"faults {seed}")
        """What faults draw from."""
        self._shares = check_shares(shares)
        self._orders: dict[int | str | None, deque[_Order]] = {}

    def inject(self, fault: str | Fault, times: int | None, task_id: int | None) -> None:
        """Let `fault` befall the next `times` requests that it can befall, or queries of `task_id` only."""
        fault = as_fault(fault)
        if times is not None:
            check_number("times", times, least=1, whole=True)
        only = "pages" if fault.name in OF_LIST else fault.only
        if task_id is None:
            row: int | str | None = only
        elif fault.name in OF_LIST:
            raise UsageError(f"{fault.name} befalls a page of the list, not a single task")
        elif only not in {None, "queries"}:
            raise UsageError(f"a fault of {only} befalls no single task")
        else:
            row = task_id
        self._orders.setdefault(row, deque()).append(_Order(fault, times))

    def heal(self) -> None:
        """Call off all faults."""
        self._orders.clear()
        self._shares.clear()

    def pick(self, rows: Iterable[int | str | None], applies: Callable[[Fault], bool]) -> Fault | None:
        """Return what goes wrong: the first that applies of those that wait in `rows`, or what chance brings."""
        for row in rows:
            orders = self._orders.get(row)
            if orders and applies(orders[0].fault):
                order = orders[0]
                if order.left is not None:
                    order.left -= 1
                    if not order.left:
                        orders.popleft()
                return order.fault
        if self._shares:
            roll = self.chance.random()
            for fault, share in self._shares.items():
                roll -= share
                if roll < 0:
                    return fault if applies(fault) else None
        return None
