"""What creates a task: each submission as a request and as a value, and which task may have come of one.

Creating costs money, so all that can be wrong is found before anything is sent. How a submission is sent is
`exchange`'s business; images come as data URIs from `uploads`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar, get_args
from urllib.parse import quote_plus, unquote, urlsplit

import attrs

from omgmj.errors import SubmissionUncertain, UsageError
from omgmj.models import Action, Kind, Submission, Task
from omgmj.protocol.messages import JSON, SUBMISSIONS, Request
from omgmj.validation import brief

T = TypeVar("T")
Word = TypeVar("Word", bound=str)
Pool = Literal["NORMAL", "FAST"]
"""The resource pool that a new task runs in."""
POOLS: tuple[Pool, ...] = get_args(Pool)
Dimensions = Literal["PORTRAIT", "SQUARE", "LANDSCAPE"]
"""The shape of a blended image: 2:3, 1:1 or 3:2."""
DIMENSIONS: tuple[Dimensions, ...] = get_args(Dimensions)
BLEND_LEAST, BLEND_MOST = 2, 5
"""Images that a blend takes."""
_PATH = "/api/v1/ai/draw/mj/"
_SLICE = 384 * 1024
"""Characters of an image that are written in one go: the interpreter runs nothing else meanwhile."""
_SHOWN = 200
"""Characters of a prompt that a message shows."""
ACTION = "ACTION"
"""The kind of a submission that does an action; the task that comes of it is of another."""
_NO_ACTIONS = frozenset({Kind.IMAGINE, Kind.BLEND, Kind.DESCRIBE})
"""The kinds of tasks that come of no action, as far as known."""
_REGION = "Inpaint"
"""What the custom ID of the action Vary (Region) holds, the only one that takes a mask."""

# What kind of task an action makes, by what its custom ID holds; the first row that fits. The service's words for some
# are not documented, so a row may name several.
_KINDS: tuple[tuple[str, frozenset[str]], ...] = (
    ("upsample", frozenset({Kind.UPSCALE})),
    ("pan_variation", frozenset({Kind.PAN})),
    ("variation", frozenset({Kind.VARIATION})),
    ("reroll", frozenset({"REROLL", Kind.VARIATION, Kind.IMAGINE})),
    ("Outpaint", frozenset({Kind.ZOOM})),
    (_REGION, frozenset({Kind.VARIATION, "INPAINT"})),
)
_KNOWN = frozenset(Kind).union(*(kinds for _, kinds in _KINDS))


class Draft(NamedTuple):
    """A submission that was not sent yet: what goes to the service, and what is kept of it."""

    request: Request
    submission: Submission


def check_prompt(prompt: object) -> str:
    """Return a prompt; `UsageError` where it is none, or blank."""
    if not isinstance(prompt, str):
        raise UsageError(f"the prompt must be a string, not {type(prompt).__name__}")
    if not any(character.isprintable() and not character.isspace() for character in prompt):
        raise UsageError("the prompt is empty, or holds nothing that can be seen")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"the prompt cannot be sent: at {error.start} it holds half a character") from None
    return prompt


def check_pool(pool: object) -> Pool | None:
    """Return the name of a resource pool, None where it is left to the service; `UsageError` for another."""
    return _one_of("pool", pool, POOLS)


def check_dimensions(dimensions: object) -> Dimensions | None:
    """Return the shape of a blended image, None where it is left to the service; `UsageError` for another."""
    return _one_of("dimensions", dimensions, DIMENSIONS)


def check_webhook(url: object) -> str | None:
    """Return the URL of a webhook, None where there is none; `UsageError` where it is no http(s) URL."""
    if url is None:
        return None
    if not isinstance(url, str):
        raise UsageError(f"the webhook must be a URL as a string, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        is_good = False
    if not is_good or not url.isprintable() or " " in url:
        # Not quoted: a webhook may hold a secret in its path.
        raise UsageError("the webhook must be an http or https URL with a host, without spaces or control characters")
    return url


def imagine(prompt: str, *, pool: str | None, images: Sequence[str] = (), webhook: str | None = None) -> Draft:
    """Draft the call that makes a task of a prompt; `images` are data URIs."""
    request = _request("imagine", prompt=prompt, type=pool, base64Array=list(images) or None, webhook=webhook)
    return Draft(request, Submission(Kind.IMAGINE, prompt=prompt, pool=pool, images=len(images), webhook=webhook))


def act(parent: Task, action: Action, *, mask: str | None = None, webhook: str | None = None) -> Draft:
    """Draft the call that does an action of a finished task; `mask` is a data URI."""
    request = _request(
        "action",
        taskId=parent.id,
        customId=action.custom_id,
        type=parent.pool,
        base64Mask=mask,
        webhook=webhook,
    )
    kept = Submission(
        ACTION,
        prompt=parent.prompt,
        pool=parent.pool,
        parent_id=parent.id,
        custom_id=action.custom_id,
        images=int(mask is not None),
        webhook=webhook,
    )
    return Draft(request, kept)


def blend(images: Sequence[str], *, dimensions: str | None, pool: str | None, webhook: str | None = None) -> Draft:
    """Draft the call that mixes images, given as data URIs."""
    request = _request("blend", base64Array=list(images), dimensions=dimensions, type=pool, webhook=webhook)
    return Draft(request, Submission(Kind.BLEND, pool=pool, images=len(images), webhook=webhook))


def describe(image: str, *, pool: str | None, webhook: str | None = None) -> Draft:
    """Draft the call that makes prompts of an image, given as a data URI."""
    request = _request("describe", base64=image, type=pool, webhook=webhook)
    return Draft(request, Submission(Kind.DESCRIBE, pool=pool, images=1, webhook=webhook))


def choose_action(task: Task, action: Action | str) -> Action:
    """Return the action of `task` that is meant: itself, or by its label, emoji or custom ID.

    `UsageError` where the task offers none, not this one, or several that the name fits; it lists those there are.
    """
    check_action(action)
    actions = [one for one in task.actions if one.custom_id]  # By it alone an action can be sent.
    if not actions:
        why = "" if task.succeeded else f" while it is {task.status}; only one that has succeeded does"
        raise UsageError(f"task {task.id} offers no actions{why}")
    if isinstance(action, Action):
        fitting = [one for one in actions if one.custom_id == action.custom_id]
    else:
        fitting = [one for one in actions if action == one.custom_id]
        fitting = fitting or [one for one in actions if action in (one.label, one.emoji)]
    if len({one.custom_id for one in fitting}) == 1:
        return fitting[0]
    asked = action.label or action.emoji or action.custom_id if isinstance(action, Action) else action
    what = "several actions" if fitting else "no action"
    offered = ", ".join(_shown(one) for one in fitting or actions)
    raise UsageError(f"task {task.id} offers {what} {brief(asked)}; there are: {offered}")


def check_action(action: object) -> None:
    """Raise `UsageError` for what cannot name an action."""
    if not isinstance(action, Action | str) or not action:
        raise UsageError(f"an action is an Action, a label, an emoji or a custom ID, not {brief(action)}")


def check_mask(action: Action) -> None:
    """Raise `UsageError` where an action takes no mask."""
    if _REGION not in action.custom_id:
        raise UsageError(f"a mask goes with Vary (Region) only, not with {_shown(action)}")


def check_blend(images: list[T]) -> list[T]:
    """Return the images of a blend; `UsageError` where they are too few or too many."""
    if not BLEND_LEAST <= len(images) <= BLEND_MOST:
        raise UsageError(f"a blend takes {BLEND_LEAST} to {BLEND_MOST} images, not {len(images)}")
    return images


def bears_webhook(task: Task, submission: Submission) -> bool | None:
    """Whether a task has the webhook of a submission; None where one of them tells none.

    The service lists the URL as it was given [S]; spellings that mean the same are taken for one.
    """
    sent, listed = (_place(url) if url else None for url in (submission.webhook, task.webhook_url))
    return None if sent is None or listed is None else sent == listed


def fits(task: Task, submission: Submission) -> bool:
    """Whether a task may have come of a submission, by its webhook, kind, prompt and action; its time is no matter."""
    if bears_webhook(task, submission) is False:
        return False
    is_known = task.kind in _KNOWN  # Another word may mean anything.
    if submission.kind != ACTION:
        if is_known and task.kind != submission.kind:
            return False
        if submission.kind != Kind.IMAGINE or submission.prompt is None:
            return True
        wanted = _words(submission.prompt)
        return any(_tells(_words(said), wanted) for said in (task.prompt, task.description) if said)
    kinds = next((kinds for part, kinds in _KINDS if part in (submission.custom_id or "")), None)
    if is_known and (task.kind not in kinds if kinds else task.kind in _NO_ACTIONS):
        return False
    return not submission.prompt or not task.prompt or _words(task.prompt) == _words(submission.prompt)


def kind_made(submission: Submission) -> str:
    """Return the kind of task that a submission makes, as far as it tells: of an action the word in its custom ID."""
    if submission.kind != ACTION:
        return submission.kind
    return next((part for part, _ in _KINDS if part in (submission.custom_id or "")), ACTION)


def sought(error: SubmissionUncertain | None, prompt: str | None, action: Action | str | None) -> Submission:
    """Return what to search for: an error's, or what a prompt or an action made; `UsageError` unless it is just one."""
    if sum(given is not None for given in (error, prompt, action)) != 1:
        raise UsageError("give reconcile a SubmissionUncertain, or a prompt or an action together with since")
    if error is not None:
        submission = error.submission if isinstance(error, SubmissionUncertain) else None
        if submission is None:
            raise UsageError(f"reconcile takes a SubmissionUncertain that tells what was sent, not {brief(error)}")
        return submission
    if prompt is not None:
        return Submission(Kind.IMAGINE, prompt=check_prompt(prompt))
    check_action(action)
    return Submission(ACTION, custom_id=action.custom_id if isinstance(action, Action) else action)


