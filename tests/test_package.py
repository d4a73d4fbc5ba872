"""What the package says of itself where it is installed: its version, its licence."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import omgmj


def test_the_version_is_that_of_the_metadata() -> None:
    """`omgmj.__version__` is what the installed package says, and is written down in one place."""
    assert omgmj.__version__ == metadata.version("omgmj")


def test_the_licence_goes_with_the_package() -> None:
    """The licence is named, and its text stands where the package is."""
    about = metadata.metadata("omgmj")
    assert about["License-Expression"] == "MIT"
    assert about["License-File"] == "omgmj/LICENSE"
    assert "WITHOUT WARRANTY" in Path(omgmj.__file__).with_name("LICENSE").read_text(encoding="ascii")
