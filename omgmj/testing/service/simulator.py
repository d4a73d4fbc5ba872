"""The make-believe service, pure: what it answers to a request at `now`, and what goes wrong on purpose.

It imports neither `protocol` nor `records` and has its own copy of the service's contract, so that two mistakes do not
cancel out. It is strict about what it is sent: what is not to the letter is refused and recorded. It answers to queries
of tasks, shows the list, and makes tasks. The tasks are kept in `account`; moving bytes, waiting and breaking
connections are left to `fake_service`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, NamedTuple

from omgmj.errors import UsageError
from omgmj.testing.service.account import FIRST_ID, Account, Declined
from omgmj.testing.service.endpoints import Asked, ListPage, Submission, read_request, scrub
from omgmj.testing.service.fake_task import FakeTask
from omgmj.testing.service.fault_injection import FaultInjection, webhook_row
from omgmj.testing.service.faults import (
    ACTS,
    BODIES,
    ENVELOPES,
    JSON,
    MAKES_NONE,
    OF_ANY_RECORD,
    OF_LIST,
    OF_RECORDS,
    OF_WEBHOOKS,
    Act,
    Fault,
    FaultShares,
)
from omgmj.testing.service.lives import Lives, check_number
from omgmj.testing.service.odd_records import odd
from omgmj.testing.service.request_bodies import Refusal, Unreadable
from omgmj.testing.service.task_list import write
from omgmj.testing.service.webhooks import LATEST, DueCall, WebhookCall

__all__ = ["EPOCH", "FIRST_ID", "Reply", "Simulator"]

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""What the service's clock shows at 0 seconds, unless it is told otherwise."""


MOVED_TO = "https://moved.invalid/"
"""Where redirects lead; such a host can never exist."""


