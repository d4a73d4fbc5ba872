"""An asyncio client for OhMyGPT's Midjourney HTTP API whose main job is waiting for tasks.

Start at `Session`. Errors are a tree under `OmgmjError`. A fake service for tests is `omgmj.testing.FakeService`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omgmj.backoff.durations import Durations
    from omgmj.backoff.policies import Adaptive, Exponential, Facts, Fixed, Policy, Retry
    from omgmj.client.aiohttp_adapter import Http
    from omgmj.client.credentials import Token
    from omgmj.client.secrets import Secret
    from omgmj.client.transport import Stream, Transport
    from omgmj.errors import (
        AuthError,
        Cancelled,
        DecodeError,
        DownloadError,
        ExchangeTimeout,
        GaveUp,
        ImageExists,
        JournalError,
        OmgmjError,
        QueueError,
        RateLimited,
        ServiceError,
        ServiceUnavailable,
        SessionClosed,
        Stalled,
        SubmissionUncertain,
        TaskFailed,
        TaskNotFound,
        TransportError,
        UsageError,
        WaitError,
        WaitTimeout,
        WatchErrors,
    )
    from omgmj.images.download import Progress
    from omgmj.images.uploads import Image
    from omgmj.journal.memory import MemoryJournal
    from omgmj.journal.sqlite import SqliteJournal
    from omgmj.listing.tasks import Tasks, Words
    from omgmj.models import Action, Kind, Reconciled, Status, Submission, Task, TaskPage, Unsettled
    from omgmj.polling.follow import Follow
    from omgmj.polling.watch import TaskIds, Watch
    from omgmj.protocol.image_urls import Via, image_urls
    from omgmj.protocol.messages import Answer, Fate, Passage, Request
    from omgmj.protocol.submissions import Dimensions, Pool
    from omgmj.session import Session
    from omgmj.stats import Stats

    __version__: str
else:
    # Imported at the first use, so that `import omgmj` costs little; what stands in no line here is an error.
    _LAZY = {
        "Durations": "backoff.durations",
        **dict.fromkeys(("Adaptive", "Exponential", "Facts", "Fixed", "Policy", "Retry"), "backoff.policies"),
        "Token": "client.credentials",
        "Http": "client.aiohttp_adapter",
        "Secret": "client.secrets",
        **dict.fromkeys(("Stream", "Transport"), "client.transport"),
        "Progress": "images.download",
        "Image": "images.uploads",
        "MemoryJournal": "journal.memory",
        "SqliteJournal": "journal.sqlite",
        **dict.fromkeys(("Tasks", "Words"), "listing.tasks"),
        **dict.fromkeys(
            ("Action", "Kind", "Reconciled", "Status", "Submission", "Task", "TaskPage", "Unsettled"), "models"
        ),
        "Follow": "polling.follow",
        **dict.fromkeys(("TaskIds", "Watch"), "polling.watch"),
        **dict.fromkeys(("Via", "image_urls"), "protocol.image_urls"),
        **dict.fromkeys(("Answer", "Fate", "Passage", "Request"), "protocol.messages"),
        **dict.fromkeys(("Dimensions", "Pool"), "protocol.submissions"),
        "Session": "session",
        "Stats": "stats",
    }

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415 (not among the names of the package)

        if name == "errors":
            return import_module("omgmj.errors")
        if name == "__version__":
            return import_module("importlib.metadata").version("omgmj")
        if name not in __all__:
            raise AttributeError(f"module 'omgmj' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"omgmj.{_LAZY.get(name, 'errors')}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "Action",
    "Adaptive",
    "Answer",
    "AuthError",
    "Cancelled",
    "DecodeError",
    "Dimensions",
    "DownloadError",
    "Durations",
    "ExchangeTimeout",
    "Exponential",
    "Facts",
    "Fate",
    "Fixed",
    "Follow",
    "GaveUp",
    "Http",
    "Image",
    "ImageExists",
    "JournalError",
    "Kind",
    "MemoryJournal",
    "OmgmjError",
    "Passage",
    "Policy",
    "Pool",
    "Progress",
    "QueueError",
    "RateLimited",
    "Reconciled",
    "Request",
    "Retry",
    "Secret",
    "ServiceError",
    "ServiceUnavailable",
    "Session",
    "SessionClosed",
    "SqliteJournal",
    "Stalled",
    "Stats",
    "Status",
    "Stream",
    "Submission",
    "SubmissionUncertain",
    "Task",
    "TaskFailed",
    "TaskIds",
    "TaskNotFound",
    "TaskPage",
    "Tasks",
    "Token",
    "Transport",
    "TransportError",
    "Unsettled",
    "UsageError",
    "Via",
    "WaitError",
    "WaitTimeout",
    "Watch",
    "WatchErrors",
    "Words",
    "image_urls",
]
