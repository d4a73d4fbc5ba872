"""What is planned of the list: which page is read for whom, by hand."""

from __future__ import annotations

import pytest

from omgmj.backoff import Fixed
from omgmj.protocol.messages import PAGE_MOST
from omgmj.scheduler.list_depth import DEEPER_HOLD, EMPTY_PAUSE, VAIN_PAUSE
from omgmj.scheduler.list_positions import KEPT
from omgmj.scheduler.list_trust import CHECK_PAGES, CHECK_SECONDS, LAG, LONGEST_REST, REST, STRIKES
from omgmj.scheduler.registry import LISTED, MISSED, Registry, Subscription
from omgmj.scheduler.sweep_plan import NEW_PAYS, YOUNG, NotShown, Sweep, SweepPlan
from tests.scheduler.bench import Sink


def listing(*ids: int) -> tuple[Registry, SweepPlan]:
    """Return a registry that watches `ids`, all due at 0, and what is known of their list: nothing."""
    registry = Registry()
    subscription = Subscription(Sink(), ids, Fixed(2.0), 0.0, None, None)
    for task_id in ids:
        row = registry.open(task_id)
        registry.join(row, subscription)
        registry.due[row] = 0.0
    return registry, SweepPlan(registry)


def read(plan: SweepPlan, sweep: Sweep | None, latest: list[int], now: float) -> Sweep:
    """Have a planned page read from a list, the newest first."""
    assert sweep is not None
    shown = latest[(sweep.page - 1) * PAGE_MOST : sweep.page * PAGE_MOST]
    plan.on_page(sweep, shown, now)
    return sweep


def test_the_list_is_read_from_the_newest_down() -> None:
    """Pages are read one after the other while they show watched IDs, and then each ID's page is known."""
    latest = list(range(1100, 1000, -1))
    _, plan = listing(*latest)
    for page in range(1, 6):
        assert read(plan, plan.plan(1001, 1.0), latest, 1.0).page == page
    for place in (0, 19, 20, 57, 99):
        sweep = plan.plan(latest[place], 1.0)
        assert sweep is not None
        assert sweep.page == place // PAGE_MOST + 1
        assert set(sweep.task_ids) == set(latest[(sweep.page - 1) * PAGE_MOST : sweep.page * PAGE_MOST])
        assert plan.plan(latest[place], 1.0) is None  # it is out
        read(plan, sweep, latest, 1.0)


def test_a_list_without_watched_ids_is_read_no_deeper() -> None:
    """IDs that lie in no list are looked for where they should be, in vain, and then there is a pause."""
    latest = list(range(5000, 1000, -1))
    _, plan = listing(*range(1, 50))
    pages = []
    while (sweep := plan.plan(1, 1.0)) is not None:
        pages.append(sweep.page)
        read(plan, sweep, latest, 1.0)
    assert pages == [1, 248]
    assert plan.plan(1, 1.0 + EMPTY_PAUSE) is not None


def test_the_list_is_read_where_watched_ids_should_lie() -> None:
    """Pages of IDs that nobody watches are left out, above the watched ones and between them."""
    latest = list(range(9000, 1000, -1))
    _, plan = listing(*range(7961, 8001), *range(1001, 1021))
    pages = []
    for _ in range(4):
        pages.append(read(plan, plan.plan(1001, 1.0), latest, 1.0).page)
    assert pages == [1, 51, 52, 400]
    assert plan.plan(1001, 1.0) is None or plan._positions.oldest == 1001


def test_too_few_on_a_page_are_not_looked_for() -> None:
    """Watched IDs that lie far from each other cost a page each: they are asked for, and no page is read."""
    latest = list(range(9000, 1000, -1))
    _, plan = listing(*range(7000, 1000, -100))
    read(plan, plan.plan(1100, 1.0), latest, 1.0)
    assert plan.plan(1100, 1.0) is None
    assert plan.plan(1100, 1.0) is None


