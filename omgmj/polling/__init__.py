"""The loop that polls, and what waits on it: `wait`, `follow`, `watch`.

`poller` is one task with its workers, from the first subscription to the last: it takes what is due from `scheduler`,
sends it through `client`, and tells the sinks of those who wait. `sweeper` does the same for pages of the list.
`health` sees all polls together: it keeps the circuit breaker and says each thing once in the log.

Rules: no asyncio task and no timer an ID. Leaving is synchronous. No cancel scope of ours spans a user's code. Whatever
ends the loop reaches everybody who waits, as a cause. What is decided is decided in `scheduler`; here it is done.

A reader's handle (`follow`, `watch`) and its sink (`sinks`, `inbox`) are two objects: the sink owns what was told, and
the handle what is the user's. `wait_errors` makes the error of a wait that ended without an end.

The account's list for readers is in `listing`.
"""