def text(submission: Submission, *, whole: bool = False) -> str:
    """Say what was sent, in a few words or as a `whole`; never a webhook, which may hold a secret."""
    said = attrs.asdict(submission, filter=lambda field, value: field.name not in _UNSAID and value not in (None, 0))
    facts = ", ".join(f"{name} {ascii(value) if whole else _cut(value)}" for name, value in said.items())
    when = f" at {submission.sent_at:%Y-%m-%d %H:%M:%S} UTC" if submission.sent_at else ""
    return f"{submission.kind}{when} ({facts})"


_UNSAID = ("kind", "sent_at", "served_at", "webhook")


def _cut(value: str | int) -> str:
    return ascii(value if isinstance(value, int) or len(value) <= _SHOWN else f"{value[:_SHOWN]}…")


def _place(url: str) -> tuple[str, ...] | None:
    """Return what the spellings of a URL have in common, None where it is none, such as a masked one."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if not parts.scheme or not parts.netloc:
        return None
    return parts.scheme, parts.netloc.lower(), unquote(parts.path).rstrip("/"), unquote(parts.query)


def _one_of(name: str, value: object, words: tuple[Word, ...]) -> Word | None:
    if value is None:
        return None
    for word in words:
        if value == word:
            return word
    raise UsageError(f"{name} must be one of {', '.join(words)}, or None; not {brief(value)}")


def _shown(action: Action) -> str:
    name = action.label or action.emoji
    return f"{name} ({action.custom_id})" if name else action.custom_id


def _words(said: str) -> str:
    return " ".join(re.sub(r"^/imagine\s+(prompt:)?", "", said.strip()).split())


def _tells(said: str, wanted: str) -> bool:
    """Whether a record's words are those of a prompt; reference images stand before it, as URLs."""
    if not said.endswith(wanted):
        return False
    before = said[: len(said) - len(wanted)]
    return not before or (before.endswith(" ") and all("://" in word for word in before.split()))


