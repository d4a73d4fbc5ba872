"""CPU of decoding one answer into checked values: omgmj against msgspec, whose Structs are declared to the letter."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import datetime

import msgspec

from benchmarks.report import Bound, Report, ratio, spread
from benchmarks.server import SAMPLE, running_record
from omgmj.protocol.messages import Answer
from omgmj.protocol.responses import read_query

BOUND = 5.0
"""Times msgspec's CPU for the finished record, at most."""
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


def cost(decode: Callable[[], object], times: int) -> float:
    """Return the microseconds of CPU that one of `times` took."""
    before = time.process_time()
    for _ in range(times):
        decode()
    return (time.process_time() - before) / times * 1e6


def run(*, short: bool) -> Report:
    """Measure in turn, in many short rounds."""
    times, rounds = (500, 5) if short else (4000, 30)
    decoder = msgspec.json.Decoder(Envelope)
    finished = SAMPLE.read_bytes()
    task_id = json.loads(finished)["data"]["taskId"]
    rows, bounds, bars, short_rows = [], [], [], []
    for name, body in (("finished", finished), ("running", running_record(task_id))):
        answer = Answer(200, {}, body)
        task, wire = read_query(answer, task_id), decoder.decode(body).data
        assert wire is not None
        assert len(task.actions) == len(wire.actions or ())
        assert task.started_at == wire.startTime
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(cost(lambda answer=answer: read_query(answer, task_id), times))  # type: ignore[misc]
            theirs.append(cost(lambda body=body: decoder.decode(body), times))  # type: ignore[misc]
        times_theirs = ratio(ours, theirs)
        rows.append((name, spread(ours, 1), spread(theirs, 1), f"{times_theirs:.2f}x"))
        bars += [(f"omgmj, {name}", statistics.median(ours)), (f"msgspec, {name}", statistics.median(theirs))]
        if name == "finished":
            short_rows.append((f"CPU of decoding a {name} record, of msgspec", f"{times_theirs:.2f}x"))
        if name == "finished" and not short:
            bounds.append(Bound("decode of the finished record against msgspec", times_theirs, BOUND, room=NOISE))
    head = ("record", "omgmj, µs: median (quartiles)", "msgspec, µs", "omgmj costs")
    return Report(head, rows, bounds, bars, "µs of CPU to decode a record", short_rows)
