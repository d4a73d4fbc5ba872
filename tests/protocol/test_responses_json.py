"""JSON to values and back, on orjson and on the standard library's json alike."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from omgmj.errors import DecodeError
from omgmj.models import Action, Status, Task, read_task
from omgmj.protocol import responses
from omgmj.protocol.responses import dumps, loads
from tests.test_records import RECORD, SAMPLE


@pytest.fixture(params=[orjson.loads, json.loads], ids=["orjson", "json"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with orjson and, as where it is not installed, with json alone."""
    monkeypatch.setattr(responses, "_quick_loads", request.param)


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
    spec = importlib.util.spec_from_file_location("responses_without_orjson", responses.__file__)
    assert spec is not None
    assert spec.loader is not None
    twin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(twin)
    assert twin._quick_loads is json.loads
    assert twin._quick_dumps is twin._plain_dumps
    assert json.loads(twin.dumps(RECORD)) == RECORD
    assert twin.loads(SAMPLE) == loads(SAMPLE)


@pytest.mark.parametrize("quick", [orjson.dumps, responses._plain_dumps], ids=["orjson", "json"])
@pytest.mark.parametrize("value", [RECORD, "cut \ud83d", 2**70, [], {"a": [None, True, 1.5, "é"]}])
def test_what_was_read_is_written_again(quick: Any, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """What JSON gave is written as the same JSON, lone surrogates and long numbers too, with orjson and without."""
    monkeypatch.setattr(responses, "_quick_dumps", quick)
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
