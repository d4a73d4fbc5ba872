"""The make-believe account: its tasks, those made by hand and those that requests make, its list and its images.

Pure. Requests are read in `endpoints` and answered in `simulator`; lives are made in `lives`.
"""

from __future__ import annotations

import random
import re
import uuid
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from omgmj.errors import UsageError
from omgmj.testing.service.actions import KINDS, makes_square, quarter_of
from omgmj.testing.service.endpoints import ACTION, BLEND, DESCRIBE, DIMENSIONS, Submission, is_web
from omgmj.testing.service.fake_task import CDN, FakeTask, check_variants, main_path
from omgmj.testing.service.lives import POOLS, PRESETS, PROMPTS, Life, Lives, check_number, with_submitted
from omgmj.testing.service.task_list import TaskList
from omgmj.testing.service.webhooks import Webhooks

FIRST_ID = 3432
BANNED = frozenset({"banned", "forbidden"})
"""Words in a prompt that make an imagined task fail a second after it was made."""
DESCRIBED = "\n\n".join(f"{number}\ufe0f\u20e3 {prompt}" for number, prompt in enumerate(PROMPTS[:4], 1))
"""The texts that a DESCRIBE finds in any image."""


class Created(NamedTuple):
    """A task that a request made, whether its answer arrived or not.

    `kind` is the record's `action`, `at` when it was made, in seconds. `fields` are the form's, save `model`; for each
    image there stands what it was, such as `image/png of 68 bytes`, and `base64Array` is a tuple of those.
    """

    task_id: int
    kind: str
    at: float
    fields: Mapping[str, str | tuple[str, ...]]


class FakeImage(NamedTuple):
    """The image of a task, as a PNG."""

    task_id: int
    content: bytes


class Declined(Exception):
    """No task is made, though the request was to the letter."""


