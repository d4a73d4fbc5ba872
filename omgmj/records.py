"""A task's record as the wire has it: one table of its fields, and each value on its way in and out.

This is the only file that knows a record's wire names. A field is a line of the table: its name in the model, its name
on the wire, the hook that reads it, one that writes it where JSON has no such value, and which values need no hook.
cattrs makes the functions of it that structure and unstructure a model; `models` hands in the classes. A field of a
model that stands in no line keeps its default, and is not written.

Reading is lenient about what is missing, null or new, and strict about types: nothing is converted from one type to
another. A hook says what is off, and a second pass, made only then, at which place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import NoneType
from typing import Any, Generic, NamedTuple, TypeVar, TypeVarTuple, cast

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn_from_attrs, make_dict_unstructure_fn, override

from omgmj.enums import Kind, Status

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
ID_LIMIT = 2**63
"""All task IDs are below this, and above 0."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PERCENT = re.compile(r"\s*([0-9]{1,3})(?:\.[0-9]*)?\s*%?\s*")
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
    """What is wrong, and at which place below the value that was read (`.actions[2].label`)."""

    def __init__(self, what: str, place: str = "") -> None:
        super().__init__(what, place)
        self.what = what
        self.place = place


def json_type(value: object) -> str:
    """Say of what JSON type `value` is, with its article, for messages."""
    return _JSON_TYPES.get(type(value), type(value).__name__)


def bare_record(value: dict[str, Any]) -> dict[str, Any]:
    """Return the record in what the service sent: `value` itself, or its `data` where it is the envelope.

    A record always has a status, so an object in `data` that has one is the record.
    """
    data = value.get("data")
    return data if isinstance(data, dict) and "status" in data else value


# Hooks. One that reads is called with the JSON value, and with null only where its line says that null is none.


def _text(value: Any) -> str:
    """Read a string."""
    if type(value) is str:
        return value
    raise WrongFieldError(f"is {json_type(value)}, not a string")


def _status(value: Any) -> str:
    """Read a status, which no record is without."""
    if type(value) is str and value:
        return value
    what = "is missing, null or empty" if value in (None, "") else f"is {json_type(value)}, not a string"
    raise WrongFieldError(what)


def _word(word: StrEnum | str | None) -> str | None:
    """Write a word as a plain string."""
    return None if word is None else str(word)


def _task_id(value: Any) -> int:
    """Read a task's ID."""
    if type(value) is int and 0 < value < ID_LIMIT:
        return value
    if value is None:
        raise WrongFieldError("is missing, and no ID was asked for")
    if type(value) is not int:
        raise WrongFieldError(f"is {json_type(value)}, not a whole number")
    raise WrongFieldError("is not between 1 and 2**63 - 1")


def _progress(value: Any) -> int | None:
    """Read `"46.5%"` or 46 as 46; a string or number that is no percentage says nothing."""
    if type(value) is str:
        match = _PERCENT.fullmatch(value)
        number = int(match[1]) if match else -1
    elif type(value) is int:
        number = value
    else:
        raise WrongFieldError(f"is {json_type(value)}, not a string")
    return number if 0 <= number <= 100 else None


def _progress_text(progress: int | None) -> str | None:
    """Write a percentage as the service does."""
    return None if progress is None else f"{progress}%"


def _time(value: Any) -> datetime | None:
    """Read ISO 8601 or milliseconds since 1970; an empty string and 0 are a point not reached."""
    if type(value) is str:
        return _time_of_text(value) if value else None
    if type(value) is not int:
        raise WrongFieldError(f"is {json_type(value)}, not a time")
    try:
        if value >= 0:
            return _EPOCH + timedelta(milliseconds=value) if value else None
    except OverflowError:
        pass
    raise WrongFieldError("is a number out of range, not a time")


def _time_of_text(text: str) -> datetime:
    """Read ISO 8601, and remember what was read."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not UTC:
            moment = _in_utc(moment)
    except (ValueError, OverflowError):
        raise WrongFieldError(f"is {text[:40]!a}, not a time") from None
    if len(_TIMES) >= _TIMES_KEPT:
        _TIMES.clear()
    _TIMES[text] = moment
    return moment


def _in_utc(moment: datetime) -> datetime:
    """Return a time in UTC; without a zone it is taken for UTC: the zone of the machine here must not matter."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _time_text(moment: datetime | None) -> str | None:
    """Write a time as the service does, in UTC with milliseconds and Z; with more digits where it has more."""
    if moment is None:
        return None
    moment = _in_utc(moment)
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