def test_ids_that_the_list_was_read_beyond_are_expected_in_it() -> None:
    """A page that lies too deep tells where those are that it passed; IDs watched later are expected there, too."""
    latest = list(range(9000, 1000, -1))
    registry, plan = listing(*range(7901, 8001))
    read(plan, plan.plan(7901, 1.0), latest, 1.0)
    deep = plan.plan(7901, 1.0)
    assert deep is not None
    plan.on_page(deep, latest[1040:1060], 1.0)
    assert plan._positions.knows(7990)
    assert not plan._positions.knows(8500)
    subscription = Subscription(Sink(), [8500], Fixed(2.0), 0.0, None, None)
    registry.join(registry.open(8500), subscription)
    plan.on_watch([8500])
    assert plan._positions.knows(8500)


def test_a_page_shown_again_past_the_end_moves_nothing() -> None:
    """Some services answer a page past the end with the last one: no place is learned from it, and there is a pause."""
    latest = list(range(1100, 1000, -1))
    _, plan = listing(*latest, *range(1, 9))
    for _ in range(5):
        read(plan, plan.plan(1, 1.0), latest, 1.0)
    before = plan._positions.place(1001, 1.0)
    past = Sweep(60, (1,), deeper=True, at=1.0, foretold=8)
    plan.on_page(past, latest[-PAGE_MOST:], 1.0)
    assert plan._positions.place(1001, 1.0) == before
    assert plan.plan(1, 1.0) is None


def test_dense_pages_are_tried_again_after_a_pause() -> None:
    """Where pages show nothing of what they should the rest is left alone, and not forgotten."""
    latest = list(range(9000, 1000, -1))
    _, plan = listing(*range(6001, 8001))
    read(plan, plan.plan(6001, 0.0), latest, 0.0)
    now, pages = 1.0, 0
    while (sweep := plan.plan(6001, now)) is not None:
        pages += 1
        plan.on_page(sweep, latest[pages * 40 : pages * 40 + PAGE_MOST], now)
        now += 1.0
    assert 3 <= pages <= 25
    assert plan.plan(6001, now + VAIN_PAUSE) is not None


def test_the_end_of_the_list_is_found() -> None:
    """A page that shows nothing new is the end of the list."""
    latest = list(range(1020, 1000, -1))
    _, plan = listing(*latest, *range(1, 9))
    read(plan, plan.plan(1, 1.0), latest, 1.0)
    read(plan, plan.plan(1, 1.0), latest, 1.0)
    assert plan.plan(1, 1.0) is None


def test_drift_is_learned() -> None:
    """How fast new tasks come is learned from where known IDs turn up, and moves the page of each."""
    latest = list(range(2000, 1000, -1))
    _, plan = listing(*latest[:60])
    for _ in range(3):
        read(plan, plan.plan(latest[59], 0.0), latest, 0.0)
    newest = 2000
    for second in range(1, 30):
        fresh = list(range(newest + 10, newest, -1))
        newest += 10
        latest[:0] = fresh
        if (sweep := plan.plan(1990, float(second))) is not None:
            read(plan, sweep, latest, float(second))
    place = plan._positions.place(1990, 30.0)
    assert abs(place - (latest.index(1990) + 10)) < PAGE_MOST


def test_one_that_callbacks_tell_of_is_read_with_its_neighbours() -> None:
    """Its page costs no more than a poll where others of it are watched, though none of them is due."""
    latest = list(range(1100, 1000, -1))
    registry, plan = listing(*latest[:42], *latest[80:])
    for _ in range(3):
        read(plan, plan.plan(latest[41], 1.0), latest, 1.0)
    for row in registry.rows.values():
        registry.due[row] = 100.0
    for task_id, page in ((latest[25], 2), (latest[40], 3)):
        registry.due[registry.rows[task_id]] = 60.0
        assert plan.plan(task_id, 60.0) is None
        assert plan.plan(task_id, 60.0, heard=True) == Sweep(page, (task_id,), deeper=False, at=60.0)
    registry, plan = listing(*latest[:41], *latest[80:])
    for _ in range(3):
        read(plan, plan.plan(latest[40], 1.0), latest, 1.0)
    assert plan.plan(latest[40], 1.0, heard=True) is None


