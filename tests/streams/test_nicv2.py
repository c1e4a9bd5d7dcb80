"""The official NICv2 orders against the published counts, and the rule against its own promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlrjax.streams import nicv2


def openings(order):
    """The events behind the first that bring a class not seen before."""
    known = {item for _, item in order[0]}
    events = []
    for number, event in enumerate(order):
        new = {item for _, item in event} - known
        events += [number] if new else []
        known |= new
    return events


def test_every_run_of_nicv2_391_brings_new_classes_where_the_paper_has_them():
    first, last = [], []
    for run in range(10):
        order = nicv2.official_order(391, run)
        assert all(len(event) == 1 for event in order[1:])
        assert order[0] == nicv2.official_order(391, 0)[0]
        events = openings(order)
        assert len(events) == 40
        first.append(events[0])
        last.append(events[-1])
    assert (min(first), max(first)) == (2, 23)
    assert (min(last), max(last)) == (321, 340)


@pytest.mark.parametrize(
    ("scenario", "least", "most"), [(79, 1_490, 1_500), (196, 593, 600), (391, 293, 300)]
)
def test_later_events_have_the_published_sizes(scenario, least, most):
    for run in range(10):
        order = nicv2.official_order(scenario, run)
        sizes = [sum(nicv2.official_frames(*pair) for pair in event) for event in order]
        assert sizes[0] == 2_999
        assert least <= min(sizes[1:])
        assert max(sizes[1:]) <= most
        assert sum(sizes) == 119_894


def test_runs_differ():
    for scenario in nicv2.SCENARIOS:
        assert len({nicv2.official_order(scenario, run) for run in range(10)}) == 10


@given(
    known=st.dictionaries(
        st.integers(0, 60), st.sets(st.integers(0, 11), min_size=1), min_size=1, max_size=20
    ),
    share=st.floats(0, 1),
    per_event=st.integers(1, 7),
    seed=st.integers(0, 2**32),
)
def test_generated_orders_of_any_pairs(known, share, per_event, seed):
    pairs = [(session, label) for label, sessions in known.items() for session in sessions]
    first = max(1, round(share * len(known)))
    order = nicv2.generate_order(pairs, first, per_event, seed)
    assert sorted(pair for event in order for pair in event) == sorted(pairs)
    assert len(order) == 1 + -(-(len(pairs) - first) // per_event)
    assert all(session == min(known[label]) for session, label in order[0])
    assert order == nicv2.generate_order(pairs[::-1], first, per_event, seed)


def test_first_event_of_scenes50_is_that_of_core50():
    pairs = [(session, label) for session in (1, 2, 4, 5, 6, 8) for label in range(50)]
    order = nicv2.generate_order(pairs, 10, 5, seed=0)
    official = nicv2.official_order(391, 0)[0]
    assert sorted(order[0]) == sorted((session, item - 1) for session, item in official)
    assert len(order) == 59
    assert order != nicv2.generate_order(pairs, 10, 5, seed=1)


def test_classes_come_back_in_other_sessions_and_new_ones_are_spread():
    pairs = [(session, label) for session in range(8) for label in range(50)]
    for seed in range(5):
        order = nicv2.generate_order(pairs, 10, 1, seed)
        events = np.array(openings(order))
        assert len(events) == 40
        assert np.diff(events).max() <= 25
        assert events[-1] <= 0.9 * len(order)


@pytest.mark.parametrize(("scenario", "run"), [(390, 0), (391, 10), (391, -1)])
def test_orders_that_do_not_exist(scenario, run):
    with pytest.raises(ValueError, match="scenarios are"):
        nicv2.official_order(scenario, run)


def test_rules_that_cannot_be():
    with pytest.raises(ValueError, match="the data has 0"):
        nicv2.generate_order([], 1, 1, 0)
    with pytest.raises(ValueError, match="0 classes"):
        nicv2.generate_order([(1, 1)], 0, 1, 0)
    with pytest.raises(ValueError, match="pairs"):
        nicv2.generate_order([(1, 1)], 1, 0, 0)
