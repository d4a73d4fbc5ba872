"""Whose trouble a failed poll is, judged by contrast."""

from __future__ import annotations

import math

import pytest

from omgmj.errors import DecodeError, TransportError
from omgmj.protocol.failures import Meaning
from omgmj.scheduler.verdicts import (
    RULES,
    SEEN,
    UNSEEN,
    VAGUE,
    WHATEVER,
    Beside,
    Crowd,
    FailedPoll,
    Latest,
    Patience,
    Verdict,
    Verdicts,
    Whose,
)

BLIP = TransportError("broken")
MANY, FRESH, ALONE, ALONE_SEEN = (
    Crowd(alone, unseen, others_at=-math.inf, any_at=-math.inf)
    for alone, unseen in ((False, False), (False, True), (True, True), (True, False))
)
GOOD, BAD = 1, 2


class Bench:
    """Verdicts with a clock that is set by hand."""

    def __init__(self) -> None:
        self.verdicts = Verdicts()
        self.successes = Latest()
        self.now = self.lost = 0.0

    def at(self, now: float) -> Bench:
        """Set the clock."""
        self.now = now
        return self

    def with_others(self, task_id: int, crowd: Crowd) -> Crowd:
        """Return the crowd with when others succeeded last."""
        return crowd._replace(others_at=self.successes.of_others(task_id), any_at=self.successes.at)

    def good(self, task_id: int = GOOD, *, listed: bool = False) -> None:
        """See a record of an ID."""
        self.successes.note(task_id, self.now)
        self.verdicts.on_success(task_id, listed=listed)

    def bad(
        self,
        task_id: int = BAD,
        meaning: Meaning = Meaning.UNKNOWN,
        *,
        seen: bool = False,
        crowd: Crowd = MANY,
        odd: bool = True,
    ) -> Verdict:
        """Have a poll of an ID fail."""
        poll, crowd = FailedPoll(task_id, BLIP, meaning, self.now, odd), self.with_others(task_id, crowd)
        return self.verdicts.judge(poll, self.now - self.lost, seen=seen, crowd=crowd)._replace(spacing=None)


GIVEN_UP = Verdict(Whose.ID, final=True)
SUSPECT = Verdict(Whose.ID, final=False)
SERVICE = Verdict(Whose.SERVICE, final=False)
ALL = Verdict(Whose.ALL, final=True)


@pytest.mark.parametrize("meaning", [Meaning.UNKNOWN, Meaning.REFUSED, Meaning.GARBLED, Meaning.ACCOUNT])
def test_a_word_about_an_id_is_believed_beside_others(meaning: Meaning) -> None:
    """Three times over 10 s, while another ID succeeds, gives up an ID that was never seen."""
    bench = Bench()
    for now in (0.0, 5.0, 9.9):
        bench.at(now).good()
        assert bench.bad(meaning=meaning) == SUSPECT
    bench.at(10).good()
    assert bench.bad(meaning=meaning) == GIVEN_UP


def test_what_all_say_is_the_services_trouble() -> None:
    """Where nobody succeeds, the same words give up nobody, however often they are said."""
    bench = Bench()
    for now in range(0, 3000, 5):
        for task_id in (BAD, 3, 4):
            assert bench.at(now).bad(task_id) == SERVICE


def test_an_id_that_was_seen_is_not_given_up_for_minutes_of_words() -> None:
    """It cannot be "not there yet": trouble of five minutes that befalls some IDs only loses none of them."""
    bench = Bench()
    for now in range(0, 360, 10):
        bench.at(now).good()
        assert bench.bad(seen=True) == SUSPECT
    assert bench.at(360).bad(seen=True) == GIVEN_UP


@pytest.mark.parametrize("meaning", [Meaning.TRANSIENT, Meaning.PACED, Meaning.FINAL])
@pytest.mark.parametrize("seen", [True, False])
def test_an_id_that_fails_on_and_on_beside_others(meaning: Meaning, *, seen: bool) -> None:
    """Ten minutes of whatever trouble, while others succeed, give up an ID."""
    bench = Bench()
    for now in range(0, 600, 20):
        bench.at(now).good()
        assert not bench.bad(meaning=meaning, seen=seen).final
    bench.at(600).good()
    assert bench.bad(meaning=meaning, seen=seen) == GIVEN_UP


