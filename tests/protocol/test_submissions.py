"""What creates a task: the forms to the letter, what is refused before, and which task may have come of what."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import attrs
import pytest

from omgmj.errors import RateLimited, SubmissionUncertain, UsageError
from omgmj.models import Action, Status, Submission, Task
from omgmj.protocol import submissions
from omgmj.protocol.submissions import (
    bears_webhook,
    check_blend,
    check_dimensions,
    check_mask,
    check_pool,
    check_prompt,
    check_webhook,
    choose_action,
    fits,
    sought,
    text,
)

URI = "data:image/png;base64,iVBO+/8="
U1 = Action("MJ::JOB::upsample::1::f00d", "", "U1")
U2 = Action("MJ::JOB::upsample::2::f00d", "", "U2")
REROLL = Action("MJ::JOB::reroll::0::f00d::SOLO", "🔄", "")
REGION = Action("MJ::Inpaint::1::f00d::SOLO", "🖌️", "Vary (Region)")
GRID = Task(7, Status.SUCCESS, pool="NORMAL", kind="IMAGINE", prompt="a cat", actions=(U1, U2, REROLL, REGION))


def form(draft: submissions.Draft) -> list[tuple[str, str]]:
    assert draft.request.content_type == "application/x-www-form-urlencoded"
    return parse_qsl(draft.request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)


def body(draft: submissions.Draft) -> list[tuple[str, Any]]:
    assert draft.request.content_type == "application/json"
    return list(json.loads(draft.request.body).items())


# The forms, and as JSON what carries images


def test_imagine_is_sent_to_the_letter() -> None:
    """Imagine sends what was given and no more, whatever characters the prompt has: JSON where there are images."""
    prompt = "a cat & a dog = 100% +1 ü 🐱 --ar 16:9\nsecond line"
    draft = submissions.imagine(prompt, pool="FAST", images=[URI, URI], webhook="https://me.test/hook?a=1&b=2")
    assert draft.request.method == "POST"
    assert draft.request.path == "/api/v1/ai/draw/mj/imagine"
    assert not draft.request.idempotent
    assert body(draft) == [
        ("model", "midjourney"),
        ("prompt", prompt),
        ("type", "FAST"),
        ("base64Array", [URI, URI]),
        ("webhook", "https://me.test/hook?a=1&b=2"),
    ]
    assert dict(form(submissions.imagine(prompt, pool=None)))["prompt"] == prompt
    assert dict(body(submissions.imagine(prompt, pool=None, images=[URI])))["base64Array"] == [URI]
    assert form(submissions.imagine("a cat", pool=None)) == [("model", "midjourney"), ("prompt", "a cat")]


def test_a_prompt_that_looks_like_an_image_is_escaped_all_the_same() -> None:
    """Only what is an image is escaped as one."""
    prompt = "data:a b,c&d"
    assert dict(form(submissions.imagine(prompt, pool=None)))["prompt"] == prompt


def test_action_is_sent_to_the_letter() -> None:
    """The form of an action names its parent, its custom ID and the parent's pool, and its mask where there is one."""
    draft = submissions.act(GRID, U1)
    assert draft.request.path == "/api/v1/ai/draw/mj/action"
    assert form(draft) == [
        ("model", "midjourney"),
        ("taskId", "7"),
        ("customId", U1.custom_id),
        ("type", "NORMAL"),
    ]
    masked = submissions.act(GRID, REGION, mask=URI, webhook="https://me.test")
    assert body(masked)[1] == ("taskId", 7)
    assert body(masked)[-2:] == [("base64Mask", URI), ("webhook", "https://me.test")]
    assert dict(form(submissions.act(attrs.evolve(GRID, pool="TURBO"), U1)))["type"] == "TURBO"
    assert "type" not in dict(form(submissions.act(attrs.evolve(GRID, pool=None), U1)))
    with pytest.raises(UsageError, match="customId cannot be sent"):
        submissions.act(GRID, Action("half \ud83d"))
    with pytest.raises(UsageError, match="customId cannot be sent"):
        submissions.act(GRID, Action("Inpaint \ud83d"), mask=URI)