def test_strikes_leave_the_list_alone_longer_each_time() -> None:
    """Signs against the list add up; it is left alone, each time longer, and begun anew afterwards."""
    latest = list(range(1100, 1000, -1))
    _, plan = listing(*latest)
    now, rest = 0.0, REST
    for _ in range(12):
        read(plan, plan.plan(1050, now), latest, now)
        for _ in range(STRIKES):
            plan.strike(now)
        assert plan.plan(1050, now + rest - 1) is None
        assert not plan.holds(1050, now)
        now, rest = now + rest, min(LONGEST_REST, rest * 2)
    assert rest == LONGEST_REST


def test_a_list_that_is_left_alone_gets_no_strikes() -> None:
    """What was under way when the list was left alone says nothing new: it is not left alone longer for it."""
    latest = list(range(1100, 1000, -1))
    _, plan = listing(*latest)
    for now in (0.0, 0.0, REST - 1):
        plan.strike(now, times=STRIKES)
    assert plan.plan(1050, REST - 0.5) is None
    assert plan.plan(1050, REST) is not None


def test_once_in_a_while_an_id_is_asked_for_singly_that_pages_show() -> None:
    """After some pages over some seconds one ID that a page showed last is asked for: a list may stand still."""
    latest = list(range(1100, 1000, -1))
    registry, plan = listing(*latest)
    registry.listed[registry.rows[1090]] = LISTED
    for _ in range(CHECK_PAGES):
        read(plan, plan.plan(1001, 0.0), latest, 0.0)
    read(plan, plan.plan(1091, 0.0), latest, 0.0)  # no page showed it so far
    assert plan.plan(1090, 0.0) is None
    for now in (0.0, 0.0, 0.0, CHECK_SECONDS - 1):
        read(plan, plan.plan(1090, now), latest, now)
    assert plan.plan(1090, CHECK_SECONDS) is None
    for _ in range(CHECK_PAGES):
        read(plan, plan.plan(1090, 2 * CHECK_SECONDS), latest, 2 * CHECK_SECONDS)
    assert plan.plan(1090, 2 * CHECK_SECONDS) is None


def test_pages_that_do_not_pay_are_left_alone() -> None:
    """Pages that show fewer of the IDs they were read for than asking would are read no more for a while."""
    latest = list(range(1100, 1000, -1))
    _, plan = listing(*latest)
    read(plan, plan.plan(1001, 0.0), latest, 0.0)
    pages = 0
    while (sweep := plan.plan(1095, 0.0)) is not None:
        pages += 1
        assert pages < 40
        missed = plan.on_page(sweep, range(2000, 2000 - PAGE_MOST, -1), 0.0)
        assert list(missed) == list(sweep.task_ids)
    assert pages > 5


def test_a_page_tells_where_those_are_that_it_does_not_show() -> None:
    """Who is between two of its IDs is not in the list; who is beyond them is on another page, where there is one."""
    shown = list(range(1100, 1000, -2))[:PAGE_MOST]
    for page, task_ids, some, where in (
        (2, (1098, 1097), shown, {1097: NotShown(absent=True, slid=False)}),
        (2, (1101,), shown, {1101: NotShown(absent=False, slid=True)}),
        (1, (1101,), shown, {1101: NotShown(absent=False, slid=False)}),
        (1, (1001,), shown, {1001: NotShown(absent=False, slid=True)}),
        (1, (1001,), shown[1:], {1001: NotShown(absent=False, slid=False)}),
        (2, (1001,), [], {1001: NotShown(absent=False, slid=False)}),
    ):
        _, plan = listing(*task_ids)
        assert plan.on_page(Sweep(page, task_ids, deeper=False, at=0.0), some, 0.0) == where


