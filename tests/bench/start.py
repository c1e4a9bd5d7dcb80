"""Seconds from the start of `qlrjax run` to its first event: nothing kept, then all kept.

python -m tests.bench.start

Processor time is read beside wall time, since it says more on a machine that does other work.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def until_first_event(folder: Path, cache: Path) -> dict[str, float]:
    """Wall and processor seconds of a run of the built-in photos until it says its first event."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    words = [sys.executable, "-m", "qlrjax.cli", "run", "--out", str(folder), "--fresh"]
    started = time.perf_counter()
    with subprocess.Popen(
        words,
        env=own | {"QLRJAX_CACHE": str(cache)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "event 1/" in line:
                break
        wall = time.perf_counter() - started
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        process.terminate()  # saves and stops, so that what was compiled is signed
        process.stderr.read()
    return {"wall (s)": wall, "processor (s)": ticks / os.sysconf("SC_CLK_TCK")}


def rows(rounds: int = 3) -> dict[str, list[dict[str, float]]]:
    """Cold starts, each with a cache of its own, and warm ones."""
    found: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            cache = Path(folder) / str(number)
            found["cold"].append(until_first_event(Path(folder) / "run", cache))
            found["warm"].append(until_first_event(Path(folder) / "run", cache))
    return found


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
