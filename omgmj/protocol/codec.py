"""JSON as bytes: an answer to plain values and back, a `Task` to a line.

What a record's values mean is known in `records`, what an answer as a whole means is judged in `protocol`.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from omgmj.errors import DecodeError
from omgmj.models import Task

_BRIEF = 2000
"""Characters of a text in a brief record."""


def _plain_dumps(value: object) -> bytes:
    """Write in ASCII, so that a lone surrogate, which UTF-8 has no bytes for, is written as it came."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _number(digits: str) -> float:
    """Read a whole number as orjson does, to which one beyond 64 bits is a float."""
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)


_plain = json.JSONDecoder(parse_int=_number)


def _plain_loads(body: bytes) -> object:
    return _plain.decode(body.decode(json.detect_encoding(body), "surrogatepass"))


_quick_loads: Callable[[bytes], object]
_quick_dumps: Callable[[object], bytes]
try:
    from orjson import dumps as _quick_dumps
    from orjson import loads as _quick_loads
except ImportError:
    _quick_loads, _quick_dumps = _plain_loads, _plain_dumps


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
        return _plain_loads(body)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the body cannot be read as JSON: {error}", body=body) from None


def dumps(value: object, *, path: str = "$") -> bytes:
    """Write what `loads` read as JSON again; `DecodeError` with the field `path` where it is nested too deeply.

    What orjson refuses (lone surrogates, deep nesting, integers beyond 64 bits) is tried with the standard library's
    json.
    """
    try:
        # A copy: what orjson returns holds on to the much larger buffer that it was written in.
        return bytes(bytearray(_quick_dumps(value)))
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        return _plain_dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise DecodeError(f"{path} cannot be written as JSON again: {error}", field=path) from None


def dump_brief(task: Task) -> bytes:
    """Return a record that is too large to be kept, as JSON: its short values alone."""
    record = {name: value for name, value in task.to_dict().items() if name != "actions" and len(str(value)) <= _BRIEF}
    return dumps(record)


def dump_record(task: Task) -> str:
    """Return the record as one line of ASCII JSON with the wire's names.

    It is the record as it came, with its ID as a number; for a task made by hand it is `Task.to_dict`.
    NaN and infinity, which JSON has no words for, become null.
    """
    record = task.raw or task.to_dict()
    record["taskId"] = task.id
    try:
        return json.dumps(record, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(record), parse_constant=lambda _: None))
