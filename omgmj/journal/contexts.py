"""Contexts and submissions as JSON texts.

A context that was stored comes back as it was, save that a tuple becomes a list. Many are encoded at a time: orjson
does it ten times as fast, and what it wrote is read again, as it takes more than JSON has.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs

from omgmj.errors import UsageError
from omgmj.models import Submission
from omgmj.validation import brief

NO_CONTEXT = "null"
"""The text of None, which is no context."""
DEPTH = 254
"""So deep may a context be nested, as orjson has it: any decoder can read it again."""
_TIMES = ("sent_at", "served_at")
_FIELDS = frozenset(field.name for field in attrs.fields(Submission))


def encode(contexts: Sequence[Any], task_ids: Sequence[int] | None = None) -> list[str]:
    """Return each context as JSON; `UsageError` that names the ID of one that is none."""
    quick = _encode_quickly(contexts)
    if quick is not None:
        return quick
    texts = []
    for number, context in enumerate(contexts):
        try:
            texts.append(json.dumps(_plain(context, 0), separators=(",", ":")))
        except ValueError as error:
            of = "" if task_ids is None else f" of task {task_ids[number]}"
            raise UsageError(f"the context{of} is not JSON: {error}") from None
    return texts


def decode(texts: Sequence[str | None]) -> list[Any]:
    """Return the contexts; None for no text, and for one that is damaged."""
    try:
        found: list[Any] = json.loads(f"[{','.join([text or NO_CONTEXT for text in texts])}]")
    except (ValueError, RecursionError):
        found = []
    return found if len(found) == len(texts) else [_decode_one(text) for text in texts]


def _decode_one(text: str | None) -> Any:
    try:
        return json.loads(text or NO_CONTEXT)
    except (ValueError, RecursionError):
        return None


def _encode_quickly(contexts: Sequence[Any]) -> list[str] | None:
    """Return what orjson makes of them; None where it would not come back the same, and where there is no orjson."""
    try:
        import orjson  # noqa: PLC0415 (as it is an extra, and slow to import)
    except ImportError:
        return None
    dumps = orjson.dumps
    strict = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
    try:
        texts = [dumps(context, None, strict).decode() for context in contexts]
        return texts if orjson.loads(f"[{','.join(texts)}]") == list(contexts) else None
    except (TypeError, ValueError):  # Both raise what are subclasses of these.
        return None


def _plain(value: Any, depth: int) -> Any:
    """Return a value with nothing in it that JSON has not; `ValueError` says what is in the way."""
    if depth > DEPTH:
        raise ValueError(f"it is nested more than {DEPTH} deep")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number of JSON")
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(one, depth + 1) for one in value]
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise ValueError(f"a key must be a string, not {brief(name)}")  # noqa: TRY004 (the caller's own)
        return {name: _plain(one, depth + 1) for name, one in value.items()}
    raise ValueError(f"{brief(value)} is a {type(value).__name__}")


def encode_submission(submission: Submission) -> str:
    """Return a submission as JSON."""
    found = attrs.asdict(submission)
    for name in _TIMES:
        if found[name] is not None:
            found[name] = found[name].isoformat()
    return json.dumps({name: value for name, value in found.items() if value is not None}, separators=(",", ":"))


def decode_submission(text: str) -> Submission:
    """Return a submission; `ValueError` where the text is none."""
    found = json.loads(text)
    if not isinstance(found, dict) or "kind" not in found:
        raise ValueError("it is no submission")
    values = {name: value for name, value in found.items() if name in _FIELDS}
    for name in _TIMES:
        if name in values:
            values[name] = datetime.fromisoformat(values[name])
    return Submission(**values)
