"""JSON as bytes: an answer to plain values and back, a `Task` to a line.

What a record's values mean is known in `records`, what an answer as a whole means is judged in `protocol`.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from omgmj.errors import DecodeError
from omgmj.models import Task


def _plain_dumps(value: object) -> bytes:
    """Write in ASCII, so that a lone surrogate, which UTF-8 has no bytes for, is written as it came."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


_quick_loads: Callable[[bytes], object]
_quick_dumps: Callable[[object], bytes]
try:
    from orjson import dumps as _quick_dumps
    from orjson import loads as _quick_loads
except ImportError:
    _quick_loads, _quick_dumps = json.loads, _plain_dumps


def loads(body: bytes) -> object:
    """Read `body` as JSON; `DecodeError` with the field `$` where that cannot be.

    What orjson refuses (lone surrogates, a byte-order mark, NaN, UTF-16, numbers beyond a float) is tried with the
    standard library's json, so that both ways of installing this package read the same answers.
    """
    try:
        return _quick_loads(body)
    except (ValueError, RecursionError):
        pass
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the body cannot be read as JSON: {error}", body=body) from None
    return value


def dumps(value: object, *, path: str = "$") -> bytes:
    """Write what `loads` read as JSON again; `DecodeError` with the field `path` where it is nested too deeply.

    What orjson refuses (lone surrogates, deep nesting, integers beyond 64 bits) is tried with the standard library's
    json.
    """
    try:
        return _quick_dumps(value)
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        return _plain_dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise DecodeError(f"{path} cannot be written as JSON again: {error}", field=path) from None


def dump_record(task: Task) -> str:
    """Return the record as one line of ASCII JSON with the wire's names.

    It is the record as it came, with its ID where it named none; for a task made by hand it is `Task.to_dict`.
    NaN and infinity, which JSON has no words for, become null.
    """
    record = task.raw or task.to_dict()
    if record.get("taskId") is None:
        record["taskId"] = task.id
    try:
        return json.dumps(record, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(record), parse_constant=lambda _: None))
