"""How a make-believe task is told: the variants of its record, and where its image lies when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from omgmj.errors import UsageError
from omgmj.testing.service.account import FakeImage
from omgmj.testing.service.endpoints import ACTION, BLEND
from omgmj.testing.service.fake_task import LINK_LIVES, VARIANTS
from omgmj.testing.service.faults import FIELDS
from omgmj.testing.service.lives import Life, with_submitted
from omgmj.testing.service.simulator import EPOCH, FIRST_ID, Simulator
from tests.testing.png import decode, halved, quarters
from tests.testing.service.test_account import DONE, IMAGE, act, data, send, told

WAITS = Life.steps(
    [(0, "NOT_START", None), (10, "IN_PROGRESS", "0%"), (20, "IN_PROGRESS", "15%"), (40, "SUCCESS", "100%")]
)


def living(*variants: str, **facts: Any) -> Simulator:
    """Return a service with one task of 40 s, told so."""
    service = Simulator(variants=variants)
    service.add_task(WAITS, now=0.0, **facts)
    return service


# Variants


def test_by_default_records_are_the_examples() -> None:
    """Without variants a task waits as NOT_START, shows no preview and tells nulls; its links are plain."""
    service = living()
    assert told(service, FIRST_ID, 9.0)["status"] == "NOT_START"
    assert told(service, FIRST_ID, 30.0)["imageDcUrl"] is None
    assert tuple(told(service, FIRST_ID, 0.0)) == FIELDS
    assert told(service, FIRST_ID, 40.0)["imageDcUrl"].endswith(".png")


def test_submitted_is_told_before_the_start() -> None:
    """A task that waits is SUBMITTED from half of its queue on, drawn or scripted; its start is no earlier."""
    service = living("submitted")
    seen = [told(service, FIRST_ID, now) for now in (4.9, 5.0, 9.9, 10.0)]
    assert [record["status"] for record in seen] == ["NOT_START", "SUBMITTED", "SUBMITTED", "IN_PROGRESS"]
    assert [record["startTime"] for record in seen[:3]] == [None] * 3
    drawn = service.add_task(now=0.0)
    plain = Simulator()
    plain.add_task(WAITS, now=0.0)
    assert service.tasks[drawn].life == with_submitted(plain.tasks[plain.add_task(now=0.0)].life)
    for life in (Life.succeed(5.0, queue=0.0), Life.steps([(0, "NOT_START", None)])):
        assert with_submitted(life) == life


def test_previews_are_small_pictures_of_their_own() -> None:
    """While a task runs its preview lies at a link of its own, from the first percent on, also when it has moved on."""
    service = living("previews")
    assert told(service, FIRST_ID, 19.0)["imageDcUrl"] is None
    url, last = (told(service, FIRST_ID, now)["imageDcUrl"] for now in (20.0, 40.0))
    assert url != last
    assert service.image(url, 19.9) is None
    assert service.image(last, 39.9) is None
    early, late, whole = service.image(url, 20.0), service.image(url, 50.0), service.image(last, 40.0)
    assert early
    assert whole
    assert early == late
    assert len(decode(early.content)[0]) < len(decode(whole.content)[0])
    assert service.image(url.replace("_grid_", "_grid_9"), 50.0) is None


def test_empty_fields_are_missing() -> None:
    """Fields without a value are left out where that is asked for, of one task too; actions and queries go on."""
    service = living("missing", pool="FAST")
    assert set(told(service, FIRST_ID, 0.0)) == set(FIELDS) - {
        "progress", "failReason", "startTime", "finishTime", "webhookUrl", "imageDcUrl", "imageS3Url", "actions"
    }  # fmt: skip
    described = service.add_task(DONE, now=0.0, kind="DESCRIBE")
    assert "imageDcUrl" not in told(service, described, 40.0)
    assert "imageDcUrl" in told(service, service.add_task(WAITS, now=0.0, variants=[]), 0.0)
    action = told(service, FIRST_ID, 40.0)["actions"][0]["customId"]
    child = data(act(service, action))
    assert "failReason" not in told(service, child, 40.0)
    service.inject("stuck_progress", times=None)
    assert "progress" in told(service, FIRST_ID, 30.0)
    unfinished = act(service, action, task_id=child)
    assert b"has not succeeded" in unfinished.body


def test_links_are_signed_and_end() -> None:
    """A signed link has Discord's parameters, is good for a day as it was given, and for nothing else."""
    service = living("signed", "previews")
    url = told(service, FIRST_ID, 40.0)["imageDcUrl"]
    fields = parse_qs(urlsplit(url).query)
    assert list(fields) == ["ex", "is", "hm"]
    issued, ends = (int(fields[name][0], 16) for name in ("is", "ex"))
    assert issued == (EPOCH + timedelta(seconds=40)).timestamp()
    assert ends - issued == LINK_LIVES
    assert len(fields["hm"][0]) == 64
    assert told(service, FIRST_ID, 9000.0)["imageDcUrl"] == url
    for good in (url, url.rstrip("&")):
        assert service.image(good, 39.0 + LINK_LIVES)
    preview = told(service, FIRST_ID, 20.0)["imageDcUrl"]
    assert service.image(preview, 30.0)
    for wrong in (
        url.partition("?")[0],
        url.replace("ex=", "ex=1"),
        url.partition("?")[0] + "?" + preview.partition("?")[2],
    ):
        assert service.image(wrong, 40.0) is None
    assert service.image(url, 40.0 + LINK_LIVES) is None