def test_pages_that_lack_more_than_they_show_speak_against_the_list() -> None:
    """A page without most of its IDs is a sign, which a good one takes off: only many in a row end the reading."""
    latest = list(range(1100, 1000, -1))
    gaps = [task_id for task_id in latest if task_id == 1100 or task_id < 1085]
    registry, plan = listing(*latest)
    for row in registry.rows.values():
        registry.answers[row] = 1
    first = read(plan, plan.plan(1001, 0.0), latest, 0.0)._replace(task_ids=tuple(latest[:PAGE_MOST]), deeper=False)
    for _ in range(3 * STRIKES):
        read(plan, first, gaps, 0.0)
        read(plan, first, latest, 0.0)
    assert plan.is_in_use(0.0)
    for _ in range(STRIKES):
        read(plan, first, gaps, 0.0)
    assert not plan.is_in_use(0.0)


def test_ids_that_may_not_exist_are_no_sign_against_the_list() -> None:
    """A page that lacks IDs which nobody ever saw says nothing of the list."""
    latest = list(range(1100, 1000, -2))
    _, plan = listing(*range(1001, 1101))
    first = read(plan, plan.plan(1001, 0.0), latest, 0.0)._replace(task_ids=(1099, 1097, 1095), deeper=False)
    for _ in range(3 * STRIKES):
        read(plan, first, latest, 0.0)
    assert plan.is_in_use(0.0)
    assert not plan._positions.knows(1099)
    assert plan.plan(1099, 0.0) is None  # a page shows that it is not there: it is asked for


def test_an_id_that_the_list_does_not_hold_is_asked_for() -> None:
    """Who was missing where the list should show it is not looked for there again."""
    latest = list(range(1100, 1000, -1))
    registry, plan = listing(*latest)
    read(plan, plan.plan(1001, 0.0), latest, 0.0)
    registry.listed[registry.rows[1095]] = MISSED
    assert plan.plan(1095, 0.0) is None
    assert 1095 not in (plan.plan(1096, 0.0) or Sweep(0, (), deeper=False, at=0.0)).task_ids


def test_few_due_ids_wait_for_others_of_their_page() -> None:
    """An ID that is due alone on a page of many waits a little; where most are due it does not."""
    latest = list(range(1100, 1000, -1))
    registry, plan = listing(*latest)
    read(plan, plan.plan(1001, 0.0), latest, 0.0)
    assert not plan.holds(1095, 0.0)
    for task_id in latest:
        registry.due[registry.rows[task_id]] = 100.0
    registry.due[registry.rows[1095]] = 0.0
    assert plan.holds(1095, 0.0)
    assert plan.plan(1095, 0.0) is None


def test_a_question_changes_nothing() -> None:
    """Whether an ID is held may be asked at any time; only that it is due is learned, when the plan is told so."""
    latest = list(range(1100, 1000, -1))
    registry, plan = listing(*latest, 1101, 1102)
    read(plan, plan.plan(1001, 0.0), latest, 0.0)
    for task_id in latest:
        registry.due[registry.rows[task_id]] = 100.0
    assert not plan.holds(1101, 1.0)
    assert not plan.holds_new(1101, 1.0)
    assert not plan._positions.knows(1101)
    plan.expect(1101, 1.0)
    assert plan.holds_new(1101, 1.0)
    assert plan._positions.knows(1101)