class Field(NamedTuple):
    """A line of a table: how a value of a record is read and written.

    Null becomes `null`, and so does what is missing. A value of the type `plain` is taken as it is, and a text in
    `known` as what stands there for it. All others are for `read`, which may be asked about those two as well, and
    about null where `null` is NOTHING. `write` is None where a value goes into JSON as it is, or as its model does.
    """

    name: str
    wire: str
    read: Callable[[Any], Any]
    write: Callable[[Any], object] | None = None
    known: Mapping[str, object] | None = None
    null: object = None
    plain: type | None = None


ACTION = (
    Field("custom_id", "customId", _text, null="", plain=str),
    Field("emoji", "emoji", _text, null="", plain=str),
    Field("label", "label", _text, null="", plain=str),
)
_STATUSES = {status.value: status for status in Status}
_KINDS = {kind.value: kind for kind in Kind}
_PERCENTS = {f"{number}%": number for number in range(101)}
_TIMES: dict[str, datetime] = {}
"""What was read lately: a task's times are the same from poll to poll, and tasks made together share them."""
_TIMES_KEPT = 1000
"""So many times are remembered at most; then all are forgotten."""


def task_table(read_actions: Callable[[Any], Any]) -> tuple[Field, ...]:
    """Return the table of a task's fields, with the hook that reads its actions."""
    return (
        Field("id", "taskId", _task_id, null=attrs.NOTHING),
        Field("status", "status", _status, _word, _STATUSES, attrs.NOTHING),
        Field("pool", "taskType", _text, plain=str),
        Field("kind", "action", _text, _word, _KINDS),
        Field("progress", "progress", _progress, _progress_text, _PERCENTS),
        Field("description", "description", _text, plain=str),
        Field("prompt", "prompt", _text, plain=str),
        Field("fail_reason", "failReason", _text, plain=str),
        Field("submitted_at", "submitTime", _time, _time_text, _TIMES),
        Field("started_at", "startTime", _time, _time_text, _TIMES),
        Field("finished_at", "finishTime", _time, _time_text, _TIMES),
        Field("webhook_url", "webhookUrl", _text, plain=str),
        Field("image_url", "imageDcUrl", _text, plain=str),
        Field("stored_image_url", "imageS3Url", _text, plain=str),
        Field("actions", "actions", read_actions, null=()),
    )


SOURCE = Field("source", "source", bytes, plain=bytes)
"""The line of what comes beside a record, not in it: the JSON text that it was read from. It is read, never written."""


def _constructor(model: type[T], table: Sequence[Field]) -> Callable[..., T]:
    """Return a function that makes a model of JSON values, which it takes in the table's order.

    It stores through the slots, and calls a hook only for a value that needs it. A frozen class's `__init__` looks each
    slot up by its name, which takes twice as long.
    """
    blank = model(**dict.fromkeys(field.name for field in table))
    names = attrs.fields_dict(cast("Any", model)).keys()
    defaults = {name: getattr(blank, name) for name in names - {field.name for field in table}}
    scope: dict[str, Any] = {"new": object.__new__, "model": model, "defaults": defaults}
    scope |= {f"set_{name}": getattr(model, name).__set__ for name in names}
    lines = [f"def make({', '.join(field.name for field in table)}):", "self = new(model)"]
    for name, _, read, _, known, null, plain in table:
        scope |= {f"read_{name}": read, f"known_{name}": known, f"null_{name}": null, f"plain_{name}": plain}
        value = f"read_{name}({name})"
        if known is not None:
            value = f"type({name}) is str and known_{name}.get({name}) or {value}"
        if null is not attrs.NOTHING:
            value = f"null_{name} if {name} is None else {value}"
        if plain is not None:
            value = f"{name} if type({name}) is plain_{name} else {value}"
        lines.append(f"set_{name}(self, {value})")
    lines += [f"set_{name}(self, defaults[{name!r}])" for name in defaults]
    exec("\n    ".join([*lines, "return self"]), scope)  # noqa: S102 (made of the table's names alone)
    make: Callable[..., T] = scope["make"]
    return make


