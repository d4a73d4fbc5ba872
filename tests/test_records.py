"""`records`: a record becomes a task and a task a record, strict about types and lenient about the rest."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import cattrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj.cli.json_lines import dump_record
from omgmj.errors import DecodeError, OmgmjError, UsageError
from omgmj.models import Action, Kind, Status, Task, converter, read_task
from omgmj.records import ACTION, SOURCE, Field, Reader, WrongFieldError, register, task_table

SAMPLE = (Path(__file__).parent / "samples" / "query-response.json").read_bytes()
RECORD: dict[str, Any] = json.loads(SAMPLE)["data"]


def read(asked: int | None = 20, **changes: object) -> Task:
    """Read the sample's record with some of its fields changed."""
    return read_task({**RECORD, **changes}, asked=asked, source=b"")


def refusal(asked: int | None = 20, **changes: Any) -> str:
    """Return the field that is refused in the sample's record with some of its fields changed."""
    with pytest.raises(DecodeError) as caught:
        read(asked, **changes)
    assert str(caught.value).startswith(caught.value.field)
    return caught.value.field


def test_record_is_left_as_it_was() -> None:
    """Reading changes nothing in the record that is read."""
    record = json.loads(SAMPLE)["data"]
    read_task(record, asked=20, source=b"")
    assert record == RECORD


@pytest.mark.parametrize("name", [name for name in RECORD if name != "status"])
def test_missing_and_null_are_fine(name: str) -> None:
    """Any field but the status may be missing or null, and both read the same."""
    rest = {key: value for key, value in RECORD.items() if key != name}
    assert read_task(rest, asked=20, source=b"") == read(**{name: None})


def test_new_fields_are_ignored() -> None:
    """A field that this package does not know changes nothing."""
    assert read(brandNew={"a": [1]}) == read()


WRONG: dict[str, list[object]] = {
    "taskId": ["20", True, 20.0, [], {}, 21, 0, -1, 2**63],
    "status": [None, "", 5, True, [], {}, 0],
    "progress": [46.0, True, [], {}],
    "actions": [{}, "U1", 5, False, ""],
    **{name: [5, True, 5.9, [], {}, 0] for name in ("taskType", "action", "description", "prompt", "failReason")},
    **{name: [5, False, [], {}] for name in ("webhookUrl", "imageDcUrl", "imageS3Url")},
    **{
        name: [
            "soon",
            "2023-13-01T00:00:00Z",
            "0001-01-01T00:00:00+14:00",
            "\ud83d",
            " ",
            5.9,
            True,
            [],
            {},
            -1,
            10**18,
        ]
        for name in ("submitTime", "startTime", "finishTime")
    },
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_types_are_named(name: str, value: object) -> None:
    """Nothing is converted from one type to another: the DecodeError names the field."""
    changes: dict[str, Any] = {name: value}
    assert refusal(**changes) == f"$.data.{name}"


@pytest.mark.parametrize("name", ["customId", "emoji", "label"])
def test_actions_are_read_like_records(name: str) -> None:
    """In an action missing and null are empty, and what is no string is refused with its place in the list."""
    good = {"customId": "c", "emoji": "e", "label": "l"}
    field = {"customId": "custom_id"}.get(name, name)
    for item in ({**good, name: None}, {key: text for key, text in good.items() if key != name}):
        assert getattr(read(actions=[item]).actions[0], field) == ""
    assert refusal(actions=[good, good, {**good, name: 5}]) == f"$.data.actions[2].{name}"


@pytest.mark.parametrize("item", [None, "U1", 5, ["customId"], True])
def test_an_action_is_an_object(item: object) -> None:
    """An action that is no object is refused with its place in the list."""
    assert refusal(actions=[RECORD["actions"][0], item]) == "$.data.actions[1]"


@pytest.mark.parametrize("record", [[], "x", 5, None, True, 5.9])
def test_a_record_is_an_object(record: object) -> None:
    """A record that is no object is refused as a whole."""
    with pytest.raises(DecodeError) as caught:
        read_task(record, asked=20, source=b"{}")
    assert (caught.value.field, caught.value.body) == ("$.data", b"{}")


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        *((f"{number}%", number) for number in (0, 7, 46, 100)),
        (" 37 %", 37),
        ("46.5%", 46),
        ("99.99", 99),
        ("50", 50),
        ("007%", 7),
        (46, 46),
        (0, 0),
        (100, 100),
        *((rubbish, None) for rubbish in ("", "%", "150%", "101", "-1%", "٣%", "done", "1e1%", "9" * 99, 101, -1)),
    ],
)
def test_progress(text: object, percent: int | None) -> None:
    """Progress is a whole percentage from 0 to 100, cut and not rounded, and None where it is rubbish."""
    assert read(progress=text).progress == percent


