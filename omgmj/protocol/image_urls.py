"""The ways to a task's image: the URLs of its record, plain or through WSRV, which can also make it smaller.

Which way is taken when another fails is `download`'s business, and so is the transfer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Literal, get_args
from urllib.parse import quote, urlencode

from omgmj.errors import UsageError
from omgmj.models import STATUS_ORDER, Kind, Task
from omgmj.validation import brief
from omgmj.wire_values import is_url, short

WSRV = "https://wsrv.nl/"
Way = Literal["stored", "discord", "wsrv", "wsrv-stored"]
WAYS: tuple[Way, ...] = get_args(Way)
"""The ways, in the order in which `auto` tries them."""
Via = Literal["auto", Way]
"""The way that a download is to take; `auto` tries one after the other."""
THROUGH_WSRV = ("wsrv", "wsrv-stored")


def image_urls(task: Task, compress: Mapping[str, object] | None = None) -> dict[str, str]:
    """Return the URLs of the task's image under the names of their ways, in the order in which they are tried.

    `stored` is the service's object storage, `discord` Discord's CDN, `wsrv` and `wsrv-stored` lead to the same images
    through WSRV (https://wsrv.nl/docs). `compress` gives WSRV's own parameters, such as `{"w": 512, "output":
    "webp"}`, and leaves its two ways. Ways that the record has no URL for are left out. `UsageError` for a parameter
    that WSRV does not know, or does not take with this value.
    """
    wanted = "".join(f"&{urlencode({name: value})}" for name, value in _checked(compress or {}).items())
    urls = {}
    if compress is None:
        urls = {"stored": task.stored_image_url, "discord": task.image_url}
    for way, url in zip(THROUGH_WSRV, (task.image_url, task.stored_image_url), strict=True):
        urls[way] = f"{WSRV}?url={quote(url, safe='', errors='replace')}{wanted}" if is_url(url) else None
    return {way: url for way, url in urls.items() if is_url(url)}


def urls_by(task: Task, via: str, compress: Mapping[str, object] | None) -> dict[str, str]:
    """Return the URLs to try, in order, one at least; `UsageError` says why there is none."""
    if via != "auto" and via not in WAYS:
        raise UsageError(f"via must be one of auto, {', '.join(WAYS)}; got {brief(via)}")
    if compress is not None and via not in ("auto", *THROUGH_WSRV):
        raise UsageError(f"compress is WSRV's work: it goes with via {' or '.join(THROUGH_WSRV)}, not {brief(via)}")
    urls = image_urls(task, compress)
    if reason := _why_none(task, urls):
        raise UsageError(f"task {task.id} has no image: {reason}")
    if via == "auto":
        return urls
    if via not in urls:
        raise UsageError(f"task {task.id} has no image by way of {via!r}; there is: {', '.join(urls)}")
    return {via: urls[via]}


def _why_none(task: Task, urls: Mapping[str, str]) -> str | None:
    if not task.is_terminal:
        return f"it is not finished ({task.status}{'' if task.progress is None else f', {task.progress}%'})"
    if task.failed and task.status in STATUS_ORDER:
        return f"it ended as {task.status} ({short(task.fail_reason or 'no reason given', 200)})"
    if urls:
        return None
    if task.kind == Kind.DESCRIBE:
        return "a DESCRIBE makes texts, which are in its prompt"
    return "its record holds no URL of one"


# What WSRV takes, each with what turns a value into its text or raises ValueError, which says what is wanted.


def _whole(low: int, high: int) -> Callable[[object], str]:
    def check(value: object) -> str:
        text = str(value)
        if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return text

    return check


def _number(low: float, high: float) -> Callable[[object], str]:
    def check(value: object) -> str:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                number = float(value)
            except (ValueError, OverflowError):
                number = math.nan
            if low <= number <= high:
                return f"{number:g}"
        raise ValueError(f"a number from {low:g} to {high:g}")

    return check


def _word(*words: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return str(value)

    return check


def _flag(value: object) -> str:
    if not isinstance(value, bool):
        raise ValueError("True or False")  # noqa: TRY004 (the caller turns it into a UsageError)
    return str(value).lower()


def _colour(value: object) -> str:
    if not isinstance(value, str) or not _COLOUR.fullmatch(value):
        raise ValueError("a colour: a name, or 3, 4, 6 or 8 hexadecimal digits")
    return value


_COLOUR = re.compile(r"[A-Za-z]{3,20}|[0-9A-Fa-f]{3,4}|[0-9A-Fa-f]{6}|[0-9A-Fa-f]{8}")
_PIXELS = _whole(1, 100_000)
_PLACE = _whole(0, 100_000)
_ANGLE = _whole(-3600, 3600)
_EDGES = ("top", "right", "bottom", "left", "top-left", "top-right", "bottom-left", "bottom-right")

# Source: https://wsrv.nl/docs/quick-reference. Left out is what gives no image of ours (`default`, `encoding`, JSON),
# what only concerns browsers (`filename`, `maxage`), and TIFF, which is not among the types that are downloaded.
PARAMETERS: Mapping[str, Callable[[object], str]] = {
    "w": _PIXELS,
    "h": _PIXELS,
    "dpr": _number(1, 8),
    "fit": _word("inside", "outside", "cover", "fill", "contain"),
    "cbg": _colour,
    "we": _flag,
    "a": _word("center", *_EDGES, "focal", "entropy", "attention"),
    "fpx": _number(0, 1),
    "fpy": _number(0, 1),
    "cx": _PLACE,
    "cy": _PLACE,
    "cw": _PIXELS,
    "ch": _PIXELS,
    "precrop": _flag,
    "trim": _whole(1, 254),
    "mask": _word(
        "circle",
        "ellipse",
        "triangle",
        "triangle-180",
        "pentagon",
        "pentagon-180",
        "hexagon",
        "square",
        "star",
        "heart",
    ),
    "mtrim": _flag,
    "mbg": _colour,
    "flip": _flag,
    "flop": _flag,
    "ro": _ANGLE,
    "rbg": _colour,
    "bg": _colour,
    "blur": _number(0, 100),
    "con": _whole(-100, 100),
    "filt": _word("greyscale", "sepia", "duotone", "negate"),
    "start": _colour,
    "stop": _colour,
    "gam": _number(1, 3),
    "mod": _number(0, 10_000),
    "sat": _number(0, 10_000),
    "hue": _ANGLE,
    "sharp": _number(0, 10_000),
    "sharpf": _number(0, 10_000),
    "sharpj": _number(0, 10_000),
    "tint": _colour,
    "af": _flag,
    "il": _flag,
    "l": _whole(0, 9),
    "ll": _flag,
    "n": _whole(-1, 10_000),
    "page": _whole(-2, 10_000),
    "output": _word("jpg", "png", "gif", "webp"),
    "q": _whole(1, 100),
}


def _checked(compress: Mapping[str, object]) -> dict[str, str]:
    if not isinstance(compress, Mapping):
        raise UsageError(f"compress must be a mapping of WSRV's parameters, not {type(compress).__name__}")
    texts = {}
    for name, value in compress.items():
        if name not in PARAMETERS:
            raise UsageError(f"compress: WSRV has no parameter {brief(name)}; there are {', '.join(PARAMETERS)}")
        try:
            texts[name] = PARAMETERS[name](value)
        except ValueError as error:
            raise UsageError(f"compress: {name} must be {error}; got {brief(value)}") from None
    return texts
