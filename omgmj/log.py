"""The log of the package, logger `omgmj`: each line that it writes stands here, and is written by one call.

Warnings tell what a user should know and are few: who calls them says each thing once. The rest is for debugging.
"""

from __future__ import annotations

import logging

log: logging.Logger = logging.getLogger("omgmj")


def retried(what: str, failures: int, attempts: int, delay: float, error: Exception) -> None:
    """Tell of a failed attempt that is repeated `delay` seconds later."""
    log.debug("%s failed, attempt %d of %d, next in %.1f s: %s", what, failures, attempts, delay, error)


def failed_over(what: str, url: str, error: Exception) -> None:
    """Tell of a failed attempt that is repeated at once at another address."""
    log.debug("%s failed, next at %s: %s", what, url, error)


def moved(url: str, reason: str) -> None:
    """Tell that requests go to another address of the service now."""
    log.warning("requests go to %s now; how the address before failed last: %s", url, reason)


def moved_back(url: str) -> None:
    """Tell that requests go to the first address again."""
    log.warning("requests go to %s again, which has answered for a while", url)


def slowed_down(rate: float, error: Exception) -> None:
    """Tell of a 429: the pace is now `rate` requests a second."""
    log.debug("slowed down to %.3g requests a second: %s", rate, error)


def refused_for_long(watched: int) -> None:
    """Tell of a minute of nothing but 429."""
    log.warning(
        "the service has answered nothing but 429 (too many requests) for a minute; %d watched tasks wait", watched
    )


def outage(watched: int, error: Exception) -> None:
    """Tell of an outage's begin, in which nobody is answered as should be."""
    log.warning("the service does not answer (%s); watched tasks wait until it does: %d", error, watched)


def polls_are_late(late: float, watched: int, rate: float) -> None:
    """Tell of polls that are `late` seconds behind: more is watched than `rate` requests a second are enough for."""
    log.warning("polls are %.0f s late: %d watched tasks are too many for %.3g requests a second", late, watched, rate)


def unknown_status(task_id: int, status: str) -> None:
    """Tell of a status word that is not known."""
    log.warning(
        "task %d has the status %r, which is not known: it is waited for until it has a finish time, or a reason why it"
        " failed",
        task_id,
        status,
    )


def odd_field(field: str, what: str) -> None:
    """Tell of a field of an answer that is not as it should be."""
    log.warning("the service's answer is odd, which is said once for each kind: %s %s", field, what)


def cut_off(submission: str) -> None:
    """Tell of a submission that was cancelled after it had left."""
    log.warning("a submission was cut off after it had left, and may have made a task: %s", submission)


def journal_fails(error: Exception) -> None:
    """Tell of a journal that cannot be written: once, until it can again."""
    log.error("%s; it is tried again, and a crash before that loses what is not written", error)


def journal_is_well(name: str) -> None:
    """Tell that a journal can be written again."""
    log.warning("%s is written again, and nothing is missing", name)


def journal_damaged(path: str, reason: str, aside: str, ids: int, submissions: int) -> None:
    """Tell of a damaged journal that was set aside, and of what was saved."""
    log.error(
        "the journal %s is damaged (%s): it was set aside as %s; saved were %d task IDs and %d submissions",
        path,
        reason,
        aside,
        ids,
        submissions,
    )


def learned_not_kept(path: str, error: Exception) -> None:
    """Tell that what was learned cannot be written: once, until it can again."""
    log.warning("what was learned is not kept for the next run, in %s: %s", path, _reason(error))


def learned_ignored(path: str, error: Exception) -> None:
    """Tell of a file of what was learned that is not used."""
    log.debug("what was learned before, in %s, is not used: %s", path, _reason(error))


def sink_failed(error: Exception) -> None:
    """Tell of a callback that could not be handed on."""
    log.error("a callback could not be handed on, as the sink of the webhook failed: %r", error)


def unreadable_body(reason: str) -> None:
    """Tell of a packed request that the served fake could not unpack."""
    log.warning("the fake service refused a request: %s", reason)


def served_to_others(host: str, port: int) -> None:
    """Tell of a fake that listens beyond this machine itself."""
    log.warning("the fake service listens at %s, port %d: who reaches it and knows its token can use it", host, port)


def leader_refused(account: str, error: Exception) -> None:
    """Tell of an account whose token is refused: its IDs wait."""
    log.error("account %s: %s; its tasks wait, and the token is tried again in a minute", account, error)


def leader_ended(account: str, error: Exception) -> None:
    """Tell of a leader that cannot go on: another one, or this one again, takes over."""
    log.warning("account %s is led no longer by this worker: %s", account, error)


def nobody_leads(account: str, batch: str) -> None:
    """Tell a reader that no worker waits for what it reads."""
    log.warning(
        "no worker leads the account %s, so the batch %s does not go on: start one (omgmj worker)", account, batch
    )


def _reason(error: Exception) -> object:
    return error.strerror if isinstance(error, OSError) and error.strerror else error
