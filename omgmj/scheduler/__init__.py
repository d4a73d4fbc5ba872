"""Which ID to poll when, and what each answer means to those who wait for it.

Pure: no clock, event loop, network, disk or global chance; `now` and `roll` come in. Only `polling` drives it. No
object, timer or task an ID: a row of plain numbers in `registry`, due times in timer wheels. `planner` is the door.

- *poll*: one request for one ID, sent because the scheduler says so. What a user calls is a *query*.
- *sweep*: one request for a page of the account's list, which answers for up to 20 IDs.
- *callback*: a webhook's call, which is not believed. It *claims* an end, or that a task goes on.
- *push*: a hint that an ID may have ended, such as such a claim; it brings one poll forward.
- *heartbeat*: how long an ID goes unpolled at most while callbacks tell that it goes on.
- *due*: an ID whose next poll may be sent now. A row is either due at some time or in flight, so nobody is forgotten.
- *in flight*: sent, and not yet answered. There is at most one poll an ID in flight, also when those who wait change.
- *stall*: no change of status or progress for longer than a wait allows, in service time.
- *step*: what a task shows, from when it was first seen to show it; `trails` keep those of a live task, and `learning`
  learns at its end what was left after each.
- *load*: by which factor there is more to poll than there is pace for; it makes polls dearer for all alike.
- *service time*: time less outages. Stalls and failures are dated in it, so that an outage counts for neither.
- *subscription*: one wait for one ID, with its policy and its limits. Those of one ID share its polls.

What was accepted of an ID never goes back. How bytes come and go is left to `client`, who is told what to `polling`.
"""
