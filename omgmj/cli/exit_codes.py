"""Exit codes of the command line, each in its one place; it imports nothing, for `__main__` needs it without rich."""

from __future__ import annotations

OK, FAILED, USAGE, UNCERTAIN = 0, 1, 2, 3
SIGNALLED = 128
"""What is added to the number of the signal that ended a command: 129 for SIGHUP, 143 for SIGTERM."""
INTERRUPTED, PIPE_CLOSED = SIGNALLED + 2, SIGNALLED + 13
"""By SIGINT and SIGPIPE, whose numbers not every system has in `signal`."""
