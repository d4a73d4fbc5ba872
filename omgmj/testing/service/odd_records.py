"""Records that are right and told oddly, as kin services tell them: what each fault makes of a record.

Pure. What may be odd, and what a reader should make of it, stands in the service's contract.
"""

from __future__ import annotations

from typing import Any

# A record as some other account's service might write it: another name, or None where the field is missing.
_FOREIGN = {"taskId": "id", "status": "state", "progress": None, "actions": "buttons", "submitTime": "submit_time"}


def foreign(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with fields missing and renamed."""
    renamed = ((_FOREIGN.get(name, name), value) for name, value in record.items())
    return {name: value for name, value in renamed if name is not None}


def odd(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as the fault `name`, one of `faults.OF_ANY_RECORD`, tells it."""
    return _fractional(record) if name == "fractional_progress" else _odd_fields(record)


def _fractional(record: dict[str, Any]) -> dict[str, Any]:
    digits = str(record.get("progress")).rstrip("%")
    return {**record, "progress": min(int(digits) + 0.5, 100.0)} if digits.isdecimal() else record


def _odd_fields(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record whose every field but its image is of another type, or in another writing, than usual."""
    return {
        **record,
        "taskId": str(record["taskId"]),
        "taskType": 1,
        "status": f" {record['status'].lower()} ",
        "progress": {"percent": record.get("progress")},
        "description": {"text": record.get("description")},
        "prompt": [record.get("prompt")],
        "failReason": False,
        "submitTime": "1767225600",
        "startTime": "0001-01-01T00:00:00Z",
        "webhookUrl": 0,
        "imageS3Url": {},
        "actions": [None, *(record.get("actions") or ())],
    }
