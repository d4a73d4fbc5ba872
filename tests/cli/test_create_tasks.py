"""The commands that make tasks, against a served `FakeService`: what they show, and that no task's ID gets lost."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from omgmj.backoff import Fixed
from omgmj.cli import app
from omgmj.session import Session
from omgmj.testing import PNG, FakeService, Fault, Life
from tests.cli.test_app import DONE, ENDLESS, FAILED, OMGMJ, in_thread, records

LOST = Fault("drop_before_headers", only="submissions")
SILENT = Fault("silence", only="submissions")


@pytest.fixture(autouse=True)
def fake(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """Serve an account with task 1, done, and task 2, which never ends; the environment leads there."""
    service = FakeService(epoch=datetime.now(UTC))
    service.add_task(DONE, task_id=1)
    service.add_task(ENDLESS, task_id=2)
    # Lives are over at once here, and so is what the policy waits for.
    monkeypatch.setattr("omgmj.session.opening.Adaptive", partial(Fixed, 0.01))
    monkeypatch.setenv("COLUMNS", "100")
    with in_thread(service):
        monkeypatch.setenv("OMGMJ_TOKEN", "sk-secret")
        monkeypatch.setenv("OMGMJ_BASE_URL", service.url)
        service.tokens.add("sk-secret")
        yield service


@pytest.fixture
def png(tmp_path: Path) -> str:
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    return str(path)


def saved(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# What is made and shown.


def test_story(fake: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Imagine, act on the result, list both and fetch their images: each command takes what the one before gave."""
    fake.plan(DONE)
    assert app.main(["imagine", "a cat --ar 16:9", "--wait"]) == 0
    out, err = capsys.readouterr()
    [grid] = records(out)
    assert (grid["status"], grid["prompt"], grid["taskType"]) == ("SUCCESS", "a cat --ar 16:9", "FAST")
    assert err == f"omgmj: task {grid['taskId']} was made\n"

    fake.plan(DONE)
    assert app.main(["act", str(grid["taskId"]), "U1", "--wait", "--download", str(tmp_path / "new" / "one")]) == 0
    big, where = records(capsys.readouterr().out)
    assert (big["status"], big["action"]) == ("SUCCESS", "UPSCALE")
    assert where == {"taskId": big["taskId"], "path": str(tmp_path / "new" / "one" / f"task-{big['taskId']}.png")}
    assert Path(where["path"]).read_bytes() == fake.image(big["taskId"])

    assert app.main(["list", "--since", "1h", "--status", "success", "--limit", "2"]) == 0
    ids = [record["taskId"] for record in records(capsys.readouterr().out)]
    assert ids == [big["taskId"], grid["taskId"]]

    assert app.main(["download", *map(str, ids), "--to", str(tmp_path / "all")]) == 0
    out, err = capsys.readouterr()
    assert {record["taskId"] for record in records(out)} == set(ids)
    assert saved(tmp_path / "all") == sorted(f"task-{task_id}.png" for task_id in ids)
    assert err == ""
    assert [made.kind for made in fake.created] == ["IMAGINE", "UPSCALE"]


def test_imagine_shows_the_id(fake: FakeService, capsys: pytest.CaptureFixture[str], png: str) -> None:
    """Without `--wait` the ID is all there is, and what was asked for is sent to the letter."""
    arguments = ["imagine", "a cat", "--pool", "normal", "--image", png, "--image", png, "--webhook", "https://x/y"]
    assert app.main(arguments) == 0
    [made] = fake.created
    assert capsys.readouterr() == (json.dumps({"taskId": made.task_id}) + "\n", "")
    assert {**made.fields, "base64Array": len(made.fields["base64Array"])} == {
        "prompt": "a cat",
        "type": "NORMAL",
        "base64Array": 2,
        "webhook": "https://x/y",
    }