def test_kinds_that_change_count_as_trouble_but_not_as_words() -> None:
    """`Of nothing else`: another kind in between begins the words anew, while the ten minutes go on."""
    bench = Bench()
    kinds = (Meaning.UNKNOWN, Meaning.TRANSIENT)
    for index, now in enumerate(range(0, 600, 5)):
        bench.at(now).good()
        assert not bench.bad(meaning=kinds[index % 2]).final
    assert bench.at(600).bad().final


def test_a_success_of_the_id_wipes_what_was_against_it() -> None:
    """An ID that was answered begins anew; one that stood on a page does not, as asking for it still fails."""
    bench = Bench()
    for now in (0.0, 5.0):
        bench.at(now).good()
        bench.bad()
    bench.at(8).good(BAD, listed=True)
    bench.at(9).good()
    assert bench.at(10).bad() == GIVEN_UP
    bench.at(11).good(BAD)
    assert bench.verdicts.failures == {}
    assert bench.at(12).bad() == SUSPECT


def test_its_own_success_is_no_contrast() -> None:
    """An ID that succeeded and then fails, while nobody else was asked, stands beside nothing."""
    bench = Bench()
    bench.good(BAD)
    assert bench.at(1).bad(seen=True) == SERVICE


def test_an_old_success_is_no_contrast() -> None:
    """What others said a minute ago says nothing about now."""
    bench = Bench()
    bench.good()
    assert bench.at(60).bad() == SUSPECT
    assert bench.at(61).bad(3) == SERVICE
    bench.at(100).good()
    assert bench.at(161).bad(4) == SERVICE
    # But one since the same ID failed last does, however long ago that was.
    assert bench.bad(3) == SUSPECT


def test_an_id_alone_that_says_there_is_no_such_task() -> None:
    """Three times over 10 s are believed where nobody else can be asked; of an ID that was seen they are not."""
    bench = Bench()
    assert [bench.at(now).bad(crowd=ALONE) for now in (0.0, 5.0, 10.0)] == [SUSPECT, SUSPECT, GIVEN_UP]
    bench = Bench()
    assert {bench.at(now).bad(seen=True, crowd=ALONE_SEEN) for now in range(0, 3000, 10)} == {SERVICE}


@pytest.mark.parametrize("meaning", [Meaning.REFUSED, Meaning.GARBLED])
def test_an_id_alone_with_vaguer_words(meaning: Meaning) -> None:
    """Words that do not say that there is no such task take a minute."""
    bench = Bench()
    for now in (0.0, 20.0, 40.0, 59.0):
        assert bench.at(now).bad(meaning=meaning, crowd=ALONE) == SUSPECT
    assert bench.at(60).bad(meaning=meaning, crowd=ALONE) == GIVEN_UP


def test_only_unknown_ids_are_believed_once_the_list_answers() -> None:
    """Where no watched ID was ever seen and all are unknown, a page tells that the service is well."""
    bench = Bench()
    assert bench.bad(BAD, crowd=FRESH) == bench.bad(3, crowd=FRESH) == SERVICE
    assert bench.verdicts.wants_page(0, FRESH)
    bench.verdicts.on_page(1)
    bench.verdicts.on_page_asked(1)
    assert not bench.verdicts.wants_page(60, FRESH)
    assert [bench.at(now).bad(crowd=FRESH) for now in (2.0, 7.0, 12.0)] == [SUSPECT, SUSPECT, GIVEN_UP]
    assert bench.verdicts.wants_page(61, FRESH)
    # A page says nothing of other words, nor where some were seen.
    assert bench.bad(3, Meaning.REFUSED, crowd=FRESH) == bench.bad(4, crowd=MANY) == SERVICE
    assert not bench.verdicts.wants_page(61, MANY)