def test_blend_and_describe_are_sent_to_the_letter() -> None:
    """Blend has a list of images; describe has one."""
    blended = submissions.blend([URI, URI], dimensions="SQUARE", pool="NORMAL")
    assert blended.request.path == "/api/v1/ai/draw/mj/blend"
    assert body(blended)[1:] == [
        ("base64Array", [URI, URI]),
        ("dimensions", "SQUARE"),
        ("type", "NORMAL"),
    ]
    described = submissions.describe(URI, pool=None)
    assert described.request.path == "/api/v1/ai/draw/mj/describe"
    assert body(described) == [("model", "midjourney"), ("base64", URI)]


def test_a_large_image_is_written_as_a_small_one() -> None:
    """The pieces in which a large image is written fit together."""
    uri = "data:image/png;base64," + "+/A=" * 400_000
    assert dict(body(submissions.describe(uri, pool=None)))["base64"] == uri


def test_what_is_kept_holds_no_images() -> None:
    """A submission's value says how many images there were, and holds none."""
    kept = submissions.imagine("a cat", pool="FAST", images=[URI], webhook="https://me.test").submission
    assert kept == Submission("IMAGINE", prompt="a cat", pool="FAST", images=1, webhook="https://me.test")
    acted = submissions.act(GRID, REGION, mask=URI).submission
    assert (acted.kind, acted.parent_id, acted.custom_id, acted.images) == ("ACTION", 7, REGION.custom_id, 1)


# What is refused


@pytest.mark.parametrize("prompt", ["", "  \n\t", "\u200b\u2060\ufeff", None, 5, b"a cat", "half \ud83d"])
def test_a_prompt_that_is_none_is_refused(prompt: Any) -> None:
    """A missing, blank or unsendable prompt is found before anything is sent."""
    with pytest.raises(UsageError, match="prompt"):
        check_prompt(prompt)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "me.test/hook",
        "ftp://me.test",
        "https://",
        "https://a b",
        "https://me.test:port",
        "https://[",
        5,
        b"x",
        "javascript:x",
    ],
)
def test_a_webhook_that_is_no_url_is_refused(url: Any) -> None:
    """A webhook is an http or https URL; what is none is not quoted, as it may hold a secret."""
    with pytest.raises(UsageError, match="webhook") as caught:
        check_webhook(url)
    assert "me.test" not in str(caught.value)
    assert check_webhook(None) is None
    assert check_webhook("http://me.test:81/a?b=c") == "http://me.test:81/a?b=c"


def test_pools_and_dimensions_are_words_of_the_contract() -> None:
    """Another word than those of the contract is a usage error that names them."""
    assert (check_pool(None), check_pool("FAST"), check_dimensions("PORTRAIT")) == (None, "FAST", "PORTRAIT")
    for pool in ("fast", 10**5000):
        with pytest.raises(UsageError, match="NORMAL, FAST"):
            check_pool(pool)
    with pytest.raises(UsageError, match="PORTRAIT, SQUARE, LANDSCAPE"):
        check_dimensions("3:2")


@pytest.mark.parametrize("count", [0, 1, 6, 100])
def test_a_blend_takes_two_to_five_images(count: int) -> None:
    """Too few or too many images are refused."""
    with pytest.raises(UsageError, match=f"2 to 5 images, not {count}"):
        check_blend([b"1"] * count)
    assert check_blend([b"1", b"2"]) == [b"1", b"2"]
    assert check_blend([b"1"] * 5) == [b"1"] * 5


def test_only_vary_region_takes_a_mask() -> None:
    """A mask with another action is refused."""
    check_mask(REGION)
    with pytest.raises(UsageError, match="U1"):
        check_mask(U1)


# Actions


@pytest.mark.parametrize(
    ("name", "action"), [("U1", U1), ("🔄", REROLL), (U2.custom_id, U2), (U2, U2), (REGION, REGION)]
)
def test_an_action_is_found_by_label_emoji_or_custom_id(name: Any, action: Action) -> None:
    """An action is meant by itself or by any of its names."""
    assert choose_action(GRID, name) is action


def test_an_unknown_action_lists_those_there_are() -> None:
    """What the task does not offer is an error that shows what it does."""
    with pytest.raises(UsageError, match=r"no action 'U9'; there are: U1 .*U2 .*🔄 .*Vary \(Region\)"):
        choose_action(GRID, "U9")
    with pytest.raises(UsageError, match="no action 'U1'"):
        choose_action(GRID, Action("MJ::JOB::upsample::1::other", "", "U1"))


