"""What crosses Redis comes back as it was, and what is damaged there is told as such."""

from __future__ import annotations

import inspect
import json
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgmj import errors
from omgmj.errors import Cancelled, DecodeError, OmgmjError, SubmissionUncertain, TaskFailed, WatchErrors
from omgmj.models import Status, Submission, Task
from omgmj.worker.results import Counts, End, decode, encode, end_of

SAMPLE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "samples" / "query-response.json").read_text())["data"]
SAMPLE["webhookUrl"] = ""
TASK = Task.from_dict(SAMPLE)
SECRET = "https://bot.example/hook/s3cret"
ONE_ID = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, OmgmjError) and kind is not WatchErrors
]
"""All classes of errors but the one of many IDs."""
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(0, 2**63),
    "int | None": st.none() | st.integers(0, 2**63),
    "float": st.floats(0, allow_nan=False),
    "float | None": st.none() | st.floats(0, allow_nan=False),
    "str": st.text(st.characters()),
    "bytes": st.binary(max_size=100),
    "omgmj.Submission | None": st.sampled_from(
        [None, Submission("IMAGINE", sent_at=datetime.now(UTC), webhook=SECRET)]
    ),
}
"""What the fields of errors may be, by their annotations."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def some_errors(draw: st.DrawFn) -> OmgmjError:
    """Draw an error of one ID; its record is of that ID."""
    kind = draw(st.sampled_from(ONE_ID))
    task_id = draw(st.integers(1, 2**63 - 1))
    values = VALUES | {"omgmj.Task | None": st.sampled_from([None, attrs.evolve(TASK, id=task_id, source=b"")])}
    fields = {
        name: draw(values[one.annotation])
        for name, one in inspect.signature(kind.__init__).parameters.items()
        if one.kind is one.KEYWORD_ONLY
    }
    return kind(draw(st.text(st.characters())), **fields).about(task_id)


@given(some_errors())
def test_errors_cross_with_their_fields(error: OmgmjError) -> None:
    """All but an answer's body and what was sent, which may hold secrets: these fields are there and empty."""
    assert error.task_id is not None
    back = decode(error.task_id, encode(error))
    assert type(back) is type(error)
    assert (str(back), back.args) == (str(error), error.args)
    assert vars(back) == vars(error) | {
        name: empty for name, empty in {"body": b"", "submission": None}.items() if name in vars(error)
    }
    assert end_of(back) is end_of(error)


@pytest.mark.parametrize("kind", ONE_ID)
def test_each_class_of_error_crosses(kind: type[OmgmjError]) -> None:
    """With its text alone it has all its fields too."""
    error = kind("said").about(3432)
    back = decode(3432, encode(error))
    assert type(back) is kind
    assert vars(back) == vars(error)


def test_what_was_sent_does_not_cross() -> None:
    """An error of a lost submission is rebuilt without it, and its properties can be read."""
    error = SubmissionUncertain("lost", submission=Submission("IMAGINE", sent_at=datetime.now(UTC), webhook=SECRET))
    packed = encode(error)
    back = decode(1, packed)
    assert isinstance(back, SubmissionUncertain)
    assert back.sent_at is None
    assert b"s3cret" not in zlib.decompress(packed)


@given(st.dictionaries(st.text(), JSON, max_size=3))
def test_records_cross(more: dict[str, Any]) -> None:
    """With whatever fields the service adds."""
    task = Task.from_dict(more | SAMPLE)
    source = json.dumps(more | SAMPLE).encode()
    back = decode(task.id, encode(attrs.evolve(task, source=source)))
    assert back == task
    assert isinstance(back, Task)
    assert back.raw == more | SAMPLE


def test_a_webhook_is_blank() -> None:
    """In a record, in the record of an error, and in what lies in Redis."""
    task = Task.from_dict(SAMPLE | {"webhookUrl": SECRET})
    for outcome in (task, TaskFailed("it failed", task=task)):
        packed = encode(outcome)
        assert b"s3cret" not in zlib.decompress(packed)
        back = decode(task.id, packed)
        record = back if isinstance(back, Task) else getattr(back, "task", None)
        assert isinstance(record, Task)
        assert not record.webhook_url
        assert attrs.evolve(record, webhook_url=task.webhook_url) == task


@pytest.mark.parametrize("odd", [b"[" * 5000 + b"]" * 5000, b"1" * 5000])
def test_a_record_that_json_cannot_read_again_crosses(odd: bytes) -> None:
    """What orjson could read of it is what crosses: one odd record holds up nobody."""
    task = attrs.evolve(TASK, source=json.dumps(SAMPLE).encode()[:-1] + b', "odd": ' + odd + b"}")
    assert decode(TASK.id, encode(task)) == TASK


def damaged() -> st.SearchStrategy[bytes]:
    shapes: st.SearchStrategy[Any] = JSON | st.fixed_dictionaries(
        {"error": JSON, "text": JSON, "fields": JSON | st.just({"last": {}})}
    )
    whole = encode(Cancelled("cancelled", task_id=1))
    return (
        st.binary()
        | st.binary().map(zlib.compress)
        | st.integers(0, len(whole) - 1).map(lambda end: whole[:end])
        | shapes.map(lambda value: zlib.compress(json.dumps(value).encode()))
        | st.just({"task": {"taskId": 2}}).map(lambda value: zlib.compress(json.dumps(value).encode()))
    )


@given(damaged())
def test_damaged_results_are_told_as_such(packed: bytes) -> None:
    """As an error of that ID, never by an exception in the reader's loop."""
    back = decode(1, packed)
    assert isinstance(back, OmgmjError)
    assert back.task_id == 1


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no zlib",
        *(zlib.compress(text) for text in (b"", b"\xff", b"[]", b"7", b"{}", b'{"task": 1}', b"[" * 9999)),
    ],
)
def test_a_damaged_result_is_a_decode_error(packed: bytes) -> None:
    """It says which ID's it was."""
    back = decode(3432, packed)
    assert isinstance(back, DecodeError)
    assert str(back).startswith("the result of task 3432 cannot be read: ")


def test_an_error_of_a_later_version_is_the_root() -> None:
    """A worker may be newer than who reads; the text is there."""
    for name in ("NotYetKnown", "Sequence", "BODY_KEPT", "omgmj"):
        packed = zlib.compress(json.dumps({"error": name, "text": "said", "fields": {"new": 1}}).encode())
        back = decode(7, packed)
        assert type(back) is OmgmjError
        assert (str(back), back.task_id) == ("said", 7)


def test_how_ids_are_counted() -> None:
    """Each outcome in one place, and the rest is pending."""
    assert end_of(TASK) is End.SUCCEEDED
    assert end_of(Task(id=1, status=Status.FAILURE)) is End.FAILED
    assert end_of(Cancelled("c")) is End.CANCELLED
    assert end_of(DecodeError("d")) is End.ERROR
    assert Counts(total=10, succeeded=1, failed=2, errors=3, cancelled=1).pending == 3