def test_blend_and_describe(fake: FakeService, capsys: pytest.CaptureFixture[str], png: str) -> None:
    """`blend` and `describe` send their images, and the record of a describe has its texts."""
    assert app.main(["blend", png, png, png, "--dimensions", "landscape"]) == 0
    fake.plan(DONE)
    assert app.main(["describe", png, "--wait"]) == 0
    blended, described = fake.created
    assert (blended.kind, len(blended.fields["base64Array"])) == ("BLEND", 3)
    assert blended.fields["dimensions"] == "LANDSCAPE"
    shown = records(capsys.readouterr().out)
    assert shown[0] == {"taskId": blended.task_id}
    assert (shown[1]["taskId"], shown[1]["action"]) == (described.task_id, "DESCRIBE")
    assert shown[1]["prompt"]


@pytest.mark.parametrize("command", ["imagine", "act", "blend", "describe"])
def test_help_names_the_shared_options(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """What commands that create share stands in the help of each; `describe`, which has no image, has no download."""
    assert app.main([command, "--help"]) == 0
    shared = ["--rate", "--progress", "--webhook", "--wait", "--download", "--timeout"]
    named = re.findall(r"^\S* +(--\w+)", capsys.readouterr().out, re.MULTILINE)
    assert [option for option in named if option in shared] == [
        option for option in shared if (command, option) != ("describe", "--download")
    ]


def test_describe_without_download(fake: FakeService, capsys: pytest.CaptureFixture[str], png: str) -> None:
    """`describe` does not take the option that it leaves out, nor creates a task then."""
    assert app.main(["describe", png, "--download", "x"]) == 2
    said = capsys.readouterr().err.replace(chr(34), "")  # early cyclopts puts an option in quotes
    assert said.startswith("omgmj: Unknown option: --download.")
    assert fake.created == []


def test_vary_region(fake: FakeService, capsys: pytest.CaptureFixture[str], png: str) -> None:
    """`--mask` goes with Vary (Region)."""
    big = fake.add_task(DONE, kind="UPSCALE")
    assert app.main(["act", str(big), "Vary (Region)", "--mask", png]) == 0
    assert "base64Mask" in fake.created[0].fields
    assert records(capsys.readouterr().out) == [{"taskId": fake.created[0].task_id}]


def test_failure(fake: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A task that fails is shown, nothing is fetched, and the code is 1."""
    fake.plan(FAILED)
    assert app.main(["imagine", "a cat", "--download", str(tmp_path / "new")]) == 1
    [record] = records(capsys.readouterr().out)
    assert record["failReason"] == "no luck"
    assert saved(tmp_path / "new") == []


def test_download_that_fails(fake: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Where the image cannot be fetched the record was shown, and it is said why and how to go on; the code is 1."""
    life = Life.steps([(0, "SUCCESS", "100%", {"imageDcUrl": f"{fake.url}/gone.png"})])
    fake.plan(life)
    assert app.main(["imagine", "a cat", "--download", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    task_id = fake.created[0].task_id
    assert [record["taskId"] for record in records(out)] == [task_id]
    *_, failed, last = err.splitlines()
    assert failed.startswith(f"omgmj: {task_id}: DownloadError: ")
    assert last == f"omgmj: to go on: omgmj download {task_id} --to {tmp_path}"
    assert saved(tmp_path) == []


def test_wait_that_ends(fake: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With `--timeout` the wait ends, and it is said how to go on with all that was asked for; the code is 1."""
    fake.plan(ENDLESS)
    options = ["--download", str(tmp_path), "--timeout", "0", "--rate", "100"]
    assert app.main(["imagine", "a cat", *options]) == 1
    out, err = capsys.readouterr()
    task_id = fake.created[0].task_id
    assert out == ""
    assert f"{task_id}: WaitTimeout: " in err
    assert err.splitlines()[-1] == (
        f"omgmj: to go on: omgmj watch {task_id} --timeout 0 --rate 100 "
        f"&& omgmj download {task_id} --to {tmp_path} --rate 100"
    )


def test_prompt_after_dashes(fake: FakeService) -> None:
    """After -- a prompt may begin with a dash."""
    assert app.main(["imagine", "--", "--ar 16:9 cat"]) == 0
    assert fake.created[0].fields["prompt"] == "--ar 16:9 cat"


# What is misused or refused.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["imagine"], "PROMPT"),
        (["imagine", " "], "the prompt is empty"),
        (
            ["imagine", "a", "cat"],
            "Unexpected argument: cat. The prompt is one argument: put it in quotes, and after --",
        ),
        (["imagine", "a", "cat", "--ar", "16:9"], "The prompt is one argument: put it in quotes"),
        (["imagine", "--ar 16:9 cat"], "The prompt is one argument: put it in quotes"),
        (["imagine", "a cat", "--pool", "slow"], "for --pool: 'slow' is none of NORMAL, FAST"),
        (["imagine", "a cat", "--timeout", "9"], "--timeout goes with --wait or --download"),
        (["imagine", "a cat", "--rate", "-1"], "for --rate. It must be a number above 0."),
        (["imagine", "a cat", "--download", ""], "for --download: it is empty"),
        (["imagine", "a cat", "--webhook", "ftp://x"], "the webhook must be"),
        (["imagine", "a cat", "--image", "nowhere.png"], "nowhere.png"),
        (["imagine", "a cat", "--download", "/dev/null"], "'/dev/null' is not a directory"),
        (["act", "x", "U1"], "not 'x'"),
        (["blend", "nowhere.png"], "2 to 5 images, not 1"),
        (["blend", "a.png", "b.png", "--dimensions", "round"], "for --dimensions: 'round' is none of PORTRAIT"),
        (["describe", "."], "directory"),
    ],
)
def test_wrong_usage(fake: FakeService, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    """What is misused is one line on stderr and the code 2, and nothing is sent."""
    assert app.main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err.replace('"', "")  # early cyclopts puts an option in quotes
    assert fake.requests == 0


def test_action_not_offered(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """An action that the task does not offer is wrong usage: those that it does are named, and nothing is made."""
    assert app.main(["act", "1", "U9"]) == 2
    assert "U4 (MJ::JOB::upsample::4::" in capsys.readouterr().err
    assert fake.created == []


def test_refused(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """A submission that the service refuses is one line and the code 1: there is no doubt that nothing was made."""
    fake.inject("code_400")
    assert app.main(["imagine", "a cat", "--wait"]) == 1
    out, err = capsys.readouterr()
    assert (out, fake.created) == ("", [])
    assert err.startswith("omgmj: ServiceError: ")
    assert err.count("\n") == 1


# What may have been made.


def test_uncertain(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the answer was lost: what was sent, how to search for it, what a first search finds; the code is 3."""
    fake.inject(LOST)
    fake.plan(DONE)
    assert app.main(["imagine", "a cat in the rain", "--wait"]) == 3
    out, err = capsys.readouterr()
    [made] = fake.created
    lines = err.splitlines()
    assert out == ""
    assert re.search(r"SubmissionUncertain: .* IMAGINE at 20..-..-.. ..:..:.. UTC .*'a cat in the rain'", lines[0])
    assert f"this may be it: task {made.task_id}, SUCCESS, made at 20" in lines[2]
    assert lines[2].endswith(f"To go on: omgmj watch {made.task_id}")
    assert "secret" not in err
    command = lines[1].partition("To search for it: omgmj ")[2].split()
    assert app.main(command) == 0
    assert made.task_id in [record["taskId"] for record in records(capsys.readouterr().out)]


def test_uncertain_and_not_found(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """A first search that finds nothing says so, and that it proves nothing."""
    fake.list_lag = 100
    fake.inject(LOST)
    assert app.main(["act", "1", "U1"]) == 3
    err = capsys.readouterr().err
    assert "found no task that fits: there is none, or the service does not list it yet" in err
    assert "ACTION at " in err


def test_uncertain_and_no_search(fake: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """A first search that fails says why, after all that is known was said."""
    fake.inject(LOST)
    fake.inject("list_forbidden", times=None)
    assert app.main(["imagine", "a cat"]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert "To search for it: omgmj list --since " in lines[1]
    assert lines[2].startswith("omgmj: a first search for it failed: AuthError: ")


def test_uncertain_with_an_image(fake: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Where the answer was lost the commands that go on fetch the image too, whether the task was found or not."""
    fake.inject(LOST)
    assert app.main(["imagine", "a cat", "--download", str(tmp_path)]) == 3
    task_id = fake.created[0].task_id
    steps = f"omgmj watch {task_id} && omgmj download {task_id} --to {tmp_path}\n"
    assert capsys.readouterr().err.endswith(f"To go on: {steps}")
    fake.list_lag = 100
    fake.inject(LOST)
    assert app.main(["imagine", "a cat", "--download", str(tmp_path)]) == 3
    steps = f"omgmj watch ID && omgmj download ID --to {tmp_path}\n"
    assert capsys.readouterr().err.endswith(f"omgmj: once its ID is known: {steps}")


def test_unwritable_output(fake: FakeService) -> None:
    """Where the ID cannot be written to stdout it is told on stderr."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*OMGMJ, "imagine", "a cat"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert f"omgmj: the new task is {fake.created[0].task_id}\n" in done.stderr


# Interrupts.


def interrupted(arguments: list[str], fake: FakeService, requests: int, number: signal.Signals) -> tuple[int, str]:
    """Run a command, send it a signal when so many requests have come; return its code and what it said."""
    with subprocess.Popen([*OMGMJ, *arguments], stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while fake.requests < requests and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    return process.returncode, err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_while_sending(fake: FakeService, number: signal.Signals, code: int) -> None:
    """An interrupt before the answer came says that a task may have been made, and how to search for it."""
    fake.inject(SILENT)
    ended, err = interrupted(["imagine", "a cat", "--wait"], fake, 1, number)
    last = err.splitlines()[-1]
    assert ended == code
    assert last.startswith("omgmj: interrupted while a task was being made: it may have been made or not. ")
    assert re.search(r"To search for it: omgmj list --since 20..-..-..T..:..:..Z$", last)
    assert "may have made a task: IMAGINE" in err


def test_interrupted_before_sending(fake: FakeService) -> None:
    """An interrupt while `act` still asks for the parent says that nothing was sent."""
    fake.inject("silence")
    assert interrupted(["act", "1", "U1"], fake, 1, signal.SIGINT) == (130, "omgmj: interrupted; nothing was sent\n")
    assert fake.created == []


def test_interrupted_while_waiting(fake: FakeService, tmp_path: Path) -> None:
    """An interrupt of the wait tells the ID, and the commands that go on with what was asked for."""
    fake.plan(ENDLESS)
    directory = tmp_path / "my images"
    with subprocess.Popen(
        [*OMGMJ, "imagine", "a cat", "--download", str(directory)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        said = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    [made] = fake.created
    assert said == f"omgmj: task {made.task_id} was made\n"
    assert process.returncode == 130
    assert err == (
        f"omgmj: interrupted; task {made.task_id} was made. "
        f"To go on: omgmj watch {made.task_id} && omgmj download {made.task_id} --to '{directory}'\n"
    )


@pytest.mark.parametrize(
    ("where", "options", "said"),
    [
        ("imagine", [], r" while a task was being made: .* To search for it: omgmj list --since 20\S+Z"),
        ("reconcile", [], r" while a task was being made: .* To search for it: omgmj list --since 20\S+Z"),
        ("aclose", [], r"; task \d+ was made"),
        ("download", ["--download", "."], r"; task (\d+) was made\. To go on: omgmj download \1 --to \."),
    ],
)
def test_interrupted_at(
    fake: FakeService,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    options: list[str],
    said: str,
) -> None:
    """Wherever an interrupt comes, what is said last is how far it was, and nothing that was told already."""
    close = Session.aclose

    async def interrupt(session: Session, *_: object, **__: object) -> None:
        await close(session)
        raise asyncio.CancelledError

    if where == "reconcile":
        fake.inject(LOST)
    fake.plan(DONE)
    monkeypatch.setattr(Session, where, interrupt)
    assert app.main(["imagine", "a cat", *options]) == 130
    assert re.fullmatch(f"omgmj: interrupted{said}", capsys.readouterr().err.splitlines()[-1])


def test_help_tells_the_codes() -> None:
    """The help of a command that makes tasks tells its exit codes, and imports no aiohttp."""
    code = (
        "import sys; from omgmj.__main__ import main; code = main();"
        "sys.exit(code or sorted({'aiohttp', 'yarl'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "imagine", "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 a task may have been made or not" in " ".join(done.stdout.split())
