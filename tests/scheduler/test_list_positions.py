"""The places of IDs in the list: what is foretold from the pages read, by hand and against a list that moves."""

from __future__ import annotations

import doctest
import random

import pytest

from omgmj.protocol.messages import PAGE_MOST
from omgmj.scheduler import list_positions
from omgmj.scheduler.list_positions import ListPositions


def read(places: ListPositions, latest: list[int], page: int, now: float) -> None:
    """Read a page of a list, the newest first."""
    first = (page - 1) * PAGE_MOST
    places.learn(first, latest[first : first + PAGE_MOST], now)


def errors(places: ListPositions, latest: list[int], now: float) -> list[float]:
    """Return by how much each ID's place is foretold wrongly."""
    return [abs(places.place(task_id, now) - place) for place, task_id in enumerate(latest)]


def test_one_page_tells_the_places_of_all_where_no_number_is_left_out() -> None:
    """Above, on and below the one page read, places follow from the numbers of the IDs."""
    latest = list(range(1100, 1000, -1))
    places = ListPositions()
    assert not places
    read(places, latest, 3, 0.0)
    assert places
    assert places.oldest == 1041
    assert max(errors(places, latest, 0.0)) == 0.0


def test_a_new_id_tells_how_far_the_list_moved() -> None:
    """An ID that is heard of once moves all others; one that is not the newest moves nothing."""
    latest = list(range(1100, 1000, -1))
    places = ListPositions()
    read(places, latest, 1, 0.0)
    for newest in (1130, 1115, 1130, 1131):
        places.expect(newest, 1.0)
    assert max(errors(places, list(range(1131, 1000, -1)), 1.0)) == 0.0


def test_what_moves_unheard_of_is_learned_from_pages() -> None:
    """Where no new ID is heard of, pages read again tell how fast the list moves, also when it stops."""
    latest = list(range(1100, 1000, -1))
    places = ListPositions()
    for second in range(61):
        read(places, latest, 1 + second % 5, float(second))
        latest[:0] = range(latest[0] + 5, latest[0], -1)
    assert max(errors(places, latest[:100], 61.0)) < PAGE_MOST / 4
    for second in range(61, 121):
        read(places, latest, 1 + second % 5, float(second))
    assert max(errors(places, latest[:100], 121.0)) < 2


@pytest.mark.parametrize("heard_of", [0.0, 0.5, 1.0])
def test_numbers_may_be_left_out(heard_of: float) -> None:
    """Where other accounts have nine of ten numbers, at random, places are about right all the same."""
    chance = random.Random(7)
    latest = [10_000]

    def make() -> int:
        latest.insert(0, latest[0] + 1 + int(chance.expovariate(1 / 9)))
        return latest[0]

    for _ in range(200):
        make()
    places = ListPositions()
    found = []
    for step in range(300):
        now = step * 0.2
        read(places, latest, 1 + step % 10, now)
        for _ in range(2):
            newest = make()
            if chance.random() < heard_of:
                places.expect(newest, now)
        if step > 100:
            found += errors(places, latest[:200], now)
    assert sum(found) / len(found) < PAGE_MOST / 2


def test_the_ids_on_a_page_are_those_around_one_of_them() -> None:
    """Of the known IDs those that lie so many places before and after one are told, by the numbers between them too."""
    latest = list(range(1100, 1000, -1))
    places = ListPositions()
    read(places, latest, 2, 0.0)
    for one in (1090, 1095, 1105):
        places.expect(one, 0.0)
    assert sorted(places.around(1080, 10, 3)) == [1077, 1078, 1079, 1080, 1090]
    assert sorted(places.around(1105, 3, 10)) == [1095, 1105]
    assert sorted(places.around(1061, 0, 5)) == [1061]


def test_the_page_that_tells_most_is_the_nearer_or_the_newer() -> None:
    """Between two pages one that is far away counts less, and so does one from before the list moved."""
    latest = list(range(1200, 1000, -1))
    places = ListPositions()
    read(places, latest, 1, 0.0)
    read(places, latest, 5, 0.0)
    assert places._near(1175)[0].high == 1200
    assert places._near(1125)[0].high == 1120
    places.expect(1300, 1.0)
    read(places, list(range(1300, 1000, -1)), 10, 1.0)
    assert places._near(1175)[0].high == 1120
    assert places._near(1400)[0].high == 1200
    assert places._near(900)[0].high == 1120


def test_an_empty_page_and_one_of_a_single_task_tell_nothing_of_numbers() -> None:
    """Neither breaks what is known."""
    places = ListPositions()
    assert places.learn(0, [], 0.0) == []
    assert not places
    assert places.learn(0, [5], 0.0) == [5]
    assert places.learn(0, [6], 0.0) == [6]
    assert [places.place(one, 0.0) for one in (6, 5)] == [0.0, 1.0]


def test_what_was_forgotten_is_not_known() -> None:
    """A list that is left alone is begun anew."""
    places = ListPositions()
    read(places, list(range(40, 0, -1)), 1, 0.0)
    assert places.knows(40)
    places.clear()
    assert not places
    assert not places.knows(40)


def test_the_model_is_worked_out_by_its_example() -> None:
    """The example in the model's text comes out as written there."""
    assert doctest.testmod(list_positions) == (0, 7)


def test_a_place_moves_on_with_the_list() -> None:
    """The place some seconds ahead is further on by the speed, and not before the first."""
    places = ListPositions()
    read(places, list(range(1100, 1000, -1)), 1, 0.0)
    for step in range(1, 41):
        places.expect(1100 + step, step / 10)
    assert places.place(1100, 4.0) == 40.0
    assert places.place(1100, 4.0, 0.5) == pytest.approx(45.0, abs=0.5)
    assert places.place(1140, 4.0, -1.0) == 0.0
