"""The order of learning events: the NICv2 rule of Lomonaco et al. (2020).

Every event is a set of whole (session, class) pairs and every pair comes exactly once. The first
event has several classes from one session; later ones few pairs each. New classes come bit by bit
over the stream and known ones come back in other sessions.
"""

import functools
import importlib.resources
import io
from collections.abc import Iterable, Sequence

import numpy as np

Pair = tuple[int, int]

SCENARIOS = (79, 196, 391)
ASSET = "nicv2_orders.npz"

# In CORe50's official orders of 391 events the last new class comes at event 321 to 340.
_NEW_CLASSES_UNTIL = 0.85


def generate_order(
    pairs: Iterable[Pair], first_pairs: int, pairs_per_event: int, seed: int
) -> tuple[tuple[Pair, ...], ...]:
    """Events of (session, class) pairs by the NICv2 rule.

    Args:
        pairs: All (session, class) pairs to learn from.
        first_pairs: Classes of the first event, spread evenly over the class numbers, all from the
            lowest session that each of them has.
        pairs_per_event: Pairs of every later event.
        seed: Of the order.

    Returns:
        Events; the first `first_pairs` classes are known from event 0, the first pairs of the other
        classes are spread evenly over the first 85 % of the stream.

    Raises:
        ValueError: There are fewer classes than `first_pairs`, or no pairs; or an event would have
            none.
    """
    known: dict[int, list[Pair]] = {}
    for session, label in sorted(set(pairs)):
        known.setdefault(label, []).append((session, label))
    labels = sorted(known)
    if not 1 <= first_pairs <= len(labels):
        raise ValueError(
            f"the first event cannot have {first_pairs} classes: the data has {len(labels)}"
        )
    if pairs_per_event < 1:
        raise ValueError(f"an event cannot have {pairs_per_event} pairs; give at least 1")
    generator = np.random.Generator(np.random.PCG64(seed))
    chosen = [labels[index * len(labels) // first_pairs] for index in range(first_pairs)]
    first = tuple(known[label].pop(0) for label in chosen)
    new = [label for label in labels if label not in chosen]
    sequence = _interleave(known, new, generator)
    later = [
        tuple(sequence[start : start + pairs_per_event])
        for start in range(0, len(sequence), pairs_per_event)
    ]
    return (first, *later)


def _interleave(
    known: dict[int, list[Pair]], new: Sequence[int], generator: np.random.Generator
) -> list[Pair]:
    """A random order in which each new class starts at its own, evenly spread place."""
    openings = {label: _take(known[label], generator) for label in new}
    order = [label for label in generator.permutation(np.asarray(new, int)).tolist()]
    total = len(openings) + sum(len(rest) for rest in known.values())
    starts = np.linspace(0, _NEW_CLASSES_UNTIL * total, len(order), endpoint=False)
    # A pair that comes back is drawn anywhere behind its class's opening.
    places = [(float(place), openings[label]) for place, label in zip(starts, order, strict=True)]
    begin = {label: float(place) for place, label in zip(starts, order, strict=True)}
    for label in sorted(known):
        for pair in known[label]:
            places.append((float(generator.uniform(begin.get(label, 0.0), total)), pair))
    return [pair for _, pair in sorted(places)]


def _take(rest: list[Pair], generator: np.random.Generator) -> Pair:
    return rest.pop(int(generator.integers(len(rest))))


@functools.cache
def _asset() -> dict[str, np.ndarray]:
    data = importlib.resources.files("qlrjax").joinpath("assets", ASSET).read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def official_order(scenario: int, run: int) -> tuple[tuple[Pair, ...], ...]:
    """CORe50's official NICv2 events as (session, object) pairs, objects from 1.

    Args:
        scenario: 79, 196 or 391, the number of events.
        run: 0 to 9.

    Raises:
        ValueError: There is no such scenario or run.
    """
    if scenario not in SCENARIOS or not 0 <= run <= 9:
        raise ValueError(
            f"NICv2 has no order {scenario}, run {run}; scenarios are {SCENARIOS}, runs 0 to 9"
        )
    rows = _asset()[f"{scenario}/{run}"]
    events: list[list[Pair]] = [[] for _ in range(scenario)]
    for event, session, item in rows.tolist():
        events[event].append((session, item))
    return tuple(tuple(event) for event in events)


def official_frames(session: int, item: int) -> int:
    """Training frames that the official lists have of an object (from 1) in a session."""
    return int(_asset()["frames"][session, item])
