"""Calls in turn, round by round, so that other work on the machine disturbs all alike."""

import math
import os
import time
from collections.abc import Callable, Sequence

import numpy as np

CORES = len(os.sched_getaffinity(0))
# ONNX Runtime's and PyTorch's threads go on spinning after a call: after 4 ms a batch of ours still
# took 47 ms beside them and 35 alone.
_PAUSE = 0.05
# A call of one image takes a millisecond, and the machine's clock and threads are slow for several
# after a rest: short calls are repeated.
_SHORTEST = 0.03
_LEAST = 5


def interleaved(calls: Sequence[Callable], rounds: int, seconds: float = 20.0) -> np.ndarray:
    """Seconds of a call [rounds, calls], each after a rest and as much of it that is not counted.

    Args:
        calls: Each returns when its work is done; short ones are repeated.
        rounds: At most; fewer, but five at least, where they would take longer than `seconds`.
        seconds: About as long as all rounds may take.
    """
    repeats = [_repeats(call) for call in calls]
    taken = []
    begun = time.perf_counter()
    while len(taken) < rounds:
        row = []
        for call, times in zip(calls, repeats, strict=True):
            time.sleep(_PAUSE)
            _seconds(call, times)
            row.append(_seconds(call, times) / times)
        taken.append(row)
        if len(taken) >= _LEAST and time.perf_counter() - begun > seconds:
            break
    return np.array(taken)


def _seconds(call: Callable, times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        call()
    return time.perf_counter() - started


def _repeats(call: Callable) -> int:
    """Calls that make up the shortest time; the first, which may compile, is not counted."""
    call()
    return max(1, math.ceil(_SHORTEST / _seconds(call, 1)))


def rounds(default: int) -> int:
    """How many; `ROUNDS` decides."""
    return int(os.environ.get("ROUNDS", default))


def ratio(seconds: np.ndarray, peer: int, own: int = 0) -> dict[str, float]:
    """How many times as fast `own` is as a peer: median and quartiles of the rounds' ratios."""
    low, middle, high = np.quantile(seconds[:, peer] / seconds[:, own], (0.25, 0.5, 0.75))
    return {"times": figure(middle), "low": figure(low), "high": figure(high)}


def figure(value: float) -> float:
    """Four digits are more than any clock here has."""
    return float(f"{value:.4g}")


def times_text(found: dict[str, float] | None) -> str:
    """A ratio and its quartiles for a table."""
    if found is None:
        return "-"
    return f"{found['times']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