@pytest.mark.parametrize("wrong", ["signed", ["shiny"], [5], 5])
def test_unknown_variant_names_the_known_ones(wrong: Any) -> None:
    """A variant that does not exist, or one bare name, is a usage error, for the service and for one task."""
    with pytest.raises(UsageError, match="variant"):
        Simulator(variants=wrong)
    with pytest.raises(UsageError, match="variant"):
        Simulator().add_task(WAITS, now=0.0, variants=wrong)
    assert VARIANTS.keys() == {"submitted", "previews", "signed", "missing"}


# Images


def test_image_lies_where_the_record_says() -> None:
    """An image is there from the moment that its record names it, and nowhere else."""
    service = living()
    url = told(service, FIRST_ID, 40.0)["imageDcUrl"]
    assert service.image(url, 39.0) is None
    assert service.image(url, 40.0) == FakeImage(FIRST_ID, service.tasks[FIRST_ID].draw())
    assert service.image(url + "x", 40.0) is None
    scripted = service.add_task(Life.steps([(0, "SUCCESS", "100%", {"imageDcUrl": None})]), now=0.0)
    assert service.image(str(service.tasks[scripted].image_url(0)), 40.0) is None


def test_an_upscale_is_a_picture_of_its_grid() -> None:
    """U2 of a grid shows the grid's second picture, larger, in the grid's shape; a made-up upscale shows one too."""
    service = Simulator()
    service.add_task(DONE, now=0.0, pool="FAST", prompt="a cat --ar 3:2")
    for action in told(service, FIRST_ID, 40.0)["actions"][:4]:
        act(service, action["customId"])
    cut = quarters(decode(service.tasks[FIRST_ID].draw()))
    large = [halved(decode(service.tasks[FIRST_ID + number].draw())) for number in (1, 2, 3, 4)]
    assert large == cut
    alone = service.add_task(DONE, now=0.0, kind="UPSCALE")
    four = quarters(decode(service.tasks[alone].draw()))
    assert any(one != other for one in four for other in four)


@pytest.mark.parametrize(
    ("prompt", "aspect"),
    [
        ("a cat", (1, 1)),
        ("a cat --ar 16:9 --v 6", (16, 9)),
        ("a cat --aspect 2:3", (2, 3)),
        ("a cat --ar 0:9", (1, 1)),
        ("a cat --ar 1:99999", (1, 1)),
        ("a cat --ar wide", (1, 1)),
    ],
)
def test_a_prompt_tells_its_shape(prompt: str, aspect: tuple[int, int]) -> None:
    """A picture is as wide as its prompt asks for; what cannot be read is square."""
    service = living(prompt=prompt)
    assert service.tasks[FIRST_ID].aspect == aspect


def labels(record: Any) -> list[str]:
    return [action["label"] for action in record["actions"] or ()]


@pytest.mark.parametrize(("prompt", "offers"), [("a cat --ar 3:2", True), ("a cat --ar 4:4", False), ("a cat", False)])
def test_what_is_not_square_can_be_made_so(prompt: str, offers: bool) -> None:
    """An upscale offers Make Square beside the zooms unless it is square; what comes of it is a square ZOOM."""
    service = living(kind="UPSCALE", pool="FAST", prompt=prompt)
    record = told(service, FIRST_ID, 40.0)
    assert labels(record)[4:6] == (["Zoom Out 1.5x", "Make Square"] if offers else ["Zoom Out 1.5x", ""])
    if offers:
        child = data(act(service, record["actions"][5]["customId"]))
        assert (told(service, child, 40.0)["action"], service.tasks[child].aspect) == ("ZOOM", (1, 1))


@pytest.mark.parametrize(("dimensions", "aspect"), [("PORTRAIT", (2, 3)), ("LANDSCAPE", (3, 2)), ("", (1, 1))])
def test_a_blend_has_the_shape_that_was_asked_for(dimensions: str, aspect: tuple[int, int]) -> None:
    """A blend has its dimensions, and so have its children."""
    service = Simulator()
    service.plan(DONE, unknown_for=0.0)
    made = data(send(service, BLEND, 0.0, ("base64Array", IMAGE), ("base64Array", IMAGE), dimensions=dimensions))
    assert service.tasks[made].aspect == aspect
    first = told(service, made, 40.0)["actions"][0]["customId"]
    child = data(send(service, ACTION, 40.0, taskId=str(made), customId=first))
    assert service.tasks[child].aspect == aspect
