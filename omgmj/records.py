"""A task's record as the wire has it: the names, and each value on its way in and out.

This is the only file that knows a record's wire names. Reading is lenient about what is missing, null or new, and
strict about types: nothing is converted from one type to another, and what is off is named with its place. The models
that records are read as stand in `models`, which hands them in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from operator import itemgetter
from types import NoneType
from typing import Any, Generic, TypeVar, cast

import cattrs
from cattrs.gen import make_dict_unstructure_fn, override

T = TypeVar("T")
ID_LIMIT = 2**63
"""All task IDs are below this, and above 0."""

# What a field of a model is called on the wire, in the order in which the reader below unpacks them.
_TASK_NAMES = {
    "id": "taskId",
    "status": "status",
    "pool": "taskType",
    "kind": "action",
    "progress": "progress",
    "description": "description",
    "prompt": "prompt",
    "fail_reason": "failReason",
    "submitted_at": "submitTime",
    "started_at": "startTime",
    "finished_at": "finishTime",
    "webhook_url": "webhookUrl",
    "image_url": "imageDcUrl",
    "stored_image_url": "imageS3Url",
    "actions": "actions",
}
_ACTION_NAMES = {"custom_id": "customId", "emoji": "emoji", "label": "label"}
_TEXT_FIELDS = ("pool", "kind", "description", "prompt", "fail_reason", "webhook_url", "image_url", "stored_image_url")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PERCENTS = {f"{number}%": number for number in range(101)}
_PERCENT = re.compile(r"\s*([0-9]{1,3})(?:\.[0-9]*)?\s*%?\s*")
_TEXT_OR_NULL = frozenset({str, NoneType})
_JSON_TYPES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a whole number",
    float: "a number that is not whole",
    bool: "a boolean",
    NoneType: "null",
}


class WrongFieldError(Exception):
    """What is wrong, and at which place below the record (`.actions[2].label`)."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(place, what)
        self.place = place
        self.what = what


def json_type(value: object) -> str:
    """Say of what JSON type `value` is, with its article, for messages."""
    return _JSON_TYPES.get(type(value), type(value).__name__)


_task_row = itemgetter(*_TASK_NAMES.values())


def _draft(model: type) -> Any:
    """Return a frozen model without its lock: an object of it is filled field by field, then made one of the model.

    A model's own constructor sets each field through `object.__setattr__`, which takes longer than all the rest.
    """
    unlocked = {name: getattr(object, name) for name in ("__init__", "__setattr__", "__delattr__")}
    return type(f"_{model.__name__}Draft", (model,), {"__slots__": (), **unlocked})


class Reader(Generic[T]):
    """Reads records as tasks, with the models for a task and an action, and the status words that are known.

    It is written by hand, as it runs for each answer: all fields are fetched at once, types are told by identity, and
    an error is made only when something is off.
    """

    def __init__(self, task: type[T], action: type, statuses: Iterable[StrEnum]) -> None:
        self._task_model, self._task_draft = task, _draft(task)
        self._action_model, self._action_draft = action, _draft(action)
        self._statuses: dict[str, StrEnum | str] = {status.value: status for status in statuses}

    def read(self, record: Any, asked: int | None, source: bytes) -> T:
        """Read a record; `WrongFieldError` says which field is off.

        `asked` is the ID that was asked for: it stands in where the record names none, and a record of another ID is
        refused. `source` is the JSON text that the record came from, for the task to keep.
        """
        if type(record) is not dict:
            raise WrongFieldError("", f"is {json_type(record)}, not an object")
        try:
            row = _task_row(record)
        except KeyError:
            row = tuple([cast("Any", record.get(name)) for name in _TASK_NAMES.values()])
        (
            task_id,
            status,
            pool,
            kind,
            progress,
            description,
            prompt,
            fail_reason,
            submitted,
            started,
            finished,
            webhook_url,
            image_url,
            stored_image_url,
            actions,
        ) = row
        if type(task_id) is not int or task_id != asked:
            task_id = _task_id(task_id, asked)
        if type(status) is not str or not status:
            what = "is missing, null or empty" if status in (None, "") else f"is {json_type(status)}, not a string"
            raise WrongFieldError(".status", what)
        texts = (pool, kind, description, prompt, fail_reason, webhook_url, image_url, stored_image_url)
        if not _TEXT_OR_NULL.issuperset(map(type, texts)):
            raise _wrong_text(texts)
        task = self._task_draft()
        task.id = task_id
        task.status = self._statuses.get(status) or status
        task.pool = pool
        task.kind = kind
        task.progress = None if progress is None else _progress(progress)
        task.description = description
        task.prompt = prompt
        task.fail_reason = fail_reason
        task.submitted_at = None if submitted is None else _time(submitted, ".submitTime")
        task.started_at = None if started is None else _time(started, ".startTime")
        task.finished_at = None if finished is None else _time(finished, ".finishTime")
        task.webhook_url = webhook_url
        task.image_url = image_url
        task.stored_image_url = stored_image_url
        task.actions = () if actions is None else self._actions(actions)
        task.source = source
        task.__class__ = self._task_model
        return cast("T", task)

    def _actions(self, value: Any) -> tuple[Any, ...]:
        """Read the list of actions."""
        if type(value) is not list:
            raise WrongFieldError(".actions", f"is {json_type(value)}, not a list")
        draft, model = self._action_draft, self._action_model
        actions: list[Any] = []
        for item in value:
            try:
                custom_id, emoji, label = item["customId"], item["emoji"], item["label"]
            except (KeyError, TypeError):
                custom_id = emoji = label = None
            if type(custom_id) is str and type(emoji) is str and type(label) is str:
                action = draft()
                action.custom_id = custom_id
                action.emoji = emoji
                action.label = label
                action.__class__ = model
            else:
                action = self._odd_action(item, f".actions[{len(actions)}]")
            actions.append(action)
        return tuple(actions)

    def _odd_action(self, item: Any, place: str) -> Any:
        """Read an action with something missing, null or of a wrong type."""
        if type(item) is not dict:
            raise WrongFieldError(place, f"is {json_type(item)}, not an object")
        texts = {field: item.get(name) for field, name in _ACTION_NAMES.items()}
        for field, text in texts.items():
            if type(text) not in _TEXT_OR_NULL:
                raise WrongFieldError(f"{place}.{_ACTION_NAMES[field]}", f"is {json_type(text)}, not a string")
        return self._action_model(**{field: text or "" for field, text in texts.items()})