def test_ids_of_an_earlier_run_that_are_all_unknown_are_believed_beside_the_list() -> None:
    """Ten minutes of that word give up each of them where pages are answered; none where they are not."""
    for pages in (True, False):
        bench = Bench()
        for now in range(0, 2000, 30):
            if pages and bench.verdicts.wants_page(now, FRESH):
                bench.verdicts.on_page(now)
                bench.verdicts.on_page_asked(now)
            verdicts = {bench.at(now).bad(task_id, seen=True, crowd=FRESH) for task_id in (BAD, 3)}
            if verdicts == {GIVEN_UP}:
                break
        assert bench.now == (630 if pages else 1980)


def test_only_unknown_ids_are_believed_after_five_minutes_without_a_list() -> None:
    """Where the list cannot be read, five minutes of nothing but that word are believed."""
    bench = Bench()
    for now in range(0, 300, 5):
        assert bench.at(now).bad(crowd=FRESH) == bench.bad(3, crowd=FRESH) == SERVICE
    verdicts = [bench.at(now).bad(task_id, crowd=FRESH) for now in (300, 305, 310) for task_id in (BAD, 3)]
    assert verdicts[-2:] == [GIVEN_UP, GIVEN_UP]


def test_an_id_alone_that_always_fails_is_given_up_where_the_list_answers() -> None:
    """Alone, ten minutes of failures are believed where the host answers something else; else they never are."""
    bench = Bench()
    for now in range(0, 600, 30):
        if bench.verdicts.wants_page(now, ALONE_SEEN):
            bench.verdicts.on_page_asked(now)
            bench.verdicts.on_page(now)
        assert bench.at(now).bad(meaning=Meaning.TRANSIENT, seen=True, crowd=ALONE_SEEN) == SERVICE
    assert bench.at(600).bad(meaning=Meaning.TRANSIENT, seen=True, crowd=ALONE_SEEN) == GIVEN_UP
    bench = Bench()
    for now in range(0, 6000, 30):
        assert bench.at(now).bad(meaning=Meaning.TRANSIENT, seen=True, crowd=ALONE_SEEN) == SERVICE


def test_the_account_is_believed_from_several_ids() -> None:
    """Three refusals of the token over 3 s, from two IDs or from the only one, end all waits."""
    bench = Bench()
    assert bench.at(0).bad(1, Meaning.ACCOUNT, seen=True) == SERVICE
    assert bench.verdicts.decides_at == 3
    assert bench.at(2).bad(2, Meaning.ACCOUNT, seen=True) == SERVICE
    assert bench.at(3).bad(1, Meaning.ACCOUNT, seen=True) == ALL
    bench = Bench()
    bench.good()
    assert {bench.at(now).bad(now % 2, Meaning.ACCOUNT, seen=True) for now in range(70, 430, 10)} == {SERVICE}
    assert bench.at(430).bad(1, Meaning.ACCOUNT, seen=True) == ALL
    bench = Bench()
    assert [bench.at(now).bad(1, Meaning.ACCOUNT, crowd=ALONE_SEEN, seen=True).whose for now in (0, 1, 3)][
        -1
    ] is Whose.ALL


def test_the_account_is_not_condemned_by_one_id_or_in_passing() -> None:
    """One ID's refusals, and any success in between, leave the account alone; so does a page."""
    bench = Bench()
    for now in range(100):
        assert bench.at(now).bad(1, Meaning.ACCOUNT, seen=True) == SERVICE
    bench = Bench()
    for now in range(100):
        bench.at(now).good(3)
        assert bench.bad(now % 2 + 1, Meaning.ACCOUNT, seen=True) == SUSPECT
    bench = Bench()
    for now in range(100):
        bench.verdicts.on_page(now)
        assert bench.at(now).bad(now % 2 + 1, Meaning.ACCOUNT, seen=True) == SERVICE