@pytest.mark.parametrize(
    ("wire", "moment"),
    [
        ("2023-08-31T13:59:14.250Z", datetime(2023, 8, 31, 13, 59, 14, 250_000, tzinfo=UTC)),
        ("2023-08-31T13:59:14", datetime(2023, 8, 31, 13, 59, 14, tzinfo=UTC)),
        ("2023-08-31 15:59:14+02:00", datetime(2023, 8, 31, 13, 59, 14, tzinfo=UTC)),
        (1_693_490_354_250, datetime(2023, 8, 31, 13, 59, 14, 250_000, tzinfo=UTC)),
        (0, None),
        ("", None),
        (None, None),
    ],
)
def test_times(wire: object, moment: datetime | None) -> None:
    """Times are aware and in UTC, from ISO 8601 or milliseconds; null, empty and 0 are points not reached."""
    got = read(startTime=wire).started_at
    assert got == moment
    assert got is None or got.tzinfo is UTC


def test_statuses() -> None:
    """Known words become members of Status; an unknown word is kept as it came and ends nothing by itself."""
    for status in Status:
        assert read(status=status.value).status is status
    odd = read(status="REVIEWING", finishTime=None)
    assert (type(odd.status), odd.status, odd.is_terminal) == (str, "REVIEWING", False)
    assert read(status="REVIEWING").is_terminal, "finishTime is set"
    assert not read(status="success", finishTime=None).is_terminal


def test_ids() -> None:
    """A record without an ID is about the one asked for; where none was asked for it must have one."""
    assert read(taskId=None).id == 20
    assert read(None).id == 20
    assert read(None, taskId=2**63 - 1).id == 2**63 - 1
    assert refusal(None, taskId=None) == "$.data.taskId"


def test_the_source_and_the_path_go_where_they_belong() -> None:
    """The task keeps its source, an error keeps it too and names the field below the path given."""
    assert read_task(RECORD, asked=20, source=b"{}").source == b"{}"
    with pytest.raises(DecodeError, match=r"\$\.status is a whole number, not a string") as caught:
        read_task({"status": 5}, asked=20, source=b"{}", path="$")
    assert (caught.value.field, caught.value.body) == ("$.status", b"{}")


def test_the_converter_reads_tasks() -> None:
    """The cattrs converter reads a task with the same strict reader, nested in other things as well."""
    assert converter.structure([RECORD], list[Task]) == [read()]
    with pytest.raises(DecodeError, match=r"\$\.status"):
        converter.structure([RECORD, {"taskId": 5, "status": 5}], list[Task])


def test_kinds() -> None:
    """Known kinds become members of Kind, which equal their words; an unknown one is kept as it came."""
    for kind in Kind:
        assert read(action=kind.value).kind is kind
        assert read(action=kind.value).kind == kind.value
    assert (type(read(action="TRICK").kind), read(action="TRICK").kind) == (str, "TRICK")
    assert type(read(action="IMAGINE").to_dict()["action"]) is str


@attrs.frozen
class NewTask(Task):
    """A task with a field that is new, with a default."""

    seed: str | None = None


