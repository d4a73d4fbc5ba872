"""What a user holds: one account's session, each method a few lines over the layers below.

`opening` has its arguments, how it is opened and closed; `waiting` what waits for tasks; `reading` what asks and
changes nothing; `creating` what costs money. Nothing is decided here: arguments are checked, and handed on.
"""

from omgmj.session.creating import Creating
from omgmj.session.waiting import Waiting

__all__ = ["Session"]


class Session(Waiting, Creating):
    """A client of one account: queries tasks, and waits for them on one budget of requests.

    `token` is a string, or a callable (sync or async) that returns one and is asked again after a 401; None takes
    `OMGMJ_TOKEN` from the environment. `base_url` None takes `OMGMJ_BASE_URL`, else the public host; https only, save
    for loopback. Several addresses are those of one service: what may be repeated is asked at the next one where one
    fails, and a submission where no connection was made. `request_timeout` bounds one HTTP exchange, in seconds, from
    when it may start. At most `max_in_flight` requests are out at once and at most `rate` a second start, fewer after a
    429. `backoff` says when to poll a task again, `retry` after a failed request. After `outage` seconds in which
    nobody is answered, a day, all waits end with `ServiceUnavailable`; None: never. `sweeps=False` leaves the account's
    list alone: each task is polled by itself, and nothing is learned from those of others.

    `environment_proxy`: go by the proxies that `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name, downloads too.
    `trusted_hosts` are exact names of hosts, as of a container network, to which `base_url` may lead over plain http.

    `journal`, such as an `omgmj.SqliteJournal`, keeps on disk what is watched and made, so that nothing is lost when
    the process dies; see `resume` and `unsettled`. It is this session's alone, and is closed with it.

    `learned` is the path of a small file in which what was learned of tasks is kept between runs, so that the next one
    polls less: it is read as the session begins, written now and then and when it is closed. It is of one account and
    host, which the token tells; where that is a callable, the host alone. An odd one is ignored and written over, a
    file of another sort is left as it is, and one that cannot be written is no error.

    `http` is an `aiohttp.ClientSession` to borrow, which stays open, or a callable that makes one, closed with this
    session: the place for a proxy of your own, a CA or a client certificate. `transport` replaces HTTP altogether.
    With either, the environment's proxies are left to it.

    Use it as `async with Session(…)`, or call `aclose` when done, from any task. It belongs to the event loop in which
    it is first used. Wrong arguments raise `UsageError`.
    """