class Reader(Generic[T]):
    """Reads JSON objects as a model, by the table of its fields.

    The function that cattrs makes takes for granted what nearly all objects have: all fields, each of its type. What
    it stumbles over is read again with the missing fields as null, and then field by field for the one that is off.
    """

    def __init__(self, converter: cattrs.Converter, model: type[T], table: Iterable[Field]) -> None:
        self._table = tuple(table)
        self._nulls = dict.fromkeys(field.wire for field in self._table)
        # To cattrs no field has a default, and each is converted by its class, which here is the constructor.
        given = attrs.fields_dict(cast("Any", model))
        fields = [
            given[field.name].evolve(default=attrs.NOTHING, converter=field.read, kw_only=False)
            for field in self._table
        ]
        names: dict[str, Any] = {field.name: override(rename=field.wire) for field in self._table}
        self._structure: Callable[[Any, object], T] = make_dict_structure_fn_from_attrs(
            fields,
            cast("type[T]", _constructor(model, self._table)),
            converter,
            _cattrs_forbid_extra_keys=False,
            _cattrs_detailed_validation=False,
            _cattrs_prefer_attrib_converters=True,
            **names,
        )

    def read(self, value: Any) -> T:
        """Read an object; `WrongFieldError` says which field is off."""
        try:
            return self._structure(value, None)
        except (KeyError, TypeError, WrongFieldError):
            return self._read_again(value)

    def read_list(self, value: Any) -> tuple[T, ...]:
        """Read a list of objects."""
        if type(value) is not list:
            raise WrongFieldError(f"is {json_type(value)}, not a list")
        structure = self._structure
        try:
            return tuple([structure(item, None) for item in value])
        except (KeyError, TypeError, WrongFieldError):
            return tuple([_at(f"[{index}]", self._read_again, item) for index, item in enumerate(value)])

    def _read_again(self, value: Any) -> T:
        """Read an object in which something is missing or off, or what is no object at all."""
        if type(value) is not dict:
            raise WrongFieldError(f"is {json_type(value)}, not an object")
        whole = {**self._nulls, **cast("dict[str, Any]", value)}
        try:
            return self._structure(whole, None)
        except WrongFieldError:
            for field in self._table:
                if whole[field.wire] is not None or field.null is attrs.NOTHING:
                    _at(f".{field.wire}", field.read, whole[field.wire])
            raise


def _at(place: str, read: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call what reads the value at `place`; its error names the place."""
    try:
        return read(*args)
    except WrongFieldError as wrong:
        raise WrongFieldError(wrong.what, place + wrong.place) from None


def read_record(tasks: Reader[T], record: Any, asked: int | None, source: bytes) -> T:
    """Read a record with a task's table and `SOURCE`; `WrongFieldError` says which field is off.

    `asked` is the ID that was asked for: it stands in where the record names none, and a record of another ID is
    refused.
    """
    if type(record) is not dict:
        return tasks.read(record)
    whole: dict[str, Any] = {**record, "source": source}
    if asked is not None and (task_id := whole.get("taskId")) != asked:
        if task_id is not None:
            _at(".taskId", _task_id, task_id)
            raise WrongFieldError(f"is {task_id}, but {asked} was asked for", ".taskId")
        whole["taskId"] = asked
    return tasks.read(whole)


def register(converter: cattrs.Converter, model: type[T], table: Iterable[Field], read: Callable[[object], T]) -> None:
    """Let a converter structure a model by `read`, and unstructure it by the table of its fields."""
    converter.register_structure_hook(model, lambda value, _: read(value))
    hooks: dict[str, Any] = {field.name: override(rename=field.wire, unstruct_hook=field.write) for field in table}
    hooks.update((name, override(omit=True)) for name in attrs.fields_dict(cast("Any", model)) if name not in hooks)
    converter.register_unstructure_hook(model, make_dict_unstructure_fn(model, converter, **hooks))
