"""What commands take: directories, and command lines that are given again."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from omgmj.cli.options import ServiceOptions, again, check_directory
from omgmj.errors import UsageError


def test_again() -> None:
    """Only options that were given stand in the command line, and what the shell would read otherwise is quoted."""
    line = again(
        "download", [1, 2], ServiceOptions(rate=5.0), to=Path("my images"), via=None, overwrite=True, quiet=False
    )
    assert line == "omgmj download 1 2 --to 'my images' --overwrite --rate 5"


def test_directory(tmp_path: Path) -> None:
    """A directory is made where it is missing, and nothing is left in it."""
    assert check_directory(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_no_directory(tmp_path: Path) -> None:
    """A file and a link to nowhere are no directories."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        with pytest.raises(UsageError, match=f"{name}' is not a directory"):
            check_directory(tmp_path / name)


def test_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a directory can be written into is tried, and the reason is the system's own."""

    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(UsageError, match=r"cannot write into .*: Read-only file system"):
        check_directory(tmp_path)