class Reply(NamedTuple):
    """What is answered: after `delay` seconds, and with `act` done to the connection where it is not None.

    `unreadable` is why a packed body could not be unpacked; empty where it could.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    delay: float = 0.0
    act: Act | None = None
    unreadable: str = ""


class Simulator(Account):
    """The service: an account that answers. Times are seconds on a clock of the caller's, as there.

    `rate` and `burst` are its own limiter, a token bucket in requests a second; above it the answer is 429, with
    `retry_after` seconds where that is given. `faults` gives each fault the share of requests that it befalls.
    `foreign_share` of the tasks are others of the account, mixed in as tasks are made. The list shows each task as it
    was `list_lag` seconds ago. `variants` say how records differ from the contract's example.
    """

    def __init__(
        self,
        *,
        lives: str | Lives = "fast",
        seed: int = 0,
        tokens: Iterable[str] = ("t",),
        rate: float | None = None,
        burst: int = 20,
        retry_after: int | None = None,
        faults: FaultShares | None = None,
        foreign_share: float = 0.0,
        list_lag: float = 0.0,
        epoch: datetime = EPOCH,
        variants: Iterable[str] = (),
    ) -> None:
        super().__init__(
            lives=lives, seed=seed, foreign_share=foreign_share, list_lag=list_lag, epoch=epoch, variants=variants
        )
        if rate is not None:
            check_number("rate", rate, least=0.001)
        if retry_after is not None:
            check_number("retry_after", retry_after, whole=True)
        self.tokens: set[str] = set(tokens)
        """The tokens that are accepted; may be changed at any time."""
        self.down: bool = False
        """While True every connection is dropped."""
        self.requests: int = 0
        """How many requests came, whatever became of them."""
        self.asked: Counter[int] = Counter()
        """How often each ID was asked for, in requests that were read and not refused."""
        self.pages: Counter[int] = Counter()
        """How often each page of the list was asked for, likewise."""
        self.refused: list[str] = []
        """Why requests were refused; never holds a token."""
        self.injected: Counter[str] = Counter()
        """How often each fault was acted out; requests during an outage count as `outage`."""
        self.limited: int = 0
        """How many requests the limiter turned away."""
        self.times: list[float] = []
        """When each request came, in seconds."""
        self._rate = rate
        self._burst = check_number("burst", burst, least=1, whole=True)
        self._tokens_left = float(burst)
        self._filled_at = 0.0
        self._retry_after = retry_after
        self._fault_injection = FaultInjection(faults or {}, seed)
        self._down_until = -math.inf

    @property
    def list_lag(self) -> float:
        """How many seconds the list lags behind; may be changed at any time."""
        return self._listing.lag

    @list_lag.setter
    def list_lag(self, seconds: float) -> None:
        self._listing.lag = check_number("list_lag", seconds)

    def inject(self, fault: str | Fault, *, times: int | None = 1, task_id: int | Iterable[int] | None = None) -> None:
        """Let `fault` befall the next `times` requests, or so many queries of each `task_id`; None: until `heal`.

        What is asked for one after the other happens one after the other; faults of the list and of webhooks, and those
        kept to one kind of call, are a row each.
        """
        self._fault_injection.inject(fault, times, self._known_ids(task_id))

    def trouble(
        self,
        fault: str | Fault,
        *,
        now: float,
        seconds: float | None = None,
        after: float = 0.0,
        task_id: int | Iterable[int] | None = None,
    ) -> None:
        """Let `fault` befall every request that it can befall, from `after` seconds after `now`, for `seconds`.

        With `task_id`, one or several, only queries of those; `seconds=None`: until `heal`.
        """
        self._fault_injection.trouble(fault, now + check_number("after", after), seconds, self._known_ids(task_id))

    def _known_ids(self, task_id: int | Iterable[int] | None) -> list[int] | None:
        if task_id is None:
            return None
        task_ids = list(task_id) if isinstance(task_id, Iterable) else [task_id]
        for each in task_ids:
            if each not in self.tasks:
                raise UsageError(f"there is no task {each!r}")
        return task_ids

    def outage(self, until: float) -> None:
        """Drop every connection until the clock shows `until` seconds."""
        self._down_until = check_number("until", until)

    def heal(self) -> None:
        """Call off every fault, those asked for by hand and those by share, and any outage."""
        self._fault_injection.heal()
        self.down = False
        self._down_until = -math.inf

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes, now: float) -> Reply:
        """Answer one request; `path` as in the request line, `headers` under lower-case names."""
        self.requests += 1
        self.times.append(now)
        if self.down or now < self._down_until:
            self.injected["outage"] += 1
            return Reply(0, {}, b"", act="drop_before_headers")
        if not self._let_through(now):
            self.limited += 1
            hint = {} if self._retry_after is None else {"Retry-After": str(self._retry_after)}
            return self._envelope(now, 429, 429, "too many requests", headers=hint)
        try:
            asked = read_request(method, path, headers, body, self.tokens)
        except Refusal as refusal:
            reason = scrub(refusal.reason, headers)
            self.refused.append(f"{refusal.status}: {reason}")
            reply = self._envelope(now, refusal.status, refusal.status, reason)
            return reply._replace(unreadable=reason) if isinstance(refusal, Unreadable) else reply
        if isinstance(asked, ListPage):
            self.pages[asked.number] += 1
        elif isinstance(asked, int):
            self.asked[asked] += 1
        rows = (asked, "queries", None) if isinstance(asked, int) else (_call(asked), None)
        fault = self._fault_injection.pick(rows, lambda fault: self._applies(fault, asked, now), now)
        if fault is None:
            return self._answer(asked, now)
        self.injected[fault.name] += 1
        return self._fail(fault, asked, now)

    def _let_through(self, now: float) -> bool:
        if self._rate is None:
            return True
        self._tokens_left = min(self._tokens_left + (now - self._filled_at) * self._rate, self._burst)
        self._filled_at = now
        if self._tokens_left < 1 - 1e-9:
            return False
        self._tokens_left -= 1
        return True

    def _applies(self, fault: Fault, asked: Asked, now: float) -> bool:
        """Whether `fault` can be acted out: some need a page or a record."""
        if fault.only not in {None, _call(asked)} or fault.name in OF_WEBHOOKS:
            return False
        of_page = fault.name in OF_LIST or (fault.name in OF_ANY_RECORD and isinstance(asked, ListPage))
        if of_page:
            return isinstance(asked, ListPage) and self._listing.applies(fault.name, asked, now)
        if fault.name not in OF_RECORDS | OF_ANY_RECORD:
            return True
        task = self.known(asked, now) if isinstance(asked, int) else None
        return task is not None and self._applies_to_record(fault.name, task, task.moment(now))

    def _applies_to_record(self, name: str, task: FakeTask, index: int) -> bool:
        """Whether there is what a fault of records needs: an earlier state, a running one, an image, another task."""
        status = task.life.moments[index].status
        match name:
            case "backwards":
                return index > 0
            case "other_task":
                return len(self.tasks) > 1
            case "no_image_yet":
                return status == "SUCCESS" and task.image_url(index) is not None
        return name != "stuck_progress" or status == "IN_PROGRESS"

    def _answer(self, asked: Asked, now: float) -> Reply:
        if isinstance(asked, ListPage):
            return self._envelope(now, 200, 200, "Success", data=self._listing.page(asked, now))
        if isinstance(asked, Submission):
            try:
                return self._envelope(now, 200, 200, "Success", data=b"%d" % self.create(asked, now))
            except Declined as declined:
                return self._envelope(now, 200, 400, str(declined))
        task = self.known(asked, now)
        if task is None:
            return self._envelope(now, 200, 400, f"the task {asked} was not found")
        return self._tell(task, task.record(task.moment(now)), now)

    def _tell(self, task: FakeTask, record: dict[str, Any], now: float) -> Reply:
        task.told = record.get("progress")
        return self._envelope(now, 200, 200, "Success", data=write(record))

    def _fail(self, fault: Fault, asked: Asked, now: float) -> Reply:
        name = fault.name
        if isinstance(asked, Submission) and name not in MAKES_NONE and (name in BODIES or name in ENVELOPES):
            self._answer(asked, now)  # The task is made, and then the answer is spoilt.
        if name in BODIES:
            status, content_type, body = BODIES[name]
            return Reply(status, {**self._headers(now, content_type), **self._hint(fault, now)}, body)
        if name in ENVELOPES:
            return self._envelope(now, *ENVELOPES[name], headers=self._hint(fault, now))
        if isinstance(asked, ListPage) and name in OF_LIST | OF_ANY_RECORD:
            return self._envelope(now, 200, 200, "Success", data=self._listing.spoil(name, asked, now))
        if isinstance(asked, int) and name in OF_RECORDS | OF_ANY_RECORD:
            return self._distort(fault, self.tasks[asked], now)
        if name == "odd_envelope":
            return _with_odd_envelope(self._answer(asked, now))
        delay = fault.seconds if name == "slow" else 0.0
        return self._answer(asked, now)._replace(delay=delay, act=ACTS.get(name))

    def _distort(self, fault: Fault, task: FakeTask, now: float) -> Reply:
        """Answer with a record that is wrong."""
        index, chance = task.moment(now), self._fault_injection.chance
        record = task.record(index)
        match fault.name:
            case "backwards":
                record = task.record(chance.randrange(index))
            case "other_task":
                task = self.tasks[chance.choice([task_id for task_id in self.tasks if task_id != task.id])]
                record = task.record(task.moment(now))
            case "no_image_yet":
                record |= {"imageDcUrl": None, "imageS3Url": None, "actions": None}
            case "unknown_status":
                ended = {"finishTime": None, "failReason": None, "imageDcUrl": None, "actions": None}
                record |= {**ended, "status": "PONDERING"}
            case "stuck_progress":
                record["progress"] = task.told or record.get("progress")
            case _:
                wrong = {**record, fault.field: fault.value} if fault.name == "wrong_type" else odd(fault.name, record)
                return self._envelope(now, 200, 200, "Success", data=write(wrong))
        return self._tell(task, record, now)

    # Webhooks.

    def webhook_calls(self, now: float) -> list[WebhookCall]:
        """Return the calls to webhooks that are due by `now`, save those that are lost; each is returned once."""
        calls = (self._webhook_call(due, now) for due in self.webhooks.take(now))
        return [call for call in calls if call]

    def _webhook_call(self, due: DueCall, now: float) -> WebhookCall | None:
        task, index, delay = due
        later = task.life.moments[index + 1 :]

        def applies(fault: Fault) -> bool:
            return fault.name in OF_WEBHOOKS and (fault.name != "webhook_swapped" or bool(later))

        fault = self._fault_injection.pick((webhook_row(task.id), "webhooks"), applies, now)
        if fault:
            self.injected[fault.name] += 1
            if fault.name == "webhook_lost":
                return None
            if fault.name == "webhook_swapped":
                delay = task.made + later[0].at - now + 2 * LATEST
            else:
                delay += fault.seconds
        return WebhookCall(task.webhook or "", write(task.record(index)), delay)

    def _hint(self, fault: Fault, now: float) -> dict[str, str]:
        match fault.name:
            case "rate_limited_seconds":
                return {"Retry-After": f"{fault.seconds:g}"}
            case "rate_limited_date":
                return {"Retry-After": self._date(now + fault.seconds)}
            case "rate_limited_zero":
                return {"Retry-After": "0"}
            case "rate_limited_huge":
                return {"Retry-After": "999999999"}
            case "redirect_301" | "redirect_308":
                return {"Location": MOVED_TO}
        return {}

    def _envelope(
        self,
        now: float,
        status: int,
        code: int,
        message: str,
        *,
        data: bytes = b"null",
        headers: Mapping[str, str] = {},
    ) -> Reply:
        body = b'{"statusCode":%d,"message":%b,"data":%b}' % (code, write(message), data)
        return Reply(status, {**self._headers(now, JSON), **headers}, body)

    def _headers(self, now: float, content_type: str) -> dict[str, str]:
        return {"Date": self._date(now), "Content-Type": content_type}

    def _date(self, now: float) -> str:
        return format_datetime(self.epoch + timedelta(seconds=now), usegmt=True)


def _with_odd_envelope(reply: Reply) -> Reply:
    answer = json.loads(reply.body)
    data = answer["data"]
    odd = {**answer, "statusCode": str(answer["statusCode"]), "data": str(data) if isinstance(data, int) else data}
    return reply._replace(body=write(odd))


def _call(asked: Asked) -> str:
    """Return the kind of call, as a fault's `only` names it."""
    if isinstance(asked, Submission):
        return "submissions"
    return "pages" if isinstance(asked, ListPage) else "queries"