def test_what_is_for_good() -> None:
    """A no for good is told after a few polls where nothing ever succeeded, else after ten minutes."""
    bench = Bench()
    assert [bench.at(now).bad(now % 2, Meaning.FINAL).final for now in (0, 5, 10, 15)] == [False, False, False, True]
    bench = Bench()
    bench.good(3)
    for now in range(70, 670, 10):
        assert bench.at(now).bad(now // 10 % 2, Meaning.FINAL, seen=True) == SERVICE
    assert bench.at(670).bad(1, Meaning.FINAL, seen=True) == ALL


def test_what_is_for_good_among_other_failures_is_an_outage() -> None:
    """`Of nothing else`: a page that is missing while servers are restarted is an outage."""
    bench = Bench()
    for now in range(0, 6000, 10):
        kind = Meaning.TRANSIENT if now % 500 == 0 else Meaning.FINAL
        bench.good(3) if now == 0 else None
        assert not bench.at(now).bad(now // 10 % 2, kind, seen=True).final
    assert bench.verdicts.failing_since == 0


def test_since_when_nobody_succeeds() -> None:
    """The time of an outage counts from the first failure since the last success."""
    bench = Bench()
    assert bench.verdicts.failing_since == math.inf
    bench.at(1).bad()
    bench.at(2).bad(3)
    assert bench.verdicts.failing_since == 1
    bench.at(3).good()
    assert bench.verdicts.failing_since == math.inf
    assert bench.verdicts.decides_at == math.inf


def test_what_is_against_an_id_is_kept_until_it_is_forgotten() -> None:
    """The last error is there to be told, and goes with the ID."""
    bench = Bench()
    bench.bad()
    assert str(bench.verdicts.error(BAD)) == str(BLIP)
    assert bench.verdicts.error(GOOD) is None
    bench.verdicts.forget(BAD)
    bench.verdicts.forget(BAD)
    assert bench.verdicts.error(BAD) is None


def test_a_429_of_all_is_held_against_nobody() -> None:
    """It is kept, and neither counts nor forgives; in between of words it begins them anew."""
    bench = Bench()
    for now in range(0, 1000, 5):
        bench.at(now).good()
        assert bench.bad(meaning=Meaning.PACED, odd=False) == SERVICE
    assert bench.verdicts.error(BAD) is BLIP
    assert bench.verdicts.failures[BAD].count == bench.verdicts.failures[BAD].against == 0
    for now in (1000, 1005):
        assert bench.at(now).bad() == SUSPECT
    bench.bad(meaning=Meaning.PACED, odd=False)
    bench.at(1006).good()
    assert bench.at(1010).bad() == SUSPECT


def test_an_outage_in_between_is_no_time_beside_others() -> None:
    """The ten minutes of an ID that alone fails are those of service."""
    bench = Bench()
    for now in range(0, 500, 20):
        bench.at(now).good()
        bench.bad(meaning=Meaning.TRANSIENT, seen=True)
    bench.lost = 5000.0
    bench.at(5500).good()
    assert bench.bad(meaning=Meaning.TRANSIENT, seen=True) == SUSPECT
    bench.at(5600).good()
    assert bench.bad(meaning=Meaning.TRANSIENT, seen=True) == GIVEN_UP


def test_when_a_word_would_count_again() -> None:
    """An ID that was never seen is asked again when its rule wants it; all others by the retry policy."""
    bench = Bench()
    poll = FailedPoll(BAD, BLIP, Meaning.REFUSED, 0.0)
    assert bench.verdicts.judge(poll, 0.0, seen=False, crowd=ALONE).spacing == VAGUE.spacing == 20
    assert bench.verdicts.judge(poll, 0.0, seen=True, crowd=ALONE_SEEN).spacing is None
    bench.good()
    crowd = bench.with_others(BAD, MANY)
    assert bench.verdicts.judge(poll, 0.0, seen=False, crowd=crowd).spacing == UNSEEN.spacing == 5
    assert bench.verdicts.judge(poll, 0.0, seen=True, crowd=crowd).spacing is None


def test_patience() -> None:
    """Polls are spaced so that the last one decides, and an ID that was seen outlives any trouble of five minutes."""
    assert UNSEEN.spacing == 5.0
    assert Patience(8, 70.0).spacing == 10.0
    assert min(rule.patience.seconds for rule in RULES if rule.seen is not False) > 300
    assert (SEEN.seconds, VAGUE.seconds, WHATEVER) == (360, 60, (8, 600.0))
    assert {rule.beside for rule in RULES} == set(Beside)


def test_a_suspect_counts_for_the_service_once_that_fails_another() -> None:
    """One failure beside others does not keep an ID out of an outage: what fails one without a blemish fails all."""
    bench = Bench()
    bench.good()
    assert bench.bad(seen=True) == SUSPECT
    assert bench.at(1).bad(3, seen=True) == SERVICE
    assert bench.at(2).bad(seen=True) == SERVICE
    bench.at(3).good()
    assert bench.at(4).bad(seen=True) == SUSPECT


def test_a_suspect_counts_for_the_service_once_nobody_succeeds() -> None:
    """Where all failed beside others, as after an hour of now and then, an outage is one after a minute."""
    bench = Bench()
    for now, task_id in ((-1, BAD), (0, 3)):
        bench.at(now).good()
        assert bench.at(now + 0.5).bad(task_id, Meaning.TRANSIENT, seen=True) == SUSPECT
    assert bench.at(60).bad(3, Meaning.TRANSIENT, seen=True) == SUSPECT
    assert {bench.at(now).bad(BAD, Meaning.TRANSIENT, seen=True) for now in range(61, 3000, 30)} == {SERVICE}


def test_an_id_that_failed_often_beside_others_stays_suspect() -> None:
    """It is given up after its ten minutes also where all the others have come to their end meanwhile."""
    bench = Bench()
    for now in range(0, 160, 20):
        bench.at(now).good()
        assert bench.bad(meaning=Meaning.TRANSIENT, seen=True) == SUSPECT
    for now in range(160, 600, 20):
        assert bench.at(now).bad(meaning=Meaning.TRANSIENT, seen=True) == SUSPECT
    assert bench.at(600).bad(meaning=Meaning.TRANSIENT, seen=True) == GIVEN_UP


def test_a_good_call_speaks_for_the_account_and_the_host() -> None:
    """What was made or listed here shows that the token and the address were good: a no for good is an outage first."""
    bench = Bench()
    bench.verdicts.on_good_call()
    for meaning in (Meaning.ACCOUNT, Meaning.FINAL):
        assert not any(bench.at(now).bad(now % 2, meaning, seen=True).final for now in range(0, 300, 5))


def test_what_was_heard_before_nobody_waited() -> None:
    """It is no news after a minute without a failed poll; what goes on without a pause is."""
    bench = Bench()
    bench.bad()
    assert not bench.verdicts.begin_after_idle(60)
    assert bench.verdicts.failing_since == 0
    assert bench.verdicts.begin_after_idle(61)
    assert bench.verdicts.failing_since == math.inf


def test_failures_in_a_row_that_may_be_chance_are_not_believed() -> None:
    """Where a third of all polls fail, and pass, eight in a row say nothing of an ID yet; a dozen do."""
    bench = Bench()
    for now in range(0, 1000, 5):
        bench.at(now).good()
        bench.bad(3, Meaning.TRANSIENT, seen=True)
        bench.at(now + 1).good(3)
    verdicts = []
    for now in range(1000, 4000, 100):
        bench.at(now).bad(3, Meaning.TRANSIENT, seen=True)
        bench.good(3)
        bench.good()
        verdicts.append(bench.at(now + 1).bad(seen=True, meaning=Meaning.TRANSIENT).final)
    assert 10 <= verdicts.index(True) <= 12


def test_little_is_kept_of_an_error() -> None:
    """Ten thousand IDs whose answers are long and cannot be read keep neither these nor the frames."""
    verdicts = Verdicts()
    try:
        raise DecodeError("odd", body=b"x" * 60_000)
    except DecodeError as error:
        verdicts.judge(FailedPoll(BAD, error, Meaning.GARBLED, 0.0), 0.0, seen=True, crowd=MANY)
    kept = verdicts.error(BAD)
    assert isinstance(kept, DecodeError)
    assert len(kept.body) == 1024
    assert kept.__traceback__ is None
