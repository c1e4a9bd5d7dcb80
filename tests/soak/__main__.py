"""`make soak`: 2,000 events in one process, and what it holds after every one of them.

Resident memory, descriptors, the run's folder and the time an event takes have to stay as they are
after the first 50 events. The log of events grows by a line an event, as it should; it is counted
apart. Time is that of the processor, and it is also told in units of a fixed computation that is
done beside every event: the clock and the caches of a machine that others share change under both.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax.runs import run
from qlrjax.settings import Settings
from qlrjax.streams.settings import StreamSettings

CLASSES, WARM = 5, 50
LOGS = ("events.jsonl", "records.jsonl", "timing.jsonl", "history.jsonl")


@dataclasses.dataclass
class Watch:
    """Rows of what the process holds, one an event: see COLUMNS."""

    folder: Path
    rows: list[tuple[float, ...]] = dataclasses.field(default_factory=list)
    last: float = dataclasses.field(default_factory=time.process_time)

    def __call__(self, record: dict[str, Any]) -> None:
        """Called after every event."""
        now = time.process_time()
        state, logs = sizes(self.folder)
        spent = now - self.last
        self.rows.append((resident(), descriptors(), state, logs, spent, spent / unit()))
        self.last = time.process_time()
        if len(self.rows) % 100 == 0:
            print(f"event {len(self.rows)} of {record['of']}", file=sys.stderr, flush=True)


COLUMNS = (
    "resident memory (MB)",
    "descriptors",
    "folder without logs (kB)",
    "logs (kB)",
    "processor time an event (ms)",
    "the same in fixed computations",
)
UNITS = (1e6, 1, 1e3, 1e3, 1e-3, 1)
NOT_HELD = ("logs", "processor time")


def unit() -> float:
    """Processor seconds of a fixed computation: Python, NumPy and hashing."""
    begun = time.thread_time()
    values = np.arange(20_000, dtype=np.float64)
    for number in range(40):
        text = json.dumps({"event": number, "values": list(range(60))})
        hashlib.sha256(text.encode() * 20).hexdigest()
        values = np.sqrt(values + number)
    return time.thread_time() - begun


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Open files, pipes and sockets of this process."""
    return len(os.listdir("/proc/self/fd"))


def sizes(folder: Path) -> tuple[int, int]:
    """Bytes of a folder's files: all but logs, and logs."""
    total = [0, 0]
    for root, folders, names in os.walk(folder):
        # A checkpoint that is just being written or removed is there by chance.
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            try:
                total[name in LOGS] += os.path.getsize(os.path.join(root, name))
            except FileNotFoundError:
                continue
    return total[0], total[1]


def settings(events: int) -> Settings:
    """A stream of two images an event, one class each."""
    sessions = -(-(events + 1) // CLASSES) + 1
    return Settings(
        latent_layer=25,
        replays=24,
        bits=7,
        weights="random:0:0.25",
        resolution=32,
        stream=StreamSettings(data=f"synthetic:{CLASSES}x{sessions}x2", first_classes=2),
    )


def table(rows: np.ndarray, parts: int) -> tuple[str, dict[str, float]]:
    """Medians of equal parts after the first events, and by how much they differ, percent."""
    cut = np.array_split(np.arange(WARM, len(rows)), parts)
    medians = np.array([np.median(rows[part], axis=0) for part in cut]) / UNITS
    lines = [["events", *COLUMNS], ["---", *["---:"] * len(COLUMNS)]]
    for part, values in zip(cut, medians, strict=True):
        cells = [f"{value:.4g}" for value in values]
        lines.append([f"{part[0] + 1} to {part[-1] + 1}", *cells])
    spread = 100 * (medians.max(axis=0) / medians.min(axis=0) - 1)
    lines.append(["spread", *(f"{value:.1f} %" for value in spread)])
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return text, dict(zip(COLUMNS, spread.tolist(), strict=True))


def soak(events: int, parts: int = 6) -> tuple[str, dict[str, float]]:
    """Runs so many events and gives the table and the spreads."""
    with tempfile.TemporaryDirectory(prefix="qlrjax-soak-") as scratch:
        watch = Watch(Path(scratch) / "run")
        outcome = run.run(settings(events), watch.folder, on_event=watch)
        assert outcome.finished
    return table(np.array(watch.rows), parts)


def main() -> int:
    """Prints the table; exit code 1 if anything but the logs changes by over 5 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2000)
    text, spread = soak(parser.parse_args().events)
    print(text)
    return int(any(value > 5 for name, value in spread.items() if not name.startswith(NOT_HELD)))


if __name__ == "__main__":
    sys.exit(main())
