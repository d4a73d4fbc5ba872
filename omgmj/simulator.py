"""The make-believe service, pure: what it answers to a request at `now`, and what goes wrong on purpose.

It imports neither `protocol` nor `codec` and has its own copy of the service's contract, so that two mistakes do not
cancel out. It is strict about what it is sent: what is not to the letter is refused and recorded. It answers to queries
and shows the list of tasks. Moving bytes, waiting and breaking connections are left to `testing`.
"""

from __future__ import annotations

import math
import random
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal, NamedTuple, get_args

import attrs

from omgmj.errors import UsageError
from omgmj.faults import BODIES, ENVELOPES, JSON, OF_LIST, OF_RECORDS, Fault, FaultShares, as_fault, check_shares
from omgmj.intake import LIST, ListPage, Refusal, read_request, scrub
from omgmj.listing import Listing, write
from omgmj.lives import KINDS, POOLS, PRESETS, PROMPTS, FakeTask, Life, Lives, check_number

FIRST_ID = 3432
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""What the service's clock shows at 0 seconds, unless it is told otherwise."""

# How a fault is told to whoever moves the bytes: what to do with the connection beside, or instead of, answering.
Act = Literal["drop_before_headers", "drop_after_headers", "cut_short", "bad_chunk", "silence"]
_ACTS: Mapping[str, Act] = {act: act for act in get_args(Act)}