def test_one_line_makes_a_new_field() -> None:
    """A new field with a default is whole without a line in the table; with its one line it is read, written, named."""
    table = task_table(tuple)
    for line, seed in (((), None), ((Field("seed", "seedNumber", table[2].read),), "7")):
        one_more = (*table, *line)
        made = cattrs.Converter(detailed_validation=False)
        tasks = Reader(made, NewTask, one_more)
        register(made, NewTask, one_more, tasks.read)
        task = made.structure({**RECORD, "actions": [], "seedNumber": "7"}, NewTask)
        assert (type(task), task.seed) == (NewTask, seed)
        assert f"seed={seed!r}" in repr(task)
        assert task == attrs.evolve(task)
        assert made.unstructure(task).get("seedNumber") == seed
        assert made.structure({**RECORD, "actions": []}, NewTask).seed is None
        if line:
            with pytest.raises(WrongFieldError) as caught:
                tasks.read({**RECORD, "actions": [], "seedNumber": 7})
            assert (caught.value.place, caught.value.what) == (".seedNumber", "is a whole number, not a string")


@attrs.frozen
class Demanding(Action):
    """An action with a field that is new, without a default."""

    cost: int = attrs.field(kw_only=True)


def test_a_field_without_a_default_needs_a_line() -> None:
    """A field that is neither in the table nor has a default is found when the reader is made."""
    with pytest.raises(TypeError, match="cost"):
        Reader(cattrs.Converter(), Demanding, ACTION)


def test_a_task_that_was_read_is_like_any_other() -> None:
    """A task that was read equals the one made by hand, to its hash, repr and pickle, and is as frozen."""
    task = read_task(RECORD, asked=20, source=SAMPLE)
    made = Task(**{field.name: getattr(task, field.name) for field in attrs.fields(Task)})
    assert (task, hash(task), repr(task), task.source) == (made, hash(made), repr(made), SAMPLE)
    assert pickle.loads(pickle.dumps(task)) == task  # noqa: S301 (written here)
    assert {type(action) for action in task.actions} == {Action}
    for frozen, name in ((task, "status"), (task.actions[0], "label")):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(frozen, name, "x")


def test_what_needs_no_hook_is_what_the_hook_returns() -> None:
    """A text that is known and a value of a plain type are to the hook what they are in the table."""
    read()
    known = plain = 0
    for field in (*task_table(tuple), *ACTION, SOURCE):
        for text, value in dict(field.known or {}).items():
            assert field.read(text) == value, (field.name, text)
            known += 1
        if field.plain:
            value = field.plain()
            assert field.read(value) is value, field.name
            plain += 1
    assert (known > 100, plain) == (True, 11)


class Odd(str):
    """A string that equals its text and is no JSON."""

    __slots__ = ()


@pytest.mark.parametrize("name", [name for name, value in RECORD.items() if type(value) is str])
def test_what_equals_a_string_is_none(name: str) -> None:
    """A value that only equals a string is refused, also where the string is known."""
    changes: dict[str, Any] = {name: Odd(RECORD[name])}
    assert changes == {name: RECORD[name]}
    assert refusal(**changes) == f"$.data.{name}"


def test_times_are_remembered_within_bounds() -> None:
    """The same text gives the same time, of many texts only some are remembered, and never one that was refused."""
    (known,) = (field.known for field in task_table(tuple) if field.name == "started_at")
    assert known is not None
    first = datetime(2024, 1, 1, tzinfo=UTC)
    for second in range(2500):
        moment = first + timedelta(seconds=second)
        for _ in range(2):
            assert read(startTime=moment.isoformat()).started_at == moment
        assert known[moment.isoformat()] == moment
        assert len(known) <= 1000
    assert refusal(startTime="soon") == "$.data.startTime"
    assert "soon" not in known


def test_all_fields_of_a_task_stand_in_the_table() -> None:
    """The table has a line for each field of a task and of an action, and the source is no part of a record."""
    assert [field.name for field in (*task_table(lambda value: value), SOURCE)] == [
        field.name for field in attrs.fields(Task)
    ]
    assert [field.name for field in ACTION] == [field.name for field in attrs.fields(Action)]
    assert read(source="mine").source == b""


