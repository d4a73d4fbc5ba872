"""An asyncio client for OhMyGPT's Midjourney HTTP API whose main job is waiting for tasks.

Start at `Session`. Errors are a tree under `OmgmjError`. A fake service for tests is `omgmj.testing.FakeService`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from omgmj.backoff import Adaptive, Exponential, Facts, Fixed, Policy, Retry
    from omgmj.credentials import Token
    from omgmj.download import Progress
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
    from omgmj.images import Image
    from omgmj.models import Action, Stats, Status, Submission, Task, TaskPage
    from omgmj.pages import Tasks, Words
    from omgmj.session import Session
    from omgmj.submissions import Dimensions, Pool
    from omgmj.transport import Http, Transport
    from omgmj.wait import Follow
    from omgmj.watch import TaskIds, Watch
    from omgmj.ways import Via, image_urls
else:
    # Imported at the first use, so that `import omgmj` costs little; what stands in no line here is an error.
    _LAZY = {
        **dict.fromkeys(("Adaptive", "Exponential", "Facts", "Fixed", "Policy", "Retry"), "backoff"),
        "Token": "credentials",
        "Progress": "download",
        "Image": "images",
        **dict.fromkeys(("Action", "Stats", "Status", "Submission", "Task", "TaskPage"), "models"),
        **dict.fromkeys(("Tasks", "Words"), "pages"),
        "Session": "session",
        **dict.fromkeys(("Dimensions", "Pool"), "submissions"),
        **dict.fromkeys(("Http", "Transport"), "transport"),
        "Follow": "wait",
        **dict.fromkeys(("TaskIds", "Watch"), "watch"),
        **dict.fromkeys(("Via", "image_urls"), "ways"),
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
    "AuthError",
    "DecodeError",
    "Dimensions",
    "DownloadError",
    "ExchangeTimeout",
    "Exponential",
    "Facts",
    "Fixed",
    "Follow",
    "GaveUp",
    "Http",
    "Image",
    "ImageExists",
    "OmgmjError",
    "Policy",
    "Pool",
    "Progress",
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
    "TaskIds",
    "TaskNotFound",
    "TaskPage",
    "Tasks",
    "Token",
    "Transport",
    "TransportError",
    "UsageError",
    "Via",
    "WaitError",
    "WaitTimeout",
    "Watch",
    "WatchErrors",
    "Words",
    "image_urls",
]
