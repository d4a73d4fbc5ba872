"""CPU of decoding one answer into checked values: omgmj against msgspec, whose Structs are declared to the letter.

A poll's answer repeats the times of the one before, and omgmj remembers times. So it does here, where the same answer
comes again and again; what it costs where each answer has new times is shown beside.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from benchmarks.report import Bound, Report, ratio, spread
from benchmarks.server import SAMPLE, running_record
from omgmj.protocol.messages import Answer
from omgmj.protocol.responses import read_query

BOUND = 5.0
"""Times msgspec's CPU, at most, for the finished record and for the running one."""
NOISE = 0.15


class WireAction(msgspec.Struct, frozen=True):
    """An action, by the wire's names."""

    customId: str  # noqa: N815
    emoji: str
    label: str


class WireTask(msgspec.Struct, frozen=True):
    """A record, by the wire's names."""

    taskId: int  # noqa: N815
    status: str
    taskType: str | None = None  # noqa: N815
    action: str | None = None
    progress: str | None = None
    description: str | None = None
    prompt: str | None = None
    failReason: str | None = None  # noqa: N815
    submitTime: datetime | None = None  # noqa: N815
    startTime: datetime | None = None  # noqa: N815
    finishTime: datetime | None = None  # noqa: N815
    webhookUrl: str | None = None  # noqa: N815
    imageDcUrl: str | None = None  # noqa: N815
    imageS3Url: str | None = None  # noqa: N815
    actions: list[WireAction] | None = None


class Envelope(msgspec.Struct, frozen=True):
    """An answer."""

    statusCode: int  # noqa: N815
    message: str
    data: WireTask | None = None


def cost(decode: Callable[[Any], object], answers: Sequence[Any]) -> float:
    """Return the microseconds of CPU that one of `answers` took."""
    before = time.process_time()
    for answer in answers:
        decode(answer)
    return (time.process_time() - before) / len(answers) * 1e6


def with_new_times(body: bytes, number: int) -> list[bytes]:
    """Return a running answer `number` times, each with times that no other has."""
    value = json.loads(body)
    bodies = []
    for second in range(number):
        moment = datetime(2032, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
        for field, offset in (("submitTime", 0), ("startTime", number)):
            text = (moment + timedelta(seconds=offset)).isoformat(timespec="milliseconds")
            value["data"][field] = text.replace("+00:00", "Z")
        bodies.append(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    return bodies


def run(*, short: bool) -> Report:
    """Measure in turn, in many short rounds."""
    times, rounds = (500, 5) if short else (4000, 30)
    decoder = msgspec.json.Decoder(Envelope)
    finished = SAMPLE.read_bytes()
    task_id = json.loads(finished)["data"]["taskId"]
    running = running_record(task_id)
    rows, bounds, bars, short_rows = [], [], [], []
    for name, bodies in (
        ("finished", [finished] * times),
        ("running", [running] * times),
        ("running, new times", with_new_times(running, times)),
    ):
        answers = [Answer(200, {}, body) for body in bodies]
        task, wire = read_query(answers[0], task_id), decoder.decode(bodies[0]).data
        assert wire is not None
        assert len(task.actions) == len(wire.actions or ())
        assert task.started_at == wire.startTime
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(cost(lambda answer: read_query(answer, task_id), answers))
            theirs.append(cost(lambda body: decoder.decode(body).data, bodies))
        times_theirs = ratio(ours, theirs)
        rows.append((name, spread(ours, 1), spread(theirs, 1), f"{times_theirs:.2f}x"))
        bars += [(f"omgmj, {name}", statistics.median(ours)), (f"msgspec, {name}", statistics.median(theirs))]
        if name == "finished":
            short_rows.append((f"CPU of decoding a {name} record, of msgspec", f"{times_theirs:.2f}x"))
        if name in {"finished", "running"} and not short:
            bounds.append(Bound(f"decode of the {name} record against msgspec", times_theirs, BOUND, room=NOISE))
    head = ("record", "omgmj, µs: median (quartiles)", "msgspec, µs", "omgmj costs")
    return Report(head, rows, bounds, bars, "µs of CPU to decode a record", short_rows)