class Account:
    """The tasks. Times are seconds on a clock of the caller's that begins at 0, where the service's shows `epoch`."""

    def __init__(
        self,
        *,
        lives: str | Lives,
        seed: int,
        foreign_share: float,
        list_lag: float,
        epoch: datetime,
        variants: Iterable[str],
    ) -> None:
        if isinstance(lives, str) and lives not in PRESETS:
            raise UsageError(f"there are no lives {lives!r}; there are: {', '.join(PRESETS)}")
        if not isinstance(lives, str | Lives):
            raise UsageError(f"lives must be a name or a Lives, not {lives!r}")
        if not isinstance(epoch, datetime) or epoch.tzinfo is None:
            raise UsageError("epoch must be a datetime with a time zone")
        self.tasks: dict[int, FakeTask] = {}
        self.foreign: dict[int, FakeTask] = {}
        """Those of the tasks that nobody watches."""
        self.created: list[Created] = []
        """What requests made, in that order."""
        self.epoch: datetime = epoch.astimezone(UTC)
        self.webhooks: Webhooks = Webhooks(seed)
        """The calls that are to be made to tasks' webhooks."""
        self._variants = check_variants(variants)
        self._listing = TaskList(check_number("list_lag", list_lag))
        self._lives = PRESETS[lives] if isinstance(lives, str) else lives
        self._life_chance = random.Random(f"lives {seed}")
        # Apart, so that the lives of the other tasks are the same for any share.
        self._foreign_chance = random.Random(f"foreign {seed}")
        self._foreign_share = check_number("foreign_share", foreign_share, most=0.999)
        self._plans: deque[tuple[Life | None, float]] = deque()
        self._next_id = FIRST_ID
        self._images: dict[str, FakeTask] = {}
        self._image_base = CDN

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
        webhook: str | None = None,
        shape: tuple[int, int] | None = None,
        upscaled: tuple[uuid.UUID, int] | None = None,
        variants: Iterable[str] | None = None,
    ) -> int:
        """Make a task at `now` and return its ID; without a `life` one is drawn, that fails if `fails` says so.

        For `unknown_for` seconds the service does not know the ID yet. `shape`, `upscaled` and `variants` are those of
        `FakeTask`; without `variants` they are the account's.
        """
        if task_id is None:
            task_id = self._next_id
        if isinstance(task_id, bool) or not isinstance(task_id, int) or not 0 < task_id < 2**63:
            raise UsageError(f"a task's ID must be a whole number from 1 and below 2**63, not {task_id!r}")
        if task_id in self.tasks:
            raise UsageError(f"there is a task {task_id} already")
        _check_facts(kind, prompt, pool, webhook)
        chosen = self._variants if variants is None else check_variants(variants)
        _check_life(life)
        if life is None:
            life = self._lives.draw(self._life_chance, fails=fails)
        elif fails is not None:
            raise UsageError("fails is for a life that is drawn; script it with Life.fail")
        image = uuid.UUID(int=self._life_chance.getrandbits(128), version=4)
        known_from = now + check_number("unknown_for", unknown_for)
        task = FakeTask(task_id, life, now, self.epoch, image, prompt, kind, pool, known_from, webhook, chosen)
        task.shape, task.upscaled = shape, upscaled
        self._add(task)
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
        task = FakeTask(self._next_id, life, now, self.epoch, image, prompt, "IMAGINE", "NORMAL", now)
        task.variants = self._variants
        self.foreign[task.id] = task
        self._add(task)
        return task.id

    def _add(self, task: FakeTask) -> None:
        task.image_base = self._image_base
        if "submitted" in task.variants:
            task.life = with_submitted(task.life)
        self.tasks[task.id] = task
        self._images[task.image_path] = task
        self._next_id = max(self._next_id, task.id + 1)
        self._listing.add(task)
        self.webhooks.add(task)

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

    def known(self, task_id: int, now: float) -> FakeTask | None:
        """Return the task if the service knows it by `now`."""
        task = self.tasks.get(task_id)
        return task if task and now >= task.known_from else None

    # What requests make.

    def plan(self, life: Life | None, *, unknown_for: float) -> None:
        """Let the next task that a request makes live so; None: drawn. One call counts for one task."""
        _check_life(life)
        self._plans.append((life, check_number("unknown_for", unknown_for)))

    def create(self, asked: Submission, now: float) -> int:
        """Make the task that is asked for and return its ID; `Declined` where it cannot be."""
        kind, prompt, shape, upscaled = asked.kind, asked.text("prompt"), None, None
        if asked.path == ACTION:
            parent, custom_id = self._parent(asked, now), asked.text("customId")
            prompt = parent.prompt
            shape = (1, 1) if makes_square(custom_id) else parent.shape
            upscaled = (parent.image, quarter_of(custom_id)) if kind == "UPSCALE" else None
        elif asked.path == BLEND:
            shape = DIMENSIONS[asked.text("dimensions") or "SQUARE"]
        elif asked.path == DESCRIBE:
            prompt = DESCRIBED
        life, unknown_for = self._plans.popleft() if self._plans else (None, 0.0)
        task_id = self.add_task(
            life or _destined(asked),
            now=now,
            prompt=prompt,
            kind=kind,
            pool=asked.pool,
            unknown_for=unknown_for,
            webhook=asked.text("webhook") or None,
            shape=shape,
            upscaled=upscaled,
        )
        self.created.append(Created(task_id, kind, now, asked.fields))
        return task_id

    def _parent(self, asked: Submission, now: float) -> FakeTask:
        """Return the task that is acted on, if it can be."""
        task = self.known(int(asked.text("taskId")), now)
        if task is None:
            raise Declined(f"the task {asked.text('taskId')} was not found")
        record = task.record(task.moment(now))
        if record["status"] != "SUCCESS":
            raise Declined(f"the task {task.id} has not succeeded; it can be acted on when it has")
        if asked.text("customId") not in {action["customId"] for action in record.get("actions") or ()}:
            raise Declined(f"the task {task.id} does not offer this customId")
        if asked.pool != task.pool:
            raise Declined(f"type must be that of the task {task.id}, {task.pool}")
        return task

    # Images.

    def show_images_at(self, base: str) -> None:
        """Let all records tell their images under `base`, a URL without a path."""
        self._image_base = base
        for task in self.tasks.values():
            task.image_base = base
        self._listing.forget()

    def image(self, url: str, now: float) -> FakeImage | None:
        """Return the image that lies at `url`, or at that path, by `now`; None where there is none."""
        place, _, query = url.partition("?")
        path = place.removeprefix(CDN).removeprefix(self._image_base)
        task = self._images.get(main_path(path))
        content = task.picture(path, query, now) if task else None
        return FakeImage(task.id, content) if task and content else None


def _check_facts(kind: str, prompt: str, pool: str, webhook: str | None) -> None:
    if kind not in KINDS:
        raise UsageError(f"there is no kind {kind!r} of task; there are: {', '.join(KINDS)}")
    if not isinstance(prompt, str):
        raise UsageError(f"a prompt must be a string, not {prompt!r}")
    if pool not in POOLS:
        raise UsageError(f"there is no pool {pool!r}; there are: {', '.join(POOLS)}")
    if webhook is not None and not is_web(webhook):
        raise UsageError("a webhook must be an http or https URL")


def _check_life(life: object) -> None:
    if not isinstance(life, Life | None):
        raise UsageError(f"a life must be a Life, such as Life.succeed makes, not {life!r}")


def _destined(asked: Submission) -> Life | None:
    """Return the life that what was asked for leads to; None where it may be any."""
    banned = sorted(BANNED.intersection(re.findall(r"\w+", asked.text("prompt").lower())))
    if banned:
        return Life.fail(after=1.0, reason=f"The prompt has a banned word: {banned[0]}.", steps=())
    if "::Inpaint::" in asked.text("customId") and not asked.text("base64Mask"):
        return Life.steps([(0, "MODAL", None)])
    return None
