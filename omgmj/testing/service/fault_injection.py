"""Which fault befalls which request to the make-believe service: those asked for by hand, by time, and by share.

Pure; chance comes from a seed. What each fault does is `simulator`'s business.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Collection

import attrs

from omgmj.errors import UsageError
from omgmj.testing.service.faults import OF_LIST, OF_WEBHOOKS, Fault, FaultShares, as_fault, check_shares
from omgmj.testing.service.lives import check_number

Row = int | str | None
"""What faults wait for: queries of an ID, a kind of call, a call to one task's webhook, or any request."""


@attrs.define
class _Order:
    """A fault asked for by hand, `left` times, or until it is called off where that is None."""

    fault: Fault
    left: int | None


@attrs.frozen
class _Trouble:
    """A fault that befalls all that it can befall in `rows`, for some time."""

    fault: Fault
    rows: frozenset[Row]
    since: float
    until: float


class FaultInjection:
    """What is to go wrong. Faults asked for by hand wait in rows: one for each ID, each kind of call, and all calls.

    Trouble that befalls everything for some time comes first, and what is asked for by hand before chance.
    """

    def __init__(self, shares: FaultShares, seed: int) -> None:
        self.chance: random.Random = random.Random(f"faults {seed}")
        """What faults draw from."""
        self._shares = check_shares(shares)
        self._orders: dict[Row, deque[_Order]] = {}
        self._troubles: list[_Trouble] = []

    def inject(self, fault: str | Fault, times: int | None, task_ids: Collection[int] | None) -> None:
        """Let `fault` befall the next `times` requests that it can befall, or so many queries of each ID."""
        fault = as_fault(fault)
        if times is not None:
            check_number("times", times, least=1, whole=True)
        for row in _rows(fault, task_ids):
            self._orders.setdefault(row, deque()).append(_Order(fault, times))

    def trouble(
        self, fault: str | Fault, since: float, seconds: float | None, task_ids: Collection[int] | None
    ) -> None:
        """Let `fault` befall every request, or every query of the IDs, for `seconds` from `since`; None: for ever."""
        fault = as_fault(fault)
        until = math.inf if seconds is None else since + check_number("seconds", seconds)
        self._troubles.append(_Trouble(fault, frozenset(_rows(fault, task_ids)), since, until))

    def heal(self) -> None:
        """Call off all faults."""
        self._orders.clear()
        self._troubles.clear()
        self._shares.clear()

    def pick(self, rows: tuple[Row, ...], applies: Callable[[Fault], bool], now: float) -> Fault | None:
        """Return what goes wrong at `now`: the first that applies of those for `rows`, or what chance brings."""
        for trouble in self._troubles:
            if trouble.since <= now < trouble.until and trouble.rows.intersection(rows) and applies(trouble.fault):
                return trouble.fault
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


def webhook_row(task_id: int) -> str:
    """Return the row of the calls to one task's webhook."""
    return f"webhooks of {task_id}"


def _rows(fault: Fault, task_ids: Collection[int] | None) -> list[Row]:
    """Return where `fault` waits; `UsageError` where it befalls no single task, and is asked for some."""
    only = fault.only
    if fault.name in OF_LIST:
        only = "pages"
    elif fault.name in OF_WEBHOOKS:
        only = "webhooks"
    if task_ids is None:
        return [only]
    if fault.name in OF_LIST:
        raise UsageError(f"{fault.name} befalls a page of the list, not a single task")
    if only == "webhooks":
        return [webhook_row(task_id) for task_id in task_ids]
    if only not in {None, "queries"}:
        raise UsageError(f"a fault of {only} befalls no single task")
    return list(task_ids)