class Reply(NamedTuple):
    """What is answered: after `delay` seconds, and with `act` done to the connection where it is not None."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    delay: float = 0.0
    act: Act | None = None


@attrs.define
class _Order:
    """A fault asked for by hand, `left` times, or until it is called off where that is None."""

    fault: Fault
    left: int | None


class Simulator:
    """The service. Times are seconds on a clock of the caller's that begins at 0, where the service's shows `epoch`.

    `rate` and `burst` are its own limiter, a token bucket in requests a second; above it the answer is 429, with
    `retry_after` seconds where that is given. `faults` gives each fault the share of requests that it befalls.
    `foreign_share` of the tasks are others of the account, mixed in as tasks are made. The list shows each task as it
    was `list_lag` seconds ago.
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
    ) -> None:
        if isinstance(lives, str) and lives not in PRESETS:
            raise UsageError(f"there are no lives {lives!r}; there are: {', '.join(PRESETS)}")
        if epoch.tzinfo is None:
            raise UsageError("epoch must be a datetime with a time zone")
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
        self.tasks: dict[int, FakeTask] = {}
        self.foreign: dict[int, FakeTask] = {}
        """Those of the tasks that nobody watches."""
        self._lives = PRESETS[lives] if isinstance(lives, str) else lives
        self._life_chance = random.Random(f"lives {seed}")
        # Apart, so that the lives of the other tasks are the same for any share.
        self._foreign_chance = random.Random(f"foreign {seed}")
        self._foreign_share = check_number("foreign_share", foreign_share, most=0.999)
        self._listing = Listing(check_number("list_lag", list_lag))
        self._fault_chance = random.Random(f"faults {seed}")
        self._epoch = epoch.astimezone(UTC)
        self._rate = rate
        self._burst = check_number("burst", burst, least=1, whole=True)
        self._tokens_left = float(burst)
        self._filled_at = 0.0
        self._retry_after = retry_after
        self._shares = check_shares(faults or {})
        self._orders: dict[int | str | None, deque[_Order]] = {}
        self._down_until = -math.inf
        self._next_id = FIRST_ID
        self._images: dict[str, FakeTask] = {}

    def add_task(
        self,
        life: Life | None = None,
        *,
        now: float,
        task_id: int | None = None,
        prompt: str = "a cat in the rain --ar 16:9",
        kind: str = "IMAGINE",
        pool: str = "NORMAL",
        fails: bool | None = None,
        unknown_for: float = 0.0,
    ) -> int:
        """Make a task at `now` and return its ID; without a `life` one is drawn, that fails if `fails` says so.

        For `unknown_for` seconds the service does not know the ID yet.
        """
        if task_id is None:
            task_id = self._next_id
        if isinstance(task_id, bool) or not isinstance(task_id, int) or not 0 < task_id < 2**63:
            raise UsageError(f"a task's ID must be a whole number from 1 and below 2**63, not {task_id!r}")
        if task_id in self.tasks:
            raise UsageError(f"there is a task {task_id} already")
        if kind not in KINDS:
            raise UsageError(f"there is no kind {kind!r} of task; there are: {', '.join(KINDS)}")
        if pool not in POOLS:
            raise UsageError(f"there is no pool {pool!r}; there are: {', '.join(POOLS)}")
        if life is None:
            life = self._lives.draw(self._life_chance, fails=fails)
        elif fails is not None:
            raise UsageError("fails is for a life that is drawn; script it with Life.fail")
        image = uuid.UUID(int=self._life_chance.getrandbits(128), version=4)
        known_from = now + check_number("unknown_for", unknown_for)
        self._add(FakeTask(task_id, life, now, self._epoch, image, prompt, kind, pool, known_from))
        while self._foreign_chance.random() < self._foreign_share:
            self._add_foreign(now)
        return task_id

    def add_foreign(self, count: int, *, now: float) -> list[int]:
        """Make `count` tasks at `now` that nobody watches."""
        check_number("the number of tasks", count, whole=True)
        return [self._add_foreign(now) for _ in range(count)]

    def _add_foreign(self, now: float) -> int:
        chance = self._foreign_chance
        life, image = self._lives.draw(chance), uuid.UUID(int=chance.getrandbits(128), version=4)
        prompt = PROMPTS[len(self.foreign) % len(PROMPTS)]
        task = FakeTask(self._next_id, life, now, self._epoch, image, prompt, "IMAGINE", "NORMAL", now)
        self.foreign[task.id] = task
        self._add(task)
        return task.id

    def _add(self, task: FakeTask) -> None:
        self.tasks[task.id] = task
        self._images[task.image_url] = task
        self._next_id = max(self._next_id, task.id + 1)
        self._listing.add(task)

    @property
    def list_lag(self) -> float:
        """How many seconds the list lags behind; may be changed at any time."""
        return self._listing.lag

    @list_lag.setter
    def list_lag(self, seconds: float) -> None:
        self._listing.lag = check_number("list_lag", seconds)

    def add_tasks(self, count: int, *, now: float, failing: int = 0) -> list[int]:
        """Make `count` tasks with drawn lives at `now`; `failing` of them, drawn too, fail and all others succeed.

        With `failing` 0 the lives' own share of failures counts.
        """
        check_number("the number of tasks", count, whole=True)
        check_number("failing", failing, most=count, whole=True)
        doomed = set(self._life_chance.sample(range(count), failing))
        return [
            self.add_task(now=now, prompt=PROMPTS[n % len(PROMPTS)], fails=n in doomed if failing else None)
            for n in range(count)
        ]

    def inject(self, fault: str | Fault, *, times: int | None = 1, task_id: int | None = None) -> None:
        """Let `fault` befall the next `times` requests, or those for `task_id` only; None: until `heal`.

        What is asked for one after the other happens one after the other; faults of the list are a row of their own.
        """
        fault = as_fault(fault)
        if times is not None:
            check_number("times", times, least=1, whole=True)
        if task_id is not None and task_id not in self.tasks:
            raise UsageError(f"there is no task {task_id!r}")
        if task_id is not None and fault.name in OF_LIST:
            raise UsageError(f"{fault.name} befalls a page of the list, not a single task")
        key = LIST if fault.name in OF_LIST else task_id
        self._orders.setdefault(key, deque()).append(_Order(fault, times))

    def outage(self, until: float) -> None:
        """Drop every connection until the clock shows `until` seconds."""
        self._down_until = check_number("until", until)

    def heal(self) -> None:
        """Call off every fault, those asked for by hand and those by share, and any outage."""
        self._orders.clear()
        self._shares.clear()
        self.down = False
        self._down_until = -math.inf

    def image(self, url: str, now: float) -> FakeTask | None:
        """Return the task whose image lies at `url` by `now`; None where there is none."""
        task = self._images.get(url)
        return task if task and task.record(task.moment(now))["imageDcUrl"] == url else None

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
            return self._envelope(now, refusal.status, refusal.status, reason)
        if isinstance(asked, ListPage):
            self.pages[asked.number] += 1
        else:
            self.asked[asked] += 1
        fault = self._pick_fault(asked, now)
        if fault is None:
            return self._answer(asked, now)
        self.injected[fault.name] += 1
        return self._fail(fault, asked, now)

    def _known(self, task_id: int, now: float) -> FakeTask | None:
        task = self.tasks.get(task_id)
        return task if task and now >= task.known_from else None

    def _let_through(self, now: float) -> bool:
        if self._rate is None:
            return True
        self._tokens_left = min(self._tokens_left + (now - self._filled_at) * self._rate, self._burst)
        self._filled_at = now
        if self._tokens_left < 1 - 1e-9:
            return False
        self._tokens_left -= 1
        return True

    def _pick_fault(self, asked: int | ListPage, now: float) -> Fault | None:
        """Return what goes wrong: what was asked for this ID, or for the list, for any, or what chance brings."""
        for key in (LIST if isinstance(asked, ListPage) else asked, None):
            orders = self._orders.get(key)
            if orders and self._applies(orders[0].fault, asked, now):
                order = orders[0]
                if order.left is not None:
                    order.left -= 1
                    if not order.left:
                        orders.popleft()
                return order.fault
        if self._shares:
            roll = self._fault_chance.random()
            for fault, share in self._shares.items():
                roll -= share
                if roll < 0:
                    return fault if self._applies(fault, asked, now) else None
        return None

    def _applies(self, fault: Fault, asked: int | ListPage, now: float) -> bool:
        """Whether `fault` can be acted out: some need a record, an earlier state of it, or one that runs."""
        if fault.name in OF_LIST:
            return isinstance(asked, ListPage) and self._listing.applies(fault.name, asked, now)
        if fault.name not in OF_RECORDS:
            return True
        task = None if isinstance(asked, ListPage) else self._known(asked, now)
        if task is None:
            return False
        index = task.moment(now)
        if fault.name == "backwards":
            return index > 0
        return fault.name != "stuck_progress" or task.life.moments[index].status == "IN_PROGRESS"

    def _answer(self, asked: int | ListPage, now: float) -> Reply:
        if isinstance(asked, ListPage):
            return self._envelope(now, 200, 200, "Success", data=self._listing.page(asked, now))
        task = self._known(asked, now)
        if task is None:
            return self._envelope(now, 200, 400, f"the task {asked} was not found")
        return self._tell(task, task.record(task.moment(now)), now)

    def _tell(self, task: FakeTask, record: dict[str, Any], now: float) -> Reply:
        task.told = record["progress"]
        return self._envelope(now, 200, 200, "Success", data=write(record))

    def _fail(self, fault: Fault, asked: int | ListPage, now: float) -> Reply:
        name = fault.name
        if name in BODIES:
            status, content_type, body = BODIES[name]
            return Reply(status, self._headers(now, content_type), body)
        if name in ENVELOPES:
            return self._envelope(now, *ENVELOPES[name], headers=self._hint(fault, now))
        if isinstance(asked, ListPage) and name in OF_LIST:
            return self._envelope(now, 200, 200, "Success", data=self._listing.spoil(name, asked, now))
        if isinstance(asked, int) and name in OF_RECORDS:
            return self._distort(fault, self.tasks[asked], now)
        delay = fault.seconds if name == "slow" else 0.0
        return self._answer(asked, now)._replace(delay=delay, act=_ACTS.get(name))

    def _distort(self, fault: Fault, task: FakeTask, now: float) -> Reply:
        """Answer with a record that is wrong."""
        index = task.moment(now)
        record = task.record(index)
        if fault.name == "backwards":
            return self._tell(task, task.record(self._fault_chance.randrange(index)), now)
        if fault.name == "wrong_type":
            return self._envelope(now, 200, 200, "Success", data=write({**record, fault.field: fault.value}))
        if fault.name == "unknown_status":
            ended = {"finishTime": None, "failReason": None, "imageDcUrl": None, "actions": None}
            return self._tell(task, {**record, **ended, "status": "PONDERING"}, now)
        return self._tell(task, {**record, "progress": task.told or record["progress"]}, now)

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
        return format_datetime(self._epoch + timedelta(seconds=now), usegmt=True)