def _request(name: str, **fields: _Value | None) -> Request:
    """Write a submission: as JSON where it carries images, which is what the service recommends [D], else as a form."""
    given = {"model": "midjourney", **{key: value for key, value in fields.items() if value is not None}}
    if _IMAGES & given.keys():
        return Request("POST", _PATH + name, _json(given), idempotent=False, content_type=JSON, subject=SUBMISSIONS)
    form = "&".join(f"{key}={_quoted(key, str(value))}" for key, value in given.items())
    return Request("POST", _PATH + name, form.encode(), idempotent=False, subject=SUBMISSIONS)


_Value = str | int | list[str]
_IMAGES = frozenset({"base64", "base64Array", "base64Mask"})


def _quoted(key: str, value: str) -> str:
    try:
        return quote_plus(value)
    except UnicodeEncodeError:
        raise UsageError(f"{key} cannot be sent: it holds half a character") from None


def _json(fields: Mapping[str, _Value]) -> bytearray:
    # Grown piece by piece, as there may be many megabytes: made in one go they would hold up the interpreter.
    body = bytearray()
    for key, value in fields.items():
        body += b'%b"%b":' % (b"," if body else b"{", key.encode())
        if isinstance(value, list):
            for number, image in enumerate(value):
                body += b"," if number else b"["
                _add_text(body, image)
            body += b"]"
        elif isinstance(value, str):
            if key not in _IMAGES:
                _quoted(key, value)  # Refused here as in a form.
            _add_text(body, value)
        else:
            body += b"%d" % value
    body += b"}"
    return body


def _add_text(body: bytearray, text: str) -> None:
    """Write a text in ASCII."""
    body += b'"'
    for start in range(0, len(text), _SLICE):
        body += json.dumps(text[start : start + _SLICE])[1:-1].encode()
    body += b'"'
