"""`codec`: records to tasks and back, on orjson and on the standard library's json alike."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj import codec
from omgmj.codec import converter, dump_record, dumps, loads, read_task
from omgmj.errors import DecodeError
from omgmj.models import Action, Status, Task

SAMPLE = (Path(__file__).parent / "samples" / "query-response.json").read_bytes()
RECORD: dict[str, Any] = json.loads(SAMPLE)["data"]


@pytest.fixture(params=[orjson.loads, json.loads], ids=["orjson", "json"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with orjson and, as where it is not installed, with json alone."""
    monkeypatch.setattr(codec, "_quick_loads", request.param)


def read(asked: int | None = 20, **changes: object) -> Task:
    """Read the sample's record with some of its fields changed."""
    return read_task({**RECORD, **changes}, asked=asked, source=b"")


def refusal(asked: int | None = 20, **changes: Any) -> str:
    """Return the field that is refused in the sample's record with some of its fields changed."""
    with pytest.raises(DecodeError) as caught:
        read(asked, **changes)
    assert str(caught.value).startswith(caught.value.field)
    return caught.value.field


@pytest.mark.usefixtures("either")
def test_sample_to_the_letter() -> None:
    """The recorded answer becomes a task with all 15 fields and all nine actions, each as it stands there."""
    value: Any = loads(SAMPLE)
    task = read_task(value["data"], asked=20, source=SAMPLE)
    assert task == Task(
        id=20,
        status=Status.SUCCESS,
        pool="NORMAL",
        kind="IMAGINE",
        progress=100,
        description=RECORD["description"],
        prompt=RECORD["prompt"],
        fail_reason=None,
        submitted_at=datetime(2023, 8, 31, 13, 59, 14, tzinfo=UTC),
        started_at=datetime(2023, 8, 31, 13, 59, 14, tzinfo=UTC),
        finished_at=datetime(2023, 8, 31, 13, 59, 50, tzinfo=UTC),
        webhook_url="https://webhook.site/9adf49d8-14c3-4270-b83e-25a9e93bcb40",
        image_url=RECORD["imageDcUrl"],
        stored_image_url=None,
        actions=tuple(Action(item["customId"], item["emoji"], item["label"]) for item in RECORD["actions"]),
    )
    assert [action.label or action.emoji for action in task.actions] == [
        "U1",
        "U2",
        "U3",
        "U4",
        "🔄",
        "V1",
        "V2",
        "V3",
        "V4",
    ]
    assert isinstance(task.status, Status)
    assert task.raw == RECORD


def test_record_is_left_as_it_was() -> None:
    """Reading changes nothing in the record that is read."""
    record = json.loads(SAMPLE)["data"]
    read_task(record, asked=20, source=b"")
    assert record == RECORD


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'"\\ud83d"', "\ud83d"),
        (b"\xef\xbb\xbf[1]", [1]),
        ("[1]".encode("utf-16"), [1]),
        (b"[Infinity]", [float("inf")]),
        (b"1e999", float("inf")),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"9223372036854775807", 2**63 - 1),
    ],
)
def test_both_readers_read_the_same(body: bytes, value: object) -> None:
    """Where json and orjson read different things, what either takes is read either way."""
    assert loads(body) == value


@pytest.mark.usefixtures("either")
def test_integers_from_2_64_on_are_no_ids() -> None:
    """An integer beyond 64 bits, a float to orjson and an int to json, is refused as an ID by both."""
    for number in (2**63, 2**64, 10**30):
        value = loads(json.dumps({**RECORD, "taskId": number}).encode())
        with pytest.raises(DecodeError) as caught:
            read_task(value, asked=None, source=b"")
        assert caught.value.field == "$.data.taskId"


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"<html>", b"\xff\xfe\xfd", b'{"a":1}}', b"[" * 100_000, b"9" * 5_000],
    ids=["empty", "cut", "html", "bytes", "trailing", "deep", "long"],
)
def test_what_neither_reads_is_a_decode_error(body: bytes) -> None:
    """What no JSON reader takes, deep nesting and endless numbers included, is a DecodeError of the whole body."""
    with pytest.raises(DecodeError) as caught:
        loads(body)
    assert (caught.value.field, caught.value.body) == ("$", body)


def test_without_orjson(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where orjson is not installed the module works with json alone."""
    monkeypatch.setitem(sys.modules, "orjson", None)
    spec = importlib.util.spec_from_file_location("codec_without_orjson", codec.__file__)
    assert spec is not None
    assert spec.loader is not None
    twin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(twin)
    assert twin._quick_loads is json.loads
    assert twin._quick_dumps is twin._plain_dumps
    assert json.loads(twin.dumps(RECORD)) == RECORD
    assert twin.loads(SAMPLE) == loads(SAMPLE)


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


def test_dump_is_the_record_as_it_came() -> None:
    """A line of output is the record with all that came, in ASCII, so that a lone surrogate prints."""
    source = json.dumps({**RECORD, "prompt": "cut \ud83d", "brandNew": 1}).encode()
    line = dump_record(read_task(json.loads(source), asked=20, source=source))
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == json.loads(source)


def test_dump_names_the_task() -> None:
    """A record that names no ID gets the one that was asked for."""
    source = b'{"status": "SUCCESS"}'
    assert json.loads(dump_record(read_task(json.loads(source), asked=5, source=source)))["taskId"] == 5


def test_dump_is_json() -> None:
    """NaN and infinity, which JSON has no words for, come out as null."""
    source = b'{"status": "SUCCESS", "a": [NaN, -Infinity, 1e999, 1.5]}'
    line = dump_record(read_task(loads(source), asked=5, source=source))
    assert json.loads(line, parse_constant=pytest.fail)["a"] == [None, None, None, 1.5]


@pytest.mark.parametrize("quick", [orjson.dumps, codec._plain_dumps], ids=["orjson", "json"])
@pytest.mark.parametrize("value", [RECORD, "cut \ud83d", 2**70, [], {"a": [None, True, 1.5, "é"]}])
def test_what_was_read_is_written_again(quick: Any, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """What JSON gave is written as the same JSON, lone surrogates and long numbers too, with orjson and without."""
    monkeypatch.setattr(codec, "_quick_dumps", quick)
    assert json.loads(dumps(value)) == value


def test_what_is_nested_too_deeply_to_be_written() -> None:
    """Nesting beyond what json writes is a DecodeError that names the place given."""
    value: list[Any] = []
    for _ in range(200_000):
        value = [value]
    with pytest.raises(DecodeError, match="cannot be written") as caught:
        dumps(value, path="$.data.tasks[0]")
    assert caught.value.field == "$.data.tasks[0]"
    while value:
        value = value.pop()


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
    kind=texts,
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
def test_there_and_back(task: Task) -> None:
    """A task made by hand, written and read again, is the same task, by either reader."""
    line = dump_record(task).encode()
    readers: list[Callable[[bytes], object]] = [loads, json.loads]
    for reader in readers:
        assert read_task(reader(line), asked=None, source=line) == task
