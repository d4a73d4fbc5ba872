"""Resume advice at an interrupt: how much is left, and the command line for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from omgmj.cli.tally import Tally

IDS_NAMED = 20
"""IDs that a command line names at most."""


def resume_advice(
    tally: Tally,
    again: Callable[[Iterable[int]], str] | None,
    then: str = "tasks that are done are answered at once",
    *,
    unread: str = "",
) -> str:
    """Return the message for an interrupt; `again` makes the command line for the rest, None: there is none.

    `then` is what becomes of IDs that are done where the whole command is given again; `unread` is what may hold more
    of them.
    """
    more = f", and {unread} was not read to its end" if unread else ""
    if not tally.left:
        return f"interrupted, with no task left{more}"
    said = f"interrupted; {len(tally.left)} of {tally.total} tasks left{more}"
    if again is None:
        return f"{said}, which are gone with the demo"
    if len(tally.left) <= IDS_NAMED:
        return f"{said}. To go on: {again(tally.left)}"
    return f"{said}. To go on, use the same command again: {then}"