texts = st.none() | st.text(st.characters(exclude_categories=()), max_size=20)
zones = st.timezones() | st.just(UTC) | st.just(timezone(timedelta(hours=-5)))
moments = st.none() | st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=zones).map(  # noqa: DTZ001
    lambda moment: moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)
)
tasks = st.builds(
    Task,
    id=st.integers(1, 2**63 - 1),
    status=st.sampled_from(Status) | st.text(min_size=1),
    pool=texts,
    kind=st.sampled_from(Kind) | texts,
    progress=st.none() | st.integers(0, 100),
    description=texts,
    prompt=texts,
    fail_reason=texts,
    submitted_at=moments,
    started_at=moments,
    finished_at=moments,
    webhook_url=texts,
    image_url=texts,
    stored_image_url=texts,
    actions=st.lists(st.builds(Action, st.text(), st.text(), st.text()), max_size=3).map(tuple),
    source=st.just(b""),
)


@given(tasks)
def test_a_task_travels(task: Task) -> None:
    """`to_dict` is plain JSON under the wire's names, and `from_dict` makes the same task of it, before and after."""
    record = task.to_dict()
    assert list(record) == list(Task.from_dict(RECORD).to_dict())
    assert Task.from_dict(record) == task
    text = json.dumps(record, allow_nan=False)
    assert json.loads(text) == record, "nothing in it is more than JSON has: no enum, no tuple"
    assert Task.from_dict(json.loads(text)) == task
    assert record == task.to_dict() is not record


def test_to_dict_is_the_record_to_the_letter() -> None:
    """The service's own record, read and written, is what it was, and what the command line prints."""
    task = read_task(RECORD, asked=20, source=SAMPLE)
    assert task.to_dict() == RECORD == json.loads(dump_record(task))
    assert dump_record(Task.from_dict(RECORD)) == json.dumps(task.to_dict())


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2023-08-31T15:59:14.5+02:00", "2023-08-31T13:59:14.500Z"),
        ("2023-08-31T13:59:14.123456Z", "2023-08-31T13:59:14.123456Z"),
        ("2023-08-31T13:59:14", "2023-08-31T13:59:14.000Z"),
    ],
)
def test_times_are_written_in_utc(text: str, written: str) -> None:
    """A time is written with Z and milliseconds, and with all its digits where it has more."""
    task = Task(id=1, status="SUCCESS", started_at=datetime.fromisoformat(text))
    assert task.to_dict()["startTime"] == written
    assert Task.from_dict(task.to_dict()).started_at == datetime.fromisoformat(written)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(RECORD)), values) | values)
def test_rubbish_is_an_error_of_ours(changes: Any) -> None:
    """Whatever is handed to `from_dict` gives a task, which travels on, or one of our errors, which is a ValueError."""
    try:
        task = Task.from_dict({**RECORD, **changes} if isinstance(changes, dict) else changes)
    except OmgmjError as error:
        assert isinstance(error, ValueError)
    else:
        assert Task.from_dict(task.to_dict()) == task


def test_from_dict() -> None:
    """`from_dict` takes any mapping, names the field that is off, and says what it wants where it gets no mapping."""
    assert Task.from_dict(MappingProxyType(RECORD)) == read()
    assert Task.from_dict(RECORD).raw == {}
    with pytest.raises(DecodeError, match=r"\$\.actions\[0\]\.label is a whole number, not a string") as caught:
        Task.from_dict({**RECORD, "actions": [{"customId": "c", "label": 5}]})
    assert caught.value.field == "$.actions[0].label"
    for missing in ("taskId", "status"):
        with pytest.raises(DecodeError, match=rf"\$\.{missing} is missing"):
            Task.from_dict({name: value for name, value in RECORD.items() if name != missing})
    for wrong in (SAMPLE, SAMPLE.decode(), None, [RECORD], read()):
        with pytest.raises(UsageError, match="a record is a dict, such as"):
            Task.from_dict(wrong)  # type: ignore[arg-type]
