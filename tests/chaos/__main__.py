"""`make chaos`: kill a short real session at random moments and resume it, many times over."""

import argparse
import collections
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from qlrjax.runs import checkpoint, run

from . import harness


def main() -> int:
    """Prints one line a run and a summary; exit code 1 if any run ended differently."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="runs, each killed at least once")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--twice", type=float, default=0.2, help="share of runs killed twice")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        harness.finish(place / "warm", place / "cache")  # compiles
        seconds = harness.finish(place / "reference", place / "cache")
        reference = harness.read_end(place / "reference")
        steps = checkpoint.steps(place / "reference" / run.CHECKPOINTS)[-1]
        print(f"uninterrupted: {steps} events in {seconds:.1f} s", flush=True)
        moments: collections.Counter[str] = collections.Counter()
        differing = 0
        for number in range(arguments.kills):
            folder = place / "run"
            times = 2 if rng.random() < arguments.twice else 1
            struck = [
                strike(folder, place / "cache", reference, steps, seconds, rng)
                for _ in range(times)
            ]
            struck = [where for where in struck if where]
            harness.finish(folder, place / "cache")
            wrong = harness.read_end(folder).differences(reference)
            differing += bool(wrong)
            moments.update(struck)
            verdict = f"differs at {wrong[:5]}" if wrong else "equal"
            print(f"run {number + 1}: killed {', then '.join(struck)}: {verdict}", flush=True)
            shutil.rmtree(folder)
    kills = ", ".join(f"{count} {moment}" for moment, count in moments.most_common())
    print(f"{arguments.kills} runs, {moments.total()} kills ({kills}): {differing} differ")
    return 1 if differing else 0


def strike(
    folder: Path,
    cache: Path,
    reference: harness.End,
    steps: int,
    seconds: float,
    rng: np.random.Generator,
) -> str:
    """Starts or resumes, kills, and says where the kill struck; again if it came too late."""
    while True:
        done = checkpoint.steps(folder / run.CHECKPOINTS)
        first = done[-1] + 1 if done else 1
        if first > steps:
            return ""  # the first kill came after the last checkpoint; nothing is left to kill
        (folder / "run.lock").unlink(missing_ok=True)
        process = harness.start(folder, cache)
        harness.wait_for_life(process, folder)
        delay = float(rng.uniform(0, seconds))
        if rng.random() < 0.7:
            # A save takes some 30 to 100 ms here; the kill falls into it or shortly behind.
            delay = float(rng.uniform(0, 0.12))
            harness.wait_for_save(process, folder, int(rng.integers(first, steps + 1)))
        if harness.kill(process, delay):
            traces = harness.stopped(folder)
            traces.check(reference)
            return traces.where
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
