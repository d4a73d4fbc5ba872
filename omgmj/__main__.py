"""The way in from the command line; it says what to install where the extra `cli` is missing."""

from __future__ import annotations

import sys

from omgmj.cli.exit_codes import INTERRUPTED, USAGE


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        from omgmj.cli import app  # noqa: PLC0415 (what it needs may not be there)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"cyclopts", "rich"}:
            raise
        print("omgmj: the command line needs more than the library does: pip install 'omgmj[cli]'", file=sys.stderr)  # noqa: T201
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return app.main()


if __name__ == "__main__":
    sys.exit(main())
