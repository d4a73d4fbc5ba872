"""How long to wait and how fast to send: backoff policies, retries, what was learned of tasks, the rate.

Pure: no clock, event loop, network, disk or global chance. Time comes in as seconds, chance as `roll` in [0, 1), and
each policy is a frozen value: the same facts give the same answer.

`policies` has `Fixed`, `Exponential` (capped exponential backoff with jitter) and `Adaptive`, which poll a task that
runs, and `Retry` for a request that failed. `retry_after` says how far the service's own word is believed.

When to look at what ends unseen is the theory of optimal inspection: `inspection` has it, with its sources. It wants
the distribution of what is left of a task, its hazard rate, and the price of a look. `residual_life` learns the first
from the ends seen so far, by pool and kind: after each step of progress (`steps`, and `stays` where some hang there),
in states that tell none (`silences`), by how long tasks run at all (`durations`; both go by `hazard`), and beside them
all ends that nothing foretold (`surprises`).
The Lagrangian `price` of a bound on the mean delay is one for all tasks. Where there is too little pace it rises for
all alike: who would lose most without a look then comes first, which is an index rule (Whittle, "Restless bandits:
activity allocation in a changing world", Journal of Applied Probability 25A, 1988, 287-298).

`rate` is the session's budget of requests a second: cut by a 429, recovering step by step. Which 429s it should mind
is told by `refusals` (one subject's are not everybody's) and `noise` (those by chance have nothing to do with the
pace). `answer_times` says when an answer is late.

Nothing here polls, sleeps or sends. Due times are kept by `scheduler`, places in flight are given by `client`.
"""

from omgmj.backoff.durations import Durations
from omgmj.backoff.policies import Adaptive, Exponential, Facts, Fixed, Policy, Retry

__all__ = ["Adaptive", "Durations", "Exponential", "Facts", "Fixed", "Policy", "Retry"]
