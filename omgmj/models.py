"""The values that users hold: tasks, actions, statuses, and the table of which status ends a task.

All are immutable and hashable. What a record's fields are on the wire, and how they are read, is `records`' business.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import attrs
import cattrs

from omgmj.enums import STATUS_ORDER, TERMINAL, Kind, Status
from omgmj.errors import DecodeError, TaskFailed, UsageError
from omgmj.records import ACTION, SOURCE, UNTOLD, Oddities, Reader, bare_record, read_record, register, task_table
from omgmj.wire_values import WrongFieldError, short

__all__ = [
    "STATUS_ORDER",
    "TERMINAL",
    "Action",
    "Kind",
    "Reconciled",
    "Status",
    "Submission",
    "Task",
    "TaskPage",
    "converter",
    "read_task",
]


_SHOWN = 500
"""Characters of a text of the service that a repr, an error or a notebook shows."""


def _cut(text: str | None) -> str:
    return repr(text if text is None else short(text, _SHOWN))


@attrs.frozen
class Action:
    """Something that can be done next with a finished task; `label` or `emoji` may be empty.

    `str(action)` is its label, or its emoji where it has no label, or its custom ID where it has neither.
    """

    custom_id: str = attrs.field(repr=_cut)
    emoji: str = attrs.field(default="", repr=_cut)
    label: str = attrs.field(default="", repr=_cut)

    def __str__(self) -> str:
        return self.label or self.emoji or self.custom_id


@attrs.frozen
class Task:
    """One task's record, as the service told it.

    Times are aware datetimes, None until reached. `progress` is in percent. `kind` is the wire's `action`. What cannot
    be read is None, and stands in `raw` as it came; a `status` that the service leaves out is empty.
    """

    id: int
    status: Status | str
    pool: str | None = None
    kind: Kind | str | None = None
    progress: int | None = None
    description: str | None = attrs.field(default=None, repr=_cut)
    prompt: str | None = attrs.field(default=None, repr=_cut)
    fail_reason: str | None = attrs.field(default=None, repr=_cut)
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    webhook_url: str | None = attrs.field(default=None, repr=False)  # its path may hold a secret
    image_url: str | None = attrs.field(default=None, repr=_cut)
    stored_image_url: str | None = attrs.field(default=None, repr=_cut)
    actions: tuple[Action, ...] = ()
    source: bytes = attrs.field(default=b"", eq=False, repr=False)
    """The JSON text that the record was read from: the bare record, or the whole answer round it."""

    @property
    def is_terminal(self) -> bool:
        """Whether the task has come to its end.

        An unknown status word has where `finished_at` is set, or a `fail_reason` and no image; an empty one never has.
        """
        if self.status in STATUS_ORDER:
            return self.status in TERMINAL
        if not self.status.strip():
            return False
        return self.finished_at is not None or bool(self.fail_reason and not (self.image_url or self.stored_image_url))

    @property
    def succeeded(self) -> bool:
        """Whether the task ended well."""
        return self.status == Status.SUCCESS

    @property
    def failed(self) -> bool:
        """Whether the task ended, and not well."""
        return self.is_terminal and not self.succeeded

    @property
    def raw(self) -> dict[str, Any]:
        """The record as it came, with the wire's names; decoded anew at each call, empty for a task made by hand.

        `DecodeError` where the standard library's json cannot read what orjson could: nested too deeply, or a number
        of thousands of digits.
        """
        if not self.source:
            return {}
        try:
            value: dict[str, Any] = json.loads(self.source)
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"the record of task {self.id} cannot be read again: {error}", body=self.source) from None
        return bare_record(value)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON values under the wire's names; `from_dict` makes the same task of it.

        All fifteen names are there: `progress` as `"100%"`, times in ISO 8601 with milliseconds and Z, `actions` as a
        list of objects with `customId`, `emoji` and `label`. `raw` is the record as it came. For example
        `json.dumps(task.to_dict())`.
        """
        record: dict[str, Any] = converter.unstructure(self)
        return record

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Task:
        """Return the task of a record: what `to_dict` returned, or a record as the service sends it.

        It is read as answers are: a field that cannot be read is None. `DecodeError` names what there is no going
        without, `$.taskId` or a `$.status` that is no text; `UsageError` where it is no mapping. For example
        `Task.from_dict(json.loads(text))`.
        """
        if not isinstance(record, Mapping):
            raise UsageError(f"a record is a dict, such as to_dict or json.loads return, not {type(record).__name__}")
        return read_task(dict(record), asked=None, source=b"", path="$")

    def find_action(self, name: str) -> Action | None:
        """Return the action whose label, emoji or custom ID is `name`; None where there is none."""
        for action in self.actions:
            if name and name in (action.label, action.emoji, action.custom_id):
                return action
        return None

    def raise_for_failure(self) -> None:
        """Raise `TaskFailed` where the task ended and not well."""
        if self.failed:
            reason = short(self.fail_reason or "no reason given", _SHOWN)
            raise TaskFailed(f"task {self.id} ended as {self.status}: {reason}", task=self)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the record in a few lines, and its image where that has an https URL."""
        progress = "" if self.progress is None else f"{self.progress} %"
        lines = (
            "  ".join(filter(None, (f"Task {self.id}", str(self.status), self.kind, progress))),
            self.fail_reason,
            self.prompt,
            "  ".join(map(str, self.actions)),
        )
        shown = "".join(f"<div>{_html(short(line, _SHOWN))}</div>" for line in lines if line)
        for url in (self.stored_image_url, self.image_url):
            if url and url.startswith("https://"):
                href = _html(url)
                image = f'<img src="{href}" referrerpolicy="no-referrer" style="max-height: 16em">'
                return f'{shown}<a href="{href}">{image}</a>'
        return shown


@attrs.frozen
class Submission:
    """What was sent to create a task: enough to search for it later, without its images.

    `kind` is IMAGINE, BLEND, DESCRIBE or ACTION. For an action `parent_id` is the task it was sent for, `custom_id` the
    action's, and `prompt` the parent's. `images` is how many were sent. `sent_at` is None until it is sent, then the
    time by this machine's clock; `served_at` is the same moment by the service's, None where no answer told it.
    """

    kind: str
    prompt: str | None = None
    pool: str | None = None
    parent_id: int | None = None
    custom_id: str | None = None
    images: int = 0
    webhook: str | None = attrs.field(default=None, repr=False)  # its path may hold a secret
    sent_at: datetime | None = None
    served_at: datetime | None = None


@attrs.frozen
class TaskPage:
    """One page of the account's tasks, newest first: page `number`, of pages of `size` tasks.

    `total` is how many tasks the service says the account has, None where it does not say. It may be wrong.
    """

    number: int
    size: int
    total: int | None
    tasks: tuple[Task, ...]

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the tasks of the page, each as it shows itself."""
        total = "" if self.total is None else f", of {self.total} tasks"
        return f"<div>Page {self.number}{total}</div>" + "<hr>".join(task._repr_html_() for task in self.tasks)


