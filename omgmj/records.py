"""A task's record as the wire has it: one table of its fields, and the reader that is made of it.

This is the only file that knows a record's wire names. A field is a line of the table: its name in the model, its name
on the wire, the hook of `wire_values` that reads it, one that writes it where JSON has no such value, and which values
need no hook. cattrs makes the functions of it that structure and unstructure a model; `models` hands in the classes. A
field of a model that stands in no line keeps its default, and is not written.

An odd field keeps no record from its user. What is missing, null or new is fine. What a hook refuses is told, and read
as if it were missing. A record is refused that is no object, or has a status that is no text; one of another task is
a fault of the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn_from_attrs, make_dict_unstructure_fn, override

from omgmj import wire_values as values
from omgmj.errors import TransportError
from omgmj.wire_values import WrongFieldError, id_of, json_type

T = TypeVar("T")
_TOLD_MOST = 100
"""Oddities that are told at most, whatever the service thinks of."""
_INDEX = re.compile(r"\[[0-9]+\]")


class Oddities:
    """What is odd in answers, told once for each field and JSON type of its value."""

    def __init__(self, tell: Callable[[str, str], object]) -> None:
        self._tell = tell
        self._told: set[tuple[str, str]] = set()

    def note(self, field: str, what: str, kind: str = "") -> None:
        """Tell of a field, such as `actions[2].label`, what is odd about it; `kind` is the type of its value."""
        key = (_INDEX.sub("", field), kind)
        if key not in self._told and len(self._told) < _TOLD_MOST:
            self._told.add(key)
            self._tell(field, what)


UNTOLD = Oddities(lambda *_: None)
"""Oddities for who tells nobody."""


class Field(NamedTuple):
    """A line of a table: how a value of a record is read and written.

    Null becomes `null`, and so does what is missing. A value of the type `plain` is taken as it is, and a text in
    `known` as what stands there for it. All others are for `read`, which may be asked about those two as well, and
    about null where `null` is NOTHING. What it refuses is read as null, or refuses the record where the field is
    `strict`. `write` is None where a value goes into JSON as it is, or as its model does.
    """

    name: str
    wire: str
    read: Callable[[Any], Any]
    write: Callable[[Any], object] | None = None
    known: Mapping[str, object] | None = None
    null: object = None
    plain: type | None = None
    strict: bool = False


ACTION = (
    Field("custom_id", "customId", values.read_string, null="", plain=str),
    Field("emoji", "emoji", values.read_label, null="", plain=str),
    Field("label", "label", values.read_label, null="", plain=str),
)


def task_table(read_actions: Callable[[Any], Any]) -> tuple[Field, ...]:
    """Return the table of a task's fields, with the hook that reads its actions."""
    return (
        Field("id", "taskId", values.read_id, null=attrs.NOTHING, plain=int, strict=True),
        Field("status", "status", values.read_status, values.write_word, values.STATUSES, "", strict=True),
        Field("pool", "taskType", values.read_word, known=values.POOLS),
        Field("kind", "action", values.read_kind, values.write_word, values.KINDS),
        Field("progress", "progress", values.read_progress, values.write_progress, values.PERCENTS),
        Field("description", "description", values.read_text, plain=str),
        Field("prompt", "prompt", values.read_text, plain=str),
        Field("fail_reason", "failReason", values.read_text, plain=str),
        Field("submitted_at", "submitTime", values.read_time, values.write_time, values.TIMES),
        Field("started_at", "startTime", values.read_time, values.write_time, values.TIMES),
        Field("finished_at", "finishTime", values.read_time, values.write_time, values.TIMES),
        Field("webhook_url", "webhookUrl", values.read_string, plain=str),
        Field("image_url", "imageDcUrl", values.read_url),
        Field("stored_image_url", "imageS3Url", values.read_stored_url),
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
    for name, _, read, _, known, null, plain, _ in table:
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

    The function that cattrs makes takes for granted what nearly all objects have: all fields, each one that can be
    read. What it stumbles over is read again with the missing fields as null, and then field by field.
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

    def read(self, value: Any, odd: Oddities = UNTOLD) -> T:
        """Read an object; `WrongFieldError` says why it is refused."""
        try:
            return self._structure(value, None)
        except (KeyError, TypeError, WrongFieldError):
            whole = self._whole(value)
        try:
            return self._structure(whole, None)
        except WrongFieldError:
            return self._structure(self._mended(whole, odd), None)

    def read_list(self, value: Any) -> tuple[T, ...]:
        """Read a list of objects; `WrongFieldError` has the list of what can be read instead."""
        if type(value) is not list:
            raise WrongFieldError(f"is {json_type(value)}, not a list")
        structure = self._structure
        try:
            return tuple([structure(item, None) for item in value])
        except (KeyError, TypeError, WrongFieldError):
            pass
        items: list[dict[str, Any]] = []
        wrong: list[WrongFieldError] = []
        odd = Oddities(lambda field, what: wrong.append(WrongFieldError(what, field, items)))
        for index, item in enumerate(value):
            try:
                items.append(self._mended(self._whole(item), odd, f"[{index}]."))
            except WrongFieldError as refused:
                odd.note(f"[{index}]", refused.what)
        if wrong:
            raise wrong[0]
        return tuple([structure(item, None) for item in items])

    def _whole(self, value: Any) -> dict[str, Any]:
        """Return an object with all its fields, those that are missing as null."""
        if type(value) is not dict:
            raise WrongFieldError(f"is {json_type(value)}, not an object")
        return {**self._nulls, **cast("dict[str, Any]", value)}

    def _mended(self, whole: dict[str, Any], odd: Oddities, place: str = "") -> dict[str, Any]:
        """Put null, or what else is to be read instead, in the place of each value that cannot be read."""
        for field in self._table:
            value = whole[field.wire]
            if value is None and field.null is not attrs.NOTHING:
                continue
            try:
                field.read(value)
            except WrongFieldError as wrong:
                if field.strict:
                    raise WrongFieldError(wrong.what, f".{field.wire}") from None
                odd.note(f"{place}{field.wire}{wrong.place}", wrong.what, json_type(value))
                whole[field.wire] = wrong.instead
        return whole


def bare_record(value: dict[str, Any]) -> dict[str, Any]:
    """Return the record in what the service sent: `value` itself, or its `data` where it is the envelope.

    A record that comes without an envelope names its task.
    """
    data = value.get("data")
    if not isinstance(data, dict):
        return value
    return data if "taskId" not in value or ("status" in data and "status" not in value) else value


def _task_id(told: object, asked: int | None, odd: Oddities) -> int:
    """Return the ID of a record that does not simply name the one that was asked for."""
    if asked is None:
        try:
            return values.read_id(told)
        except WrongFieldError as wrong:
            raise WrongFieldError(wrong.what, ".taskId") from None
    task_id = id_of(told)
    if task_id not in (None, asked):
        raise TransportError(f"the answer is about another task: {task_id}, while {asked} was asked for")
    if task_id is None and told is not None:
        odd.note("taskId", f"is {json_type(told)} that is no task's ID", json_type(told))
    return asked


def read_record(tasks: Reader[T], record: Any, asked: int | None, source: bytes, odd: Oddities) -> T:
    """Read a record with a task's table and `SOURCE`; `WrongFieldError` says why it is refused.

    `asked` is the ID that was asked for: it stands in where the record names none that can be read. `TransportError`
    for a record of another task.
    """
    if type(record) is not dict:
        return tasks.read(record)
    whole: dict[str, Any] = {**record, "source": source}
    told = whole.get("taskId")
    if type(told) is not int or told != asked:
        whole["taskId"] = _task_id(told, asked, odd)
    return tasks.read(whole, odd)


def register(converter: cattrs.Converter, model: type[T], table: Iterable[Field], read: Callable[[object], T]) -> None:
    """Let a converter structure a model by `read`, and unstructure it by the table of its fields."""
    converter.register_structure_hook(model, lambda value, _: read(value))
    hooks: dict[str, Any] = {field.name: override(rename=field.wire, unstruct_hook=field.write) for field in table}
    hooks.update((name, override(omit=True)) for name in attrs.fields_dict(cast("Any", model)) if name not in hooks)
    converter.register_unstructure_hook(model, make_dict_unstructure_fn(model, converter, **hooks))
