"""One make-believe task: its record at any moment of its life, and its image.

Pure. The wire's names stand here in a copy of their own, so that a mistake in `records` is not repeated here. Who may
ask for a record, and what goes wrong on the way, is `simulator`'s business.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from omgmj.errors import UsageError
from omgmj.testing.service.actions import offered
from omgmj.testing.service.lives import Life
from omgmj.testing.service.pictures import LONGEST, PREVIEW, draw

ENDS = frozenset({"SUCCESS", "FAILURE", "CANCEL"})
QUEUED = frozenset({"NOT_START", "SUBMITTED", "MODAL"})
CDN = "https://cdn.discordapp.com"
"""Where images lie, unless the service is served."""
IMAGES = "/attachments/"
"""What the paths of images begin with."""
LINK_LIVES = 86_400
"""Seconds for which a signed link is good."""
VARIANTS: Mapping[str, str] = {
    "submitted": "a task that waits is SUBMITTED for the second half of its queue",
    "previews": "`imageDcUrl` shows a small picture while the task runs",
    "signed": "links to images are signed as Discord's are, and good for a day from then",
    "missing": "a field without a value is left out, instead of being null",
}
"""How records may differ from those of the contract's example, by name, and what each does."""
_ASPECT = re.compile(r"--(?:ar|aspect) ([1-9]\d{0,3}):([1-9]\d{0,3})(?!\d)")
_PREVIEW = re.compile(r"_grid_(\d{1,9})(?=\.png$)")


def check_variants(variants: Iterable[str]) -> frozenset[str]:
    """Return the names as a set; `UsageError` where one is none of `VARIANTS`."""
    if isinstance(variants, str) or not isinstance(variants, Iterable):
        raise UsageError(f"variants must be several names, such as ['signed'], not {variants!r}")
    names = list(variants)
    for name in names:
        if not isinstance(name, str) or name not in VARIANTS:
            raise UsageError(f"there is no variant {name!r}; there are: {', '.join(VARIANTS)}")
    return frozenset(names)


def main_path(path: str) -> str:
    """Return the path of the whole image where `path` is that of a preview; any other path as it is."""
    return _PREVIEW.sub("", path)


@attrs.define
class FakeTask:
    """One task of the make-believe service; `made` is when it was made, seconds since the service's `epoch`.

    `upscaled` says of what grid, and of which quarter, the image is: a task that shows a single picture has one.
    """

    id: int
    life: Life
    made: float
    epoch: datetime
    image: uuid.UUID
    prompt: str
    kind: str
    pool: str
    known_from: float
    webhook: str | None = None
    variants: frozenset[str] = frozenset()
    shape: tuple[int, int] | None = None
    upscaled: tuple[uuid.UUID, int] | None = None
    image_base: str = CDN
    told: str | None = None
    """The progress that was told last."""

    @property
    def aspect(self) -> tuple[int, int]:
        """Width and height of the picture, as a ratio; the prompt's unless it was made in another shape."""
        if self.shape:
            return self.shape
        asked = _ASPECT.search(self.prompt)
        return (int(asked[1]), int(asked[2])) if asked else (1, 1)

    @property
    def image_path(self) -> str:
        """Where the image lies once the task has succeeded, without the host."""
        name = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in self.prompt.lower())[:60]
        return f"{IMAGES}1136958712796430388/{self.image.int % 10**19}/omgmj_{self.id}_{name}_{self.image}.png"

    def image_url(self, index: int) -> str | None:
        """Return where the image lies that is shown at moment number `index`; None where none is."""
        moment = self.life.moments[index]
        if self.kind == "DESCRIBE":
            return None
        if moment.status == "SUCCESS":
            path = self.image_path
        elif "previews" in self.variants and moment.status == "IN_PROGRESS" and moment.progress not in {None, "0%"}:
            path = f"{self.image_path.removesuffix('.png')}_grid_{index}.png"
        else:
            return None
        return self.image_base + path + (self._signature(path, moment.at) if "signed" in self.variants else "")

    def _signature(self, path: str, at: float) -> str:
        issued = int((self.epoch + timedelta(seconds=self.made + at)).timestamp())
        expires = issued + LINK_LIVES
        return f"?ex={expires:x}&is={issued:x}&hm={hashlib.sha256(f'{path} {expires}'.encode()).hexdigest()}&"

    def picture(self, path: str, query: str, now: float) -> bytes | None:
        """Return the image that lies at `path` by `now`; None where there is none, or a signed link is not good."""
        preview = _PREVIEW.search(path)
        index = self.moment(now)
        if preview:
            index = min(index, int(preview[1]))
        url = self.record(index).get("imageDcUrl")
        told_path, _, told_query = str(url).removeprefix(self.image_base).partition("?")
        if told_path != path or ("signed" in self.variants and query.rstrip("&") != told_query.rstrip("&")):
            return None
        if "signed" in self.variants and now >= self.made + self.life.moments[index].at + LINK_LIVES:
            return None
        return self.draw(PREVIEW if preview else LONGEST)

    def draw(self, longest: int = LONGEST) -> bytes:
        """Return the picture as a PNG whose longer side has `longest` pixels."""
        if self.kind == "UPSCALE":
            return draw(*(self.upscaled or (self.image, 1)), self.aspect, longest)
        return draw(self.image, None, self.aspect, longest)

    def moment(self, now: float) -> int:
        """Return which moment of its life it is at `now`."""
        return self.life.index(now - self.made)

    def record(self, index: int) -> dict[str, Any]:
        """Return the record at moment number `index` of the task's life: 15 fields, unless empty ones are missing."""
        moments = self.life.moments[: index + 1]
        here = moments[-1]
        started = next((moment.at for moment in moments if moment.status not in QUEUED), None)
        ends = [moment.at for moment in moments if moment.status in ENDS] if here.status in ENDS else [None]
        success = here.status == "SUCCESS"
        describes = self.kind == "DESCRIBE"
        prompt = None if describes and not success else self.prompt
        record = {
            "taskId": self.id,
            "taskType": self.pool,
            "status": here.status,
            "action": self.kind,
            "progress": here.progress,
            "description": f"/{self.kind.lower()}" + (f" {prompt}" if prompt and not describes else ""),
            "prompt": prompt,
            "failReason": None,
            "submitTime": self._time(0.0),
            "startTime": self._time(started),
            "finishTime": self._time(ends[0]),
            "webhookUrl": self.webhook,
            "imageDcUrl": self.image_url(index),
            "imageS3Url": None,
            "actions": offered(self.kind, self.image, self.aspect) if success else None,
            **here.extra,
        }
        if "missing" in self.variants:
            return {name: value for name, value in record.items() if value is not None}
        return record

    def _time(self, age: float | None) -> str | None:
        if age is None:
            return None
        told = self.epoch + timedelta(seconds=self.made + age)
        return told.isoformat(timespec="milliseconds").replace("+00:00", "Z")
