"""Cuts any image source into learning events and a test set."""

from collections.abc import Iterable

import numpy as np

from qlrjax.streams import nicv2
from qlrjax.streams.stream import ImageSource, Stream


def by_sessions(
    source: ImageSource,
    test_sessions: Iterable[int],
    order: Iterable[Iterable[nicv2.Pair]],
    reduced_test: bool = False,
) -> Stream:
    """Events of whole (session, label) pairs, and the test sessions' images.

    Args:
        source: The images.
        test_sessions: Sessions that make the test set.
        order: Events as (session, label) pairs; pairs that the source lacks are an error.
        reduced_test: Keep every 20th test image only, as ar1-pytorch does.

    Raises:
        ValueError: A pair of the order has no images.
    """
    rows: dict[nicv2.Pair, np.ndarray] = {}
    keys = source.sessions.astype(np.int64) << 32 | source.labels
    by_key = np.lexsort((source.frames, keys))
    values, starts = np.unique(keys[by_key], return_index=True)
    for value, part in zip(values, np.split(by_key, starts[1:]), strict=True):
        rows[int(value >> 32), int(value & 0xFFFFFFFF)] = part
    events = []
    for pairs in order:
        parts = []
        for session, label in pairs:
            if (session, label) not in rows:
                names = dict(enumerate(source.class_names))
                raise ValueError(
                    f"{source.name} has no images of class {names.get(label, label)!r} in "
                    f"session {session}, which the order of events needs"
                )
            parts.append(rows[session, label])
        events.append(np.concatenate(parts))
    tests = sorted(set(test_sessions))
    test = [rows[key] for key in sorted(rows) if key[0] in tests]
    joined = np.concatenate(test) if test else np.empty(0, np.int64)
    return Stream(source, tuple(events), joined[::20] if reduced_test else joined)


def training_pairs(source: ImageSource, test_sessions: Iterable[int]) -> set[nicv2.Pair]:
    """All (session, label) pairs outside the test sessions."""
    held_out = set(test_sessions)
    return {
        (int(session), int(label))
        for session, label in zip(source.sessions, source.labels, strict=True)
        if int(session) not in held_out
    }