def test_an_ambiguous_action_lists_those_it_could_be() -> None:
    """A label that two actions have is an error that shows both and no others."""
    twice = attrs.evolve(GRID, actions=(U1, attrs.evolve(U2, label="U1"), REROLL))
    with pytest.raises(UsageError, match="several actions 'U1'") as caught:
        choose_action(twice, "U1")
    assert U2.custom_id in str(caught.value)
    assert REROLL.custom_id not in str(caught.value)
    same = attrs.evolve(GRID, actions=(U1, U1, Action("", "", "U1")))
    assert choose_action(same, "U1") == U1


def test_a_task_without_actions_says_why() -> None:
    """A task that is not finished, or failed, offers nothing."""
    with pytest.raises(UsageError, match="IN_PROGRESS"):
        choose_action(Task(7, Status.IN_PROGRESS), "U1")
    with pytest.raises(UsageError, match="FAILURE"):
        choose_action(Task(7, Status.FAILURE), "U1")
    with pytest.raises(UsageError, match=r"^task 7 offers no actions$"):
        choose_action(Task(7, Status.SUCCESS, kind="DESCRIBE"), "U1")
    with pytest.raises(UsageError, match=r"^task 7 offers no actions$"):
        choose_action(Task(7, Status.SUCCESS, actions=(Action("", "", "U1"),)), "U1")
    for rubbish in (None, 5, ""):
        with pytest.raises(UsageError, match="an action is"):
            choose_action(GRID, rubbish)  # type: ignore[arg-type]


# The search for what became of it


@pytest.mark.parametrize(
    ("task", "fitting"),
    [
        (Task(9, "SUBMITTED", kind="IMAGINE", prompt="a  cat\n--ar 1:1 "), True),
        (Task(9, "SUBMITTED", kind=None, prompt="a cat --ar 1:1"), True),
        (Task(9, "SUBMITTED", kind="IMAGINE", prompt="https://s.mj.run/x a cat --ar 1:1"), True),
        (Task(9, "SUBMITTED", kind="IMAGINE", description="/imagine a cat --ar 1:1"), True),
        (Task(9, "SUBMITTED", kind="IMAGINE", description="/imagine prompt:a cat --ar 1:1"), True),
        (Task(9, "SUBMITTED", kind="IMAGINE", prompt="http://a.test/1.png https://b.test/2 a cat --ar 1:1"), True),
        (Task(9, "SUBMITTED", kind="IMAGINE", prompt="draw me a cat --ar 1:1"), False),
        (Task(9, "SUBMITTED", kind="IMAGINE", prompt="https://s.mj.run/xa cat --ar 1:1"), False),
        (Task(9, "SUBMITTED", kind="IMAGINE", prompt="a cat"), False),
        (Task(9, "SUBMITTED", kind="IMAGINE"), False),
        (Task(9, "SUBMITTED", kind="UPSCALE", prompt="a cat --ar 1:1"), False),
    ],
)
def test_what_fits_an_imagine(task: Task, fitting: bool) -> None:
    """A task fits by its kind and its prompt, blanks and what is put before it left aside."""
    assert fits(task, Submission("IMAGINE", prompt="a cat --ar 1:1")) is fitting


@pytest.mark.parametrize(
    ("custom_id", "kind", "fitting"),
    [
        (U1.custom_id, "UPSCALE", True),
        (U1.custom_id, "VARIATION", False),
        ("MJ::JOB::low_variation::1::f00d::SOLO", "VARIATION", True),
        ("MJ::JOB::left_pan_variation::1::f00d::SOLO", "PAN", True),
        ("MJ::JOB::left_pan_variation::1::f00d::SOLO", "VARIATION", False),
        ("MJ::Outpaint::50::1::f00d::SOLO", "ZOOM", True),
        (REROLL.custom_id, "VARIATION", True),
        (REROLL.custom_id, "UPSCALE", False),
        ("MJ::NEW::thing", "WHATEVER", True),
        ("MJ::NEW::thing", "IMAGINE", False),
        (U1.custom_id, None, True),
        (U1.custom_id, "UPSCALE_HD", True),
        (U1.custom_id, "REROLL", False),
    ],
)
def test_what_fits_an_action(custom_id: str, kind: str | None, fitting: bool) -> None:
    """A task fits an action by the kind that the action makes, and by its parent's prompt."""
    sent = Submission("ACTION", prompt="a cat", parent_id=7, custom_id=custom_id)
    assert fits(Task(9, "SUBMITTED", kind=kind, prompt="a cat"), sent) is fitting
    assert not fits(Task(9, "SUBMITTED", kind=kind, prompt="a dog"), sent)