def test_what_is_kept_of_the_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a list without end only the newest IDs are kept."""
    assert KEPT >= 100_000
    monkeypatch.setattr("omgmj.scheduler.list_positions.KEPT", 50)
    latest = list(range(1200, 1000, -1))
    _, plan = listing(*latest)
    for _ in range(5):
        if (sweep := plan.plan(1001, 0.0)) is not None:
            read(plan, sweep, latest, 0.0)
    assert list(plan._positions._known) == list(range(1151, 1201))
    assert len(plan._positions._anchors) == 3


def test_an_id_that_may_not_exist_moves_nothing() -> None:
    """An ID far beyond the newest is asked for singly until it was seen, and the list stays where it is."""
    latest = list(range(1100, 1000, -1))
    _, plan = listing(*latest, 10**9, 1110)
    read(plan, plan.plan(1001, 0.0), latest, 0.0)
    assert plan.plan(10**9, 0.0) is None
    near = plan.plan(1110, 0.0)
    assert near is not None
    assert near.page == 1
    assert plan.plan(10**9, 0.0) is None


def test_pages_that_fail_in_passing_rest_only_where_they_are_many() -> None:
    """One page in five may fail, and nothing is forgotten; where half of them do the list is left alone for a while."""
    latest = list(range(1100, 1000, -1))
    _, plan = listing(*latest)
    for number in range(100):
        sweep = plan.plan(1050, 0.0)
        assert sweep is not None
        if number % 5:
            read(plan, sweep, latest, 0.0)
        else:
            plan.on_transient(sweep, 0.0)
    for _ in range(20):
        if (sweep := plan.plan(1050, 0.0)) is not None:
            plan.on_transient(sweep, 0.0)
    assert plan.plan(1050, REST - 1) is None
    again = plan.plan(1050, REST)
    assert again is not None
    assert not again.deeper


def test_pages_that_are_read_deeper_are_more_at_once_as_they_pay() -> None:
    """One deeper page is out at first, and one more for each that paid; meanwhile who may be on them waits."""
    latest = list(range(2000, 1000, -1))
    _, plan = listing(*latest)
    first = plan.plan(1001, 0.0)
    assert first is not None
    assert plan.plan(1001, 0.0) is None
    assert plan.awaited_until(1001, 0.0) == DEEPER_HOLD
    read(plan, first, latest, 1.0)
    assert plan.awaited_until(1001, 1.0) < 1.0
    out = [plan.plan(1001, 1.0) for _ in range(3)]
    assert [sweep and sweep.page for sweep in out] == [2, 3, None]
    assert plan.awaited_until(1001, 1.0) == 1.0 + DEEPER_HOLD
    assert plan.awaited_until(1990, 1.0) < 1.0


def test_an_empty_page_stops_reading_deeper_for_a_moment_only() -> None:
    """A page with nothing new may be an accident: the next is read after seconds, later each time in vain."""
    latest = list(range(1100, 1000, -1))
    _, plan = listing(*latest)
    now, pause = 0.0, EMPTY_PAUSE
    for _ in range(3):
        read(plan, plan.plan(1001, now), [], now)
        assert plan.plan(1001, now + pause - 1) is None
        now, pause = now + pause, 2 * pause
    assert plan.plan(1001, now) is not None


def test_who_is_on_a_page_that_is_out_waits_for_it() -> None:
    """An ID whose page is under way is not asked for beside it."""
    latest = list(range(1100, 1000, -1))
    _, plan = listing(*latest)
    read(plan, plan.plan(1001, 0.0), latest, 0.0)
    sweep = plan.plan(1095, 0.0)
    assert sweep is not None
    assert plan.holds(1094, 0.0)
    read(plan, sweep, latest, 0.5)
    assert not plan.holds(1094, 0.5)


def test_a_lost_page_is_not_out_any_more() -> None:
    """A page that came to nothing can be planned again; one that is refused has the list left alone."""
    latest = list(range(1100, 1000, -1))
    _, plan = listing(*latest)
    for _ in range(STRIKES):
        sweep = plan.plan(1001, 0.0)
        assert sweep is not None
        plan.on_lost(sweep)
    sweep = plan.plan(1001, 0.0)
    assert sweep is not None
    plan.on_refusal(sweep, 0.0)
    assert plan.plan(1001, REST - 1) is None
    assert plan.plan(1001, REST) == sweep._replace(at=REST)


def test_a_new_id_waits_for_others_where_the_first_page_was_read_just_now() -> None:
    """An ID that page 1 did not show a moment ago was made since: it waits until its page is full, others do not."""
    latest = list(range(1100, 1000, -1))
    registry, plan = listing(*latest, *range(1101, 1200))
    assert not plan.holds_new(1101, 0.0)  # the list was not read yet
    read(plan, plan.plan(1001, 0.0), latest, 0.0)
    assert not plan.holds_new(1100, 1.0)
    assert not plan.holds_new(1101, YOUNG + 1)
    for task_id in latest:
        registry.due[registry.rows[task_id]] = 100.0
    held = []
    for task_id in range(1101, 1101 + NEW_PAYS):
        plan.expect(task_id, 1.0)
        held.append(plan.holds_new(task_id, 1.0))
    assert held == [True] * (NEW_PAYS - 1) + [False]
    # One that came after the moment that a page would tell of waits in any case.
    registry.first[registry.rows[1101 + NEW_PAYS]] = 1.1
    plan.expect(1101 + NEW_PAYS, 1.0)
    assert plan.holds_new(1101 + NEW_PAYS, 1.0)
    sweep = plan.plan(1101, 1.0)
    assert sweep is not None
    assert plan.holds_new(1102, 1.0)  # its page is out
    plan.strike(1.0, times=STRIKES)
    assert not plan.holds_new(1103, 1.0)


def test_new_ids_have_the_first_page_read_even_alone() -> None:
    """A single new ID is polled by page 1 once in a while, as that costs no more; otherwise it is asked for."""
    latest = list(range(1100, 1000, -1))
    registry, plan = listing(*latest, 1101, 1102)
    read(plan, plan.plan(1001, 0.0), latest, 0.0)
    for task_id in latest:
        registry.due[registry.rows[task_id]] = 100.0
    registry.due[registry.rows[1102]] = 100.0
    assert plan.plan(1101, 1.0) is None
    assert plan.plan(1101, YOUNG + 1) == Sweep(1, (1101,), deeper=False, at=YOUNG + 1)


@pytest.mark.parametrize(("asked", "since", "rests"), [(2, 0.0, True), (1, 0.0, False), (2, 1.0, False)])
def test_a_first_page_that_lacks_what_query_showed_lags_behind(asked: int, since: float, *, rests: bool) -> None:
    """Where page 1 does not show new IDs that have long been there, the list is left alone; one ID proves nothing."""
    latest = list(range(1100, 1000, -1))
    registry, plan = listing(*latest, 1101, 1102, 1103)
    read(plan, plan.plan(1001, 0.0), latest, 0.0)
    for task_id in (1101, 1102, 1103)[:asked]:
        plan._positions.expect(task_id, 0.5)
        registry.answers[registry.rows[task_id]] = 1
        registry.first[registry.rows[task_id]] = since
    plan._positions.expect(1103, 0.5)
    now = LAG + 0.5
    read(plan, Sweep(1, (1090,), deeper=False, at=now), latest, now)
    assert (plan.plan(1050, now) is None) is rests


def test_a_page_that_is_out_is_not_read_once_more_for_older_ids() -> None:
    """Where the list was thought to have moved and had not, the next older page is out already: it is waited for."""
    latest = list(range(1100, 1000, -1))
    _, plan = listing(*latest, 1110)
    read(plan, plan.plan(1001, 0.0), latest, 0.0)
    sweep = plan.plan(1110, 0.0)
    assert sweep is not None
    out = plan.plan(1085, 0.0)
    assert out is not None
    assert out.page == 2
    for _ in range(10):
        plan.on_page(sweep, latest[:PAGE_MOST], 0.0)
    deeper = plan.plan(1001, 0.0)
    assert deeper is not None
    assert deeper.page == 3
    plan.on_page(out, latest[PAGE_MOST : 2 * PAGE_MOST], 0.0)
    assert plan.plan(1001, 0.0) is None or plan._depth._paid
