"""The exit codes of the command line, and what its help says of them; it imports nothing.

So `omgmj.__main__` has them where cyclopts and rich are missing.
"""

from __future__ import annotations

OK, FAILED, USAGE, UNCERTAIN = 0, 1, 2, 3
SIGNALLED = 128
"""Added to the number of the signal that ended a command."""
HUNG_UP, INTERRUPTED, PIPE_CLOSED, TERMINATED = (SIGNALLED + number for number in (1, 2, 13, 15))
"""Those of SIGHUP, SIGINT, SIGPIPE (which Python turns into `BrokenPipeError`) and SIGTERM."""

MEANINGS = {
    OK: "all well",
    FAILED: "some tasks failed, could not be resolved or not be downloaded",
    USAGE: "wrong usage",
    UNCERTAIN: "a task may have been made or not, as the answer was lost",
    HUNG_UP: "hung up",
    INTERRUPTED: "interrupted",
    PIPE_CLOSED: "nobody reads the output",
    TERMINATED: "terminated",
}
