"""`serve`: a make-believe service for the other commands. `demo` is tested with the program, in `test_app`."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess

import pytest

from omgmj.cli import app
from tests.cli.test_app import OMGMJ, records


@pytest.fixture(autouse=True)
def surroundings(no_settings: None) -> None:
    """Give each test an environment without settings."""


def test_serve(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What it prints makes the other commands work, until an interrupt ends it."""
    arguments = [*OMGMJ, "serve", "--port", "0", "--tasks", "3"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        command, *variables = shlex.split(process.stdout.readline())
        assert process.stdout.readline() == "# its tasks: 3432 to 3434; Ctrl-C ends it\n"
        assert command == "export"
        for variable in variables:
            monkeypatch.setenv(*variable.split("=", 1))
        assert app.main(["query", "3432", "3434"]) == 0
        assert [record["taskId"] for record in records(capsys.readouterr().out)] == [3432, 3434]
        assert app.main(["imagine", "a cat"]) == 0
        assert records(capsys.readouterr().out) == [{"taskId": 3435}]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "omgmj: interrupted; the service and its tasks are gone\n")


def test_serve_to_others() -> None:
    """Beyond this machine it listens with a token of its own, which a shell takes as printed, and says so in a line."""
    options = ["--port", "0", "--host", "0.0.0.0", "--token", "a&b", "--lives", "mix", "--tasks", "0"]  # noqa: S104
    arguments = [*OMGMJ, "serve", *options]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        settings, tasks = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    _, url, token = shlex.split(settings)
    assert url.startswith("OMGMJ_BASE_URL=http://127.0.0.1:")
    assert token == "OMGMJ_TOKEN=a&b"
    assert tasks == "# its tasks: none yet; Ctrl-C ends it\n"
    warning, end = err.splitlines()
    assert warning.startswith("omgmj: the fake service listens at 0.0.0.0, port ")
    assert end == "omgmj: interrupted; the service and its tasks are gone"


def test_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is taken is one line and the code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert app.main(["serve", "--port", str(port)]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"omgmj: cannot serve at port {port} of 127.0.0.1: Address already in use\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "192.0.2.1"], "it needs a token other than 't'"),
        (["--host", "no.such.host.invalid", "--token", "k"], "cannot serve at port 8800 of no.such.host.invalid: "),
        (["--token", "two words"], "token"),
        (["--port", "65536"], "--port must be from 0 to 65535, not 65536"),
        (["--lives", "long"], "for --lives: 'long' is none of short, fast, mix"),
        (["--tasks", "-1"], "the number of tasks must be"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    """What is misused is one line on stderr and the code 2, and nothing is served."""
    assert app.main(["serve", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
