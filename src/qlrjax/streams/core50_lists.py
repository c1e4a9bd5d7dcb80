"""CORe50's official lists of frames, `paths.pkl` and `LUP.pkl`, and what they are checked for."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from qlrjax.streams import archive, nicv2

# Frames of the official test sessions; those of the training pairs are in the shipped orders.
TEST_FRAMES = {3: 14_992, 7: 14_994, 10: 14_986}

_NAMED_AT_MOST = 5


def lup_events(folder: Path, scenario: str, run: int) -> tuple[list[list[str]], list[str]]:
    """Frame names of every event and of the test set from the official paths.pkl and LUP.pkl.

    Args:
        folder: Where both files lie.
        scenario: As the official lists call it, such as "nicv2_391", "ni" or "nc".
        run: 0 to 9.

    Raises:
        ValueError: A pickle is missing, is not plain data, or lacks the scenario.
    """
    try:
        paths: Any = archive.read_plain_pickle(folder / "paths.pkl")
        lookup: Any = archive.read_plain_pickle(folder / "LUP.pkl")
    except OSError as error:
        raise ValueError(f"CORe50's list {error.filename} cannot be read") from error
    try:
        batches = lookup[scenario][run]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{folder}: LUP.pkl has no scenario {scenario!r}, run {run}") from error
    try:
        named = [[_name(paths, index) for index in batch] for batch in batches]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{folder}: LUP.pkl does not fit paths.pkl") from error
    if len(named) < 2:
        raise ValueError(f"{folder}: LUP.pkl has no test set for {scenario!r}, run {run}")
    return named[:-1], named[-1]


def _name(paths: Any, index: Any) -> str:
    # A negative index would silently name a frame from the end.
    if not isinstance(index, int) or index < 0 or not isinstance(paths, list):
        raise IndexError(index)
    return str(paths[index])


def check_against_pairs(
    listed: Sequence[Iterable[tuple[int, int, int]]], order: Sequence[Iterable[nicv2.Pair]]
) -> None:
    """Whether official lists hold the events of an order.

    Args:
        listed: (session, object, frame) of every event.
        order: (session, object) pairs of every event.

    Raises:
        ValueError: They differ; the sentence names the first event that does.
    """
    if len(listed) != len(order):
        raise ValueError(f"the lists have {len(listed)} events and the order has {len(order)}")
    for event, (frames, pairs) in enumerate(zip(listed, order, strict=True)):
        found = {(session, item) for session, item, _ in frames}
        if found != set(pairs):
            raise ValueError(f"event {event} is {sorted(found)} in the lists, not {sorted(pairs)}")


def check_complete(frames: Iterable[tuple[int, int, int]], name: str) -> None:
    """Whether data that is CORe50 lacks frames of it.

    Data with at most half of the official frames in every pair is something smaller in CORe50's
    layout, not CORe50 with gaps, and passes.

    Args:
        frames: (session, object, frame) of all images.
        name: Of the data, for the error sentence.

    Raises:
        ValueError: Frames are missing; the sentence says in which sessions and objects, and names
            the first gaps in their numbers.
    """
    numbers: dict[nicv2.Pair, set[int]] = {}
    for session, item, frame in frames:
        numbers.setdefault((session, item), set()).add(frame)
    expected = {
        (session, item): nicv2.official_frames(session, item)
        for session in range(1, 12)
        for item in range(1, 51)
        if session not in TEST_FRAMES
    }
    found = {pair: len(numbers.get(pair, ())) for pair in expected}
    if all(2 * found[pair] <= count for pair, count in expected.items()):
        return
    short = [
        f"s{pair[0]}/o{pair[1]} has {found[pair]} of {count} frames{_gaps(numbers.get(pair))}"
        for pair, count in expected.items()
        if found[pair] < count
    ]
    for session, count in TEST_FRAMES.items():
        total = sum(len(rest) for pair, rest in numbers.items() if pair[0] == session)
        if total < count:
            short.append(f"test session s{session} has {total} of {count} frames")
    if short:
        more = len(short) - _NAMED_AT_MOST
        listed = "; ".join(short[:_NAMED_AT_MOST]) + (f"; and {more} more" if more > 0 else "")
        raise ValueError(f"{name} is not the whole of CORe50: {listed}")


def _gaps(numbers: set[int] | None) -> str:
    if not numbers:
        return ""
    missing = sorted(set(range(min(numbers), max(numbers))) - numbers)
    if not missing:
        return ""
    return ", not " + ", ".join(f"{frame:03}" for frame in missing[:3])
