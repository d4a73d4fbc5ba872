"""What costs money: a session creates tasks, and searches for those whose answers were lost."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial

from omgmj.errors import SubmissionUncertain
from omgmj.images.uploads import Image, check_image, check_images
from omgmj.models import Action, Reconciled, Task, Unsettled
from omgmj.protocol import submissions
from omgmj.protocol.submissions import (
    Dimensions,
    Pool,
    check_action,
    check_blend,
    check_dimensions,
    check_mask,
    check_pool,
    check_prompt,
    check_webhook,
    choose_action,
    sought,
)
from omgmj.session.reading import Reading
from omgmj.validation import check_seconds


class Creating(Reading):
    """What creates tasks."""

    async def imagine(
        self,
        prompt: str,
        *,
        pool: Pool | None = None,
        images: Iterable[Image] = (),
        webhook: str | None = None,
        context: object = None,
    ) -> int:
        """Create a task from a prompt and return its ID; wait for it with `wait`.

        `pool` is NORMAL or FAST; None leaves it to the service, FAST. `images` are references: bytes, paths or data
        URIs of PNG, JPEG, WebP or GIF, 20 MiB each at most. `webhook` is a URL for the service to tell of the task:
        here its first poll comes when `notify` hears of its end, else after 60 seconds.
        `context` is a JSON value of yours, kept in the session's journal with the task: `Watch.context` returns it.

        Creating costs money, so it is sent again only if the service surely has not read it. `SubmissionUncertain` (the
        answer was lost) carries what was sent: `reconcile` searches for the task. `ServiceError`, `AuthError`,
        `RateLimited`, `TransportError` and `UsageError` say that nothing was created, and so does `SessionClosed`,
        unless the session is closed meanwhile.

            task_id = await session.imagine("a cat in the rain --ar 16:9")
        """
        prompt, pool, webhook = check_prompt(prompt), check_pool(pool), check_webhook(webhook)
        draft = partial(submissions.imagine, prompt, pool=pool, webhook=webhook)
        return await self._open().submit(lambda uris: draft(images=uris), check_images(images), context)

    async def act(
        self,
        task: Task | int | str,
        action: Action | str,
        *,
        mask: Image | None = None,
        webhook: str | None = None,
        context: object = None,
    ) -> int:
        """Do an action of a finished task and return the new task's ID.

        `task` is its record, or its ID, which is queried first. `action` is one of its actions, or the label (`"U1"`),
        emoji or custom ID of one; Vary (Region) takes a `mask`. Errors are those of `imagine`, `SessionClosed` too, and
        of `query` for an ID; the `UsageError` for an action that is not on offer lists what is.

            task_id = await session.act(3432, "U1")
        """
        check_action(action)
        webhook = check_webhook(webhook)
        masks = [] if mask is None else [check_image(mask, "mask")]
        engine = self._open()
        parent = task if isinstance(task, Task) else await self.query(task)
        chosen = choose_action(parent, action)
        if masks:
            check_mask(chosen)
        return await engine.submit(
            lambda uris: submissions.act(parent, chosen, mask=uris[0] if uris else None, webhook=webhook),
            masks,
            context,
        )

    async def blend(
        self,
        images: Iterable[Image],
        *,
        dimensions: Dimensions | None = None,
        pool: Pool | None = None,
        webhook: str | None = None,
        context: object = None,
    ) -> int:
        """Create a task that mixes 2 to 5 images, and return its ID; arguments as for `imagine`.

        `dimensions` is PORTRAIT, SQUARE or LANDSCAPE; None leaves it to the service. Errors are those of `imagine`,
        `UsageError` and `SessionClosed` too.

            task_id = await session.blend([Path("cat.png"), Path("dog.png")])
        """
        dimensions, pool, webhook = check_dimensions(dimensions), check_pool(pool), check_webhook(webhook)
        draft = partial(submissions.blend, dimensions=dimensions, pool=pool, webhook=webhook)
        return await self._open().submit(draft, check_blend(check_images(images)), context)

    async def describe(
        self, image: Image, *, pool: Pool | None = None, webhook: str | None = None, context: object = None
    ) -> int:
        """Create a task that finds prompts for an image, in its final record's `prompt`, and return its ID.

        Arguments and errors are those of `imagine`, `UsageError` and `SessionClosed` too.

            task_id = await session.describe(Path("cat.png"))
        """
        pool, webhook = check_pool(pool), check_webhook(webhook)
        return await self._open().submit(
            lambda uris: submissions.describe(uris[0], pool=pool, webhook=webhook),
            [check_image(image, "image")],
            context,
        )

    async def reconcile(
        self,
        error: SubmissionUncertain | None = None,
        *,
        prompt: str | None = None,
        action: Action | str | None = None,
        since: datetime | None = None,
        wait: float = 0.0,
    ) -> Reconciled:
        """Search the account's latest tasks for what may have become of a submission; newest first.

        Give the `error`, or what was sent: a `prompt`, or an `action` or its custom ID, and `since` when, an aware
        datetime by this machine's clock. Tasks fit by kind, prompt and time; those known to be the answers to this
        session's other submissions are left out, but not those still under way. A `webhook` with a token of its own
        tells the task for certain; others are left out by theirs. None: the service created none, or does not list it
        yet: for up to `wait` seconds it is searched for again. Several: the same was sent more than once. The list's
        `looked_back_to` tells how far the search went. Errors are those of `page`, `UsageError` and `SessionClosed`
        too.

            found = await session.reconcile(prompt="a cat in the rain", since=sent_at, wait=60)
        """
        submission, wait = sought(error, prompt, action), check_seconds("wait", wait, zero=True)
        return await self._open().reconcile(submission, since, wait)

    async def unsettled(self) -> list[Unsettled]:
        """Return the submissions in the journal that may have made a task nobody knows of: what an earlier run left.

        Each is told with the tasks that may have come of it, searched for as by `reconcile`, and with its context. It
        stands in the journal until it is forgotten. Errors are those of `reconcile`, `UsageError` and `SessionClosed`
        too; `JournalError` where the journal cannot be read.

            for lost in await session.unsettled():
                print(lost.submission, [task.id for task in lost.found])
        """
        return await self._open().unsettled()
