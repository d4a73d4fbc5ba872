"""An asyncio client for OhMyGPT's Midjourney HTTP API whose main job is waiting for tasks.

Start at `Session`. Errors are a tree under `OmgmjError`. A fake service for tests is `omgmj.testing.FakeService`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omgmj.errors import (
    AuthError,
    DecodeError,
    DownloadError,
    ExchangeTimeout,
    GaveUp,
    ImageExists,
    OmgmjError,
    RateLimited,
    ServiceError,
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

if TYPE_CHECKING:
    from omgmj.backoff import Adaptive, Exponential, Facts, Fixed, Policy, Retry
    from omgmj.models import Action, Stats, Status, Submission, Task, TaskPage
    from omgmj.pages import Tasks
    from omgmj.session import Session
    from omgmj.wait import Follow
    from omgmj.watch import Watch
    from omgmj.ways import image_urls

    __version__: str
else:
    # Imported at the first use, so that `import omgmj` costs little.
    _LAZY = {
        **dict.fromkeys(("Adaptive", "Exponential", "Facts", "Fixed", "Policy", "Retry"), "backoff"),
        **dict.fromkeys(("Action", "Stats", "Status", "Submission", "Task", "TaskPage"), "models"),
        "Tasks": "pages",
        "Session": "session",
        "Follow": "wait",
        "Watch": "watch",
        "image_urls": "ways",
    }

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415 (not among the names of the package)

        if name == "__version__":
            value = import_module("importlib.metadata").version("omgmj")
        elif name in _LAZY:
            value = getattr(import_module(f"omgmj.{_LAZY[name]}"), name)
        else:
            raise AttributeError(f"module 'omgmj' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LAZY, "__version__"})


__all__ = [
    "Action",
    "Adaptive",
    "AuthError",
    "DecodeError",
    "DownloadError",
    "ExchangeTimeout",
    "Exponential",
    "Facts",
    "Fixed",
    "Follow",
    "GaveUp",
    "ImageExists",
    "OmgmjError",
    "Policy",
    "RateLimited",
    "Retry",
    "ServiceError",
    "Session",
    "SessionClosed",
    "Stalled",
    "Stats",
    "Status",
    "Submission",
    "SubmissionUncertain",
    "Task",
    "TaskFailed",
    "TaskNotFound",
    "TaskPage",
    "Tasks",
    "TransportError",
    "UsageError",
    "WaitError",
    "WaitTimeout",
    "Watch",
    "WatchErrors",
    "image_urls",
]
