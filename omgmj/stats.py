"""The figures of a session, as `Session.stats` returns them; `engine` puts them together."""

from __future__ import annotations

import attrs


@attrs.frozen
class Stats:
    """What a session has done and is doing, at one moment.

    `queries` are the requests sent so far, `retries` those of them that repeated a direct call, `rate_limited` the
    answers 429; `pace` is how many requests a second are allowed just now. `watched` IDs are waited for, of which
    `overdue` ones are due and have no request out; `in_flight` requests are out. `sweeps` of the queries read pages of
    the account's list, which showed `swept` records, `swept_used` of them of use. `late` is by how many seconds the
    polls started after they were due: the mean of the last few dozen.
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