def test_what_fits_a_blend_or_describe() -> None:
    """Blends and describes have no prompt of their own: their kind decides."""
    assert fits(Task(9, "SUBMITTED", kind="BLEND", prompt="x"), Submission("BLEND", images=2))
    assert not fits(Task(9, "SUBMITTED", kind="BLEND"), Submission("DESCRIBE", images=1))


def test_what_is_sought_is_one_thing() -> None:
    """An error, a prompt or an action is searched for, and just one of them."""
    sent = Submission("IMAGINE", prompt="a cat")
    lost = SubmissionUncertain("lost", submission=sent)
    assert sought(None, "a cat", None) == sought(lost, None, None) == sent
    assert sought(None, None, U1) == sought(None, None, U1.custom_id) == Submission("ACTION", custom_id=U1.custom_id)
    wrong: list[tuple[Any, Any, Any]] = [
        (None, None, None),
        (None, "a cat", "U1"),
        (None, "", None),
        (None, None, ""),
        (None, None, 5),
        (lost, "a cat", None),
        (RateLimited("no"), None, None),
        ("x", None, None),
        (10**5000, None, None),
        (None, None, 10**5000),
        (SubmissionUncertain("made by hand"), None, None),
    ]
    for given in wrong:
        with pytest.raises(UsageError):
            sought(*given)


def test_the_text_of_a_submission_tells_no_webhook() -> None:
    """Messages show what was sent and when, long prompts cut, webhooks not at all."""
    sent = Submission(
        "IMAGINE",
        prompt="x" * 5000,
        webhook="https://me.test/secret",
        images=2,
        sent_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    said = text(sent)
    assert said.startswith("IMAGINE at 2026-01-02 03:04:05 UTC (prompt 'xxx")
    assert said.endswith("images 2)")
    assert len(said) < 300
    assert "x" * 5000 in text(sent, whole=True)
    assert not any("secret" in shown for shown in (said, text(sent, whole=True), repr(sent)))


@pytest.mark.parametrize(
    ("sent", "listed", "same"),
    [
        ("https://me.test/hook/4f1c", "https://me.test/hook/4f1c", True),
        ("https://me.test/hook/4f1c", "https://ME.test/hook/4f1c/", True),
        ("https://me.test/h%C3%A9?task=4f%201c", "https://me.test/hé?task=4f 1c", True),
        ("https://me.test/hook/4f1c", "https://me.test/hook/4F1C", False),
        ("https://me.test/hook?4f1c", "https://me.test/hook?4f1d", False),
        ("https://me.test/hook/4f1c", "http://me.test/hook/4f1c", False),
        ("https://me.test/hook/4f1c", None, None),
        ("https://me.test/hook/4f1c", "", None),
        ("https://me.test/hook/4f1c", "***", None),
        ("https://me.test/hook/4f1c", "https://[", None),
        (None, "https://me.test/hook/4f1c", None),
    ],
)
def test_whose_webhook_a_task_has(sent: str | None, listed: str | None, same: bool | None) -> None:
    """Spellings of one URL are one; where either tells none, nothing is known. A task with another's fits nothing."""
    task = Task(9, "SUBMITTED", kind="IMAGINE", prompt="a cat", webhook_url=listed)
    submission = Submission("IMAGINE", prompt="a cat", webhook=sent)
    assert bears_webhook(task, submission) is same
    assert fits(task, submission) is (same is not False)


@pytest.mark.parametrize(
    ("submission", "kind"),
    [
        (Submission("IMAGINE"), "IMAGINE"),
        (Submission("ACTION", custom_id="MJ::JOB::upsample::2::a-b"), "upsample"),
        (Submission("ACTION", custom_id="MJ::JOB::low_variation::1::a-b::SOLO"), "variation"),
        (Submission("ACTION", custom_id="something else"), "ACTION"),
        (Submission("ACTION"), "ACTION"),
    ],
)
def test_what_a_submission_makes(submission: Submission, kind: str) -> None:
    """A new task's kind is known from its submission, of an action by the word in its custom ID."""
    assert submissions.kind_made(submission) == kind
