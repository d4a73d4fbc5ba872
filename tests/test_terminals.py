"""What stays on a terminal: the program is run on real ones, whose screens and histories are kept and looked at."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from omgmj.testing import FakeService
from tests.conftest import need
from tests.kept import SIZES, Kept, Pseudo, read_all, run_on, running, squeezed
from tests.test_cli import DONE, ENDLESS, FAILED, OMGMJ, in_thread

HEADER = "IDSTATUSSECONDSACTIONS,IMAGE"
DEMO = range(3432, 3456)


@pytest.fixture(autouse=True)
def surroundings(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an environment without settings, and a terminal that knows its own size."""
    for name in ("COLUMNS", "LINES", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "TMUX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    """Serve tasks 3432 to 3455, done, 4, which never ends, and 5, failed; the environment leads there."""
    service = FakeService(epoch=datetime.now(UTC))
    for task_id in DEMO:
        service.add_task(DONE, task_id=task_id)
    service.add_task(ENDLESS, task_id=4)
    service.add_task(FAILED, task_id=5)
    with in_thread(service):
        monkeypatch.setenv("OMGMJ_TOKEN", "t")
        monkeypatch.setenv("OMGMJ_BASE_URL", service.url)
        yield service


def whole(text: str, ids: range = DEMO) -> list[int]:
    """Return those IDs whose records are there, from the ID to the end of the URL, with nothing in between."""
    kept = squeezed(text)
    url = r"http://127\.0\.0\.1:\d+/attachments/\d+/\d+/omgmj_"
    return [
        task_id
        for task_id in ids
        if re.search(rf"{task_id}SUCCESS[\d.]+U1.{{,40}}V4.{{,60}}{url}{task_id}_\S+?\.png", kept)
    ]


def is_clean(text: str) -> bool:
    """Whether nothing is left of a bar."""
    return not re.search("[━─]|IN_PROGRESS", text)


# On terminals of each size.


@pytest.mark.slow
def test_demo() -> None:
    """`omgmj demo` leaves each of its 24 records whole, and the header, on terminals of all sizes."""
    for size, kept in zip(SIZES, run_on([*OMGMJ, "demo"], *SIZES), strict=True):
        print(f"rich {metadata.version('rich')}, {size[0]}x{size[1]}: {len(whole(kept.text))} of 24 records left")
        assert whole(kept.text) == list(DEMO)
        assert squeezed(kept.text).startswith(HEADER)
        assert is_clean(kept.text)
        assert re.fullmatch(r"omgmj: 24 of 24 done, 0 failed, [\d.]+ s", kept.lines[-1])
        assert kept.is_as_before


@pytest.mark.usefixtures("fake")
def test_watch() -> None:
    """Records that come one right after the other stay, each whole, under one header; nothing stays of the bar."""
    arguments = [*OMGMJ, "watch", *map(str, DEMO), "5"]
    for kept in run_on(arguments, *SIZES):
        assert whole(kept.text) == list(DEMO)
        assert squeezed(kept.text).startswith(HEADER)
        assert squeezed(kept.text).count(HEADER) == 1
        assert re.search(r"5FAILURE[\d.]+noluck", squeezed(kept.text))
        assert is_clean(kept.text)
        assert "omgmj: 25 of 25 done, 1 failed, " in kept.lines[-1]
        assert kept.is_as_before


@pytest.mark.usefixtures("fake")
def test_watch_of_two() -> None:
    """Of two tasks both URLs stay whole."""
    [kept] = run_on([*OMGMJ, "watch", "3432", "3433"], (80, 24))
    assert whole(kept.text, range(3432, 3434)) == [3432, 3433]


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("sizes", [((80, 24), (40, 15)), ((40, 15), (120, 40))])
def test_two_terminals(sizes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """With standard error on another terminal, the records are on the one, and the bar, by its size, on the other."""
    out, err = (Pseudo(*size) for size in sizes)
    arguments = [*OMGMJ, "watch", *map(str, DEMO), "4"]
    with running(arguments, out, err) as process:
        err.read_until(lambda: "24 of 25 done" in err.text)
        bar = err.lines
        process.send_signal(signal.SIGINT)
        read_all(out, err)
    assert whole(out.text) == list(DEMO)
    assert is_clean(out.text)
    assert re.match(r"   4  IN_PROGRESS  [━─]+  31 %  |4  IN_PROGRESS", bar[0])
    assert max(map(len, bar)) < sizes[1][0]
    assert squeezed(err.text) == squeezed("omgmj: interrupted; 1 of 25 tasks left. To go on: omgmj watch 4")


# What ends and what moves the program.


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGQUIT", "SIGKILL"])
def test_ended_by_a_signal(name: str) -> None:
    """Whatever signal ends the program, the terminal is as it was before, and the records are there."""
    kept = Pseudo()
    with running([*OMGMJ, "watch", "3432", "3433", "4"], kept) as process:
        kept.read_until(lambda: "2 of 3 done" in kept.text)
        assert kept.is_as_before
        process.send_signal(signal.Signals[name])
        read_all(kept)
    assert kept.is_as_before
    assert whole(kept.text, range(3432, 3434)) == [3432, 3433]
    if name == "SIGTERM":  # The others leave no time to say or to put away anything.
        assert is_clean(kept.text)
        assert kept.lines[-1] == "omgmj: interrupted; 1 of 3 tasks left. To go on: omgmj watch 4"


class Tmux:
    """A shell in a window of tmux, which breaks lines anew when its size changes, and has the control of jobs."""

    def __init__(self, columns: int, lines: int, socket: Path) -> None:
        self._socket = str(socket)
        shell = "env PS1='$ ' bash --norc --noprofile"
        self._do("-f", os.devnull, "new-session", "-d", "-x", str(columns), "-y", str(lines), shell)
        self.wait_for(r"^\$")

    def _do(self, *arguments: str) -> str:
        command = ["tmux", "-S", self._socket, *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout

    def keys(self, *keys: str) -> None:
        """Press keys."""
        self._do("send-keys", *keys)

    def run(self, *arguments: str) -> None:
        """Type a command line, in a shell with an empty screen."""
        self.keys("clear", "Enter")
        self.keys(shlex.join([*OMGMJ, *arguments]), "Enter")

    def resize(self, columns: int, lines: int) -> None:
        """Give the window another size."""
        self._do("resize-window", "-x", str(columns), "-y", str(lines))

    @property
    def text(self) -> str:
        """All that is on the screen and in the history."""
        return self._do("capture-pane", "-p", "-S", "-")

    @property
    def shows_cursor(self) -> bool:
        """Whether the cursor is seen."""
        return self._do("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def wait_for(self, pattern: str) -> None:
        """Wait until the screen or the history has something like this."""
        late = time.monotonic() + 60
        while not re.search(pattern, self.text, re.MULTILINE):
            assert time.monotonic() < late, f"it does not come to {pattern!r}:\n{self.text}"
            time.sleep(0.02)

    def close(self) -> None:
        """End it and all that runs in it."""
        self._do("kill-server")


@pytest.fixture
def tmux(request: pytest.FixtureRequest) -> Iterator[Callable[[int, int], Tmux]]:
    """Return what opens a window of so many columns and lines."""
    need("tmux", shutil.which("tmux"))
    with ExitStack() as opened:
        # Not the test's own directory: the path of a socket has to be short.
        directory = opened.enter_context(TemporaryDirectory(prefix="omgmj-", ignore_cleanup_errors=True))

        def open_one(columns: int, lines: int) -> Tmux:
            window = Tmux(columns, lines, Path(directory, "tmux"))
            opened.callback(window.close)
            return window

        yield open_one


@pytest.mark.slow
def test_resized(tmux: Callable[[int, int], Tmux]) -> None:
    """While the window gets narrower, wider, lower and higher, each record stays whole.

    Of the bar nothing stays, save one line at most where a screen that got much smaller had no room for it.
    """
    window = tmux(80, 24)
    window.run("demo")
    for done, size in ((3, (50, 24)), (7, (120, 16)), (11, (70, 40)), (15, (40, 15)), (19, (80, 24))):
        window.wait_for(rf"(^|\s)({'|'.join(map(str, range(done, 24)))}) of 24 done, 0 failed, 0:")
        window.resize(*size)
    window.wait_for("^omgmj: 24 of 24 done")
    assert whole(window.text) == list(DEMO)
    assert HEADER in squeezed(window.text)
    assert window.text.count("IN_PROGRESS") <= 1
    assert window.shows_cursor


@pytest.mark.usefixtures("fake")
def test_suspended(tmux: Callable[[int, int], Tmux]) -> None:
    """Ctrl-Z takes the bar away and leaves the cursor; continued, it goes on below what was written meanwhile."""
    window = tmux(80, 24)
    window.run("watch", "3432", "3433", "4")
    for _ in range(2):
        window.wait_for("2 of 3 done")
        window.keys("C-z")
        window.wait_for(r"\n\[1\]\+  Stopped(.*\n)+\$$")
        assert is_clean(window.text)
        assert window.shows_cursor
        window.keys("echo by the way", "Enter")
        window.wait_for("^by the way")
        window.keys("fg", "Enter")
    window.wait_for("2 of 3 done")
    window.keys("C-c")
    window.wait_for("^omgmj: interrupted")
    assert whole(window.text, range(3432, 3434)) == [3432, 3433]
    assert window.text.count("\nby the way\n") == 2
    assert is_clean(window.text)


@pytest.mark.usefixtures("fake")
def test_stopped_and_in_the_background(tmux: Callable[[int, int], Tmux]) -> None:
    """What is stopped unasked goes on below what the shell wrote; in the background nothing is drawn over that."""
    window = tmux(80, 24)
    window.run("watch", "3432", "3433", "4")
    window.wait_for("2 of 3 done")
    window.keys("C-z")
    window.wait_for("Stopped")
    window.keys("bg", "Enter")
    window.wait_for(r"^\[1\]\+ .* &$")
    window.keys("echo by the way; kill -STOP %1", "Enter")
    window.keys("jobs", "Enter")
    window.wait_for(r"^\$ jobs\n\[1\]\+  Stopped")
    assert is_clean(window.text)
    window.keys("fg", "Enter")
    window.wait_for("2 of 3 done")
    assert "\nby the way\n" in window.text
    window.keys("C-c")
    window.wait_for("^omgmj: interrupted")
    assert whole(window.text, range(3432, 3434)) == [3432, 3433]
    assert is_clean(window.text)


def test_kept_screens_see_what_is_wiped_away() -> None:
    """The screens that are kept know what is gone: a check that sees all that was ever written could not fail."""
    kept = Kept(20, 4, "one\ntwo\nthree\nfour\nfive\x1b[2A\x1b[J\r\x1b[K")
    assert kept.lines == ["one", "two"]