def _wrong_text(texts: tuple[Any, ...]) -> WrongFieldError:
    """Name the first of the text fields that is neither a string nor null."""
    named = zip(_TEXT_FIELDS, texts, strict=True)
    field, value = next((field, value) for field, value in named if type(value) not in _TEXT_OR_NULL)
    return WrongFieldError(f".{_TASK_NAMES[field]}", f"is {json_type(value)}, not a string")


def _task_id(value: Any, asked: int | None) -> int:
    """Judge an ID that is not just the one asked for."""
    if value is None:
        if asked is None:
            raise WrongFieldError(".taskId", "is missing, and no ID was asked for")
        return asked
    if type(value) is not int:
        raise WrongFieldError(".taskId", f"is {json_type(value)}, not a whole number")
    if not 0 < value < ID_LIMIT:
        raise WrongFieldError(".taskId", "is not between 1 and 2**63 - 1")
    if asked is not None:
        raise WrongFieldError(".taskId", f"is {value}, but {asked} was asked for")
    return int(value)


def _progress(value: Any) -> int | None:
    """Read `"46.5%"` or 46 as 46; a string or number that is no percentage says nothing."""
    if type(value) is str:
        known = _PERCENTS.get(value)
        if known is not None:
            return known
        match = _PERCENT.fullmatch(value)
        number = int(match[1]) if match else -1
    elif type(value) is int:
        number = value
    else:
        raise WrongFieldError(".progress", f"is {json_type(value)}, not a string")
    return number if 0 <= number <= 100 else None


def _time(value: Any, place: str) -> datetime | None:
    """Read ISO 8601 or milliseconds since 1970; an empty string or 0 is a point not reached."""
    if type(value) is str:
        if not value:
            return None
        try:
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo is UTC else _in_utc(moment)
        except (ValueError, OverflowError):
            raise WrongFieldError(place, f"is {value[:40]!a}, not a time") from None
    if type(value) is not int:
        raise WrongFieldError(place, f"is {json_type(value)}, not a time")
    try:
        if value >= 0:
            return _EPOCH + timedelta(milliseconds=value) if value else None
    except OverflowError:
        pass
    raise WrongFieldError(place, "is a number out of range, not a time")


def _in_utc(moment: datetime) -> datetime:
    """Return a time in UTC; without a zone it is taken for UTC: the zone of the machine here must not matter."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _time_text(moment: datetime) -> str:
    """Write a time as the service does, in UTC with milliseconds and Z; with more digits where it has more."""
    moment = _in_utc(moment)
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _progress_text(progress: int | None) -> str | None:
    """Write a percentage as the service does."""
    return None if progress is None else f"{progress}%"


def make_converter(task: type, action: type, read: Callable[[object], object]) -> cattrs.Converter:
    """Build the converter of the models: `read` as the hook for tasks, and the way back for both."""
    made = cattrs.Converter(detailed_validation=False, unstruct_collection_overrides={tuple: list})
    made.register_structure_hook(task, lambda record, _: read(record))
    made.register_unstructure_hook(datetime, _time_text)
    names: dict[str, Any] = {field: override(rename=name) for field, name in _ACTION_NAMES.items()}
    made.register_unstructure_hook(action, make_dict_unstructure_fn(action, made, **names))
    names = {field: override(rename=name) for field, name in _TASK_NAMES.items()}
    names["status"] = override(rename=_TASK_NAMES["status"], unstruct_hook=str)
    names["progress"] = override(rename=_TASK_NAMES["progress"], unstruct_hook=_progress_text)
    names["source"] = override(omit=True)
    made.register_unstructure_hook(task, make_dict_unstructure_fn(task, made, **names))
    return made
