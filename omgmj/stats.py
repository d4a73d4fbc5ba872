"""The figures of a session, as `Session.stats` returns them, and where each one comes from."""

from __future__ import annotations

import attrs

from omgmj.engine import Engine


@attrs.frozen
class Stats:
    """What a session has done and is doing, at one moment.

    `queries` are the requests sent so far, `retries` those of them that repeated a direct call, `rate_limited` the
    answers 429; `pace` is how many requests a second are allowed just now. `watched` IDs are waited for, of which
    `overdue` ones are due and have no request out; `in_flight` requests are out. `sweeps` of the queries read pages of
    the account's list, which showed `swept` records, `swept_used` of them of use. `late` is by how many seconds the
    polls started after they were due: the mean of the last few dozen.

    `price` is what a poll costs under `Adaptive`, in seconds of delay, `mean_delay` how many seconds late the last ends
    were seen, and `mean_polls` how many polls those tasks took, both on average; None before the first end. Of several
    such policies they are of the one whose task ended last. Outages and pauses of the process count for no delay.
    """

    queries: int
    retries: int
    rate_limited: int
    pace: float
    watched: int
    in_flight: int
    overdue: int
    sweeps: int = 0
    swept: int = 0
    swept_used: int = 0
    late: float = 0.0
    price: float | None = None
    mean_delay: float | None = None
    mean_polls: float | None = None


def stats_of(engine: Engine) -> Stats:
    """Return the figures of this moment."""
    exchange, limiter, poller = engine.exchange, engine.limiter, engine.poller
    poller.catch_up()
    price = poller.planner.learning.last_price
    return Stats(
        queries=exchange.queries,
        retries=exchange.retries,
        rate_limited=exchange.rate_limited,
        pace=limiter.rate.limit,
        watched=poller.planner.registry.watched,
        in_flight=limiter.in_flight,
        overdue=poller.planner.overdue(engine.loop.time()),
        sweeps=poller.sweeper.pages,
        swept=poller.sweeper.records,
        swept_used=poller.sweeper.used,
        late=poller.health.late,
        price=None if price is None else price.value,
        mean_delay=None if price is None else price.mean_delay,
        mean_polls=None if price is None else price.mean_polls,
    )
