"""Calls in turn, round by round, so that other work on the machine disturbs all alike."""

import os
import time
from collections.abc import Callable, Sequence

import numpy as np

CORES = len(os.sched_getaffinity(0))
# ONNX Runtime's and PyTorch's threads go on spinning after a call: after 4 ms a batch of ours still
# took 47 ms beside them and 35 alone.
_PAUSE = 0.05
_LEAST = 5


def interleaved(calls: Sequence[Callable], rounds: int, seconds: float = 20.0) -> np.ndarray:
    """Seconds [rounds, calls], each after a rest and a call that wakes cores and threads up.

    Args:
        calls: Each returns when its work is done.
        rounds: At most; fewer, but five at least, where they would take longer than `seconds`.
        seconds: About as long as all rounds may take.
    """
    for call in calls:
        call()
    taken = []
    begun = time.perf_counter()
    while len(taken) < rounds:
        row = []
        for call in calls:
            time.sleep(_PAUSE)
            call()
            started = time.perf_counter()
            call()
            row.append(time.perf_counter() - started)
        taken.append(row)
        if len(taken) >= _LEAST and time.perf_counter() - begun > seconds:
            break
    return np.array(taken)


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