class Reconciled(list[Task]):
    """The tasks that may have come of a submission, newest first.

    `looked_back_to` is the earliest submit time among the tasks that were looked at, by the service's clock; None where
    none of them told one.
    """

    looked_back_to: datetime | None = None


@attrs.frozen
class Unsettled:
    """A submission that may have made a task, of which nobody knows: its answer was lost, or the process died.

    `found` are tasks that may have come of it, `context` is what was given with it. Who has made up their mind watches
    one of those, or sends it again, and then calls `Session.forget([…])` with this.
    """

    submission: Submission
    context: Any = None
    found: Reconciled = attrs.field(factory=Reconciled)
    key: int = attrs.field(default=0, repr=False)
    """Its number in the journal."""


def _html(text: str) -> str:
    """Return a text as HTML in ASCII: half a character, which has no bytes, is shown as an unknown one."""
    return escape(text).encode("ascii", "xmlcharrefreplace").decode()


converter: cattrs.Converter = cattrs.Converter(detailed_validation=False, unstruct_collection_overrides={tuple: list})
"""The cattrs converter of tasks and actions, by the wire's names."""

_actions = Reader(converter, Action, ACTION)
_TASK = task_table(_actions.read_list)
_tasks = Reader(converter, Task, (*_TASK, SOURCE))


def read_task(
    record: object, *, asked: int | None, source: bytes, path: str = "$.data", odd: Oddities = UNTOLD
) -> Task:
    """Read a record as a `Task`; `DecodeError` names the field, below `path`, for which it is refused.

    `asked` is the ID that was asked for: it stands in where the record names none, and a record of another ID is
    a `TransportError`. `source` is the JSON text that the record came from; the task and the error keep it. What cannot
    be read is told to `odd`.
    """
    try:
        return read_record(_tasks, record, asked, source, odd)
    except WrongFieldError as wrong:
        field = path + wrong.place
        raise DecodeError(f"{field} {wrong.what}", field=field, body=source) from None


register(converter, Action, ACTION, _actions.read)
register(converter, Task, _TASK, partial(read_task, asked=None, source=b"", path="$"))


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # For one version: transports of users import it from here.
        if name != "Secret":
            raise AttributeError(f"module 'omgmj.models' has no attribute {name!r}")
        import warnings  # noqa: PLC0415 (only where it is needed)

        import omgmj  # noqa: PLC0415 (as above)

        warnings.warn("import Secret from omgmj: omgmj.models.Secret goes", DeprecationWarning, stacklevel=2)
        return omgmj.Secret
